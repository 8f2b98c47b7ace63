"""One structured line a request, as JSON or for people; never prompts, never answers, never secrets."""

import contextlib
import json
import logging
import logging.handlers
import queue
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from local_model_gateway.redact import Redactor

Value = str | int | float | bool | None

FILE_BYTES = 8 * 1024 * 1024
FILES = 4
_QUIET = frozenset({"/health", "/ready", "/status", "/metrics", "/api/events"})
"""Polled all day: a line each only when something is wrong."""
# The server library says these once a request that a client broke off or garbled; our own line says it too.
_CLIENTS_FAULT = (
    "Invalid HTTP request received.",
    "ASGI callable returned without",
    "Unsupported upgrade request.",
)

_log = logging.getLogger("lmg.request")


class RequestLine:
    """What is known of one request, collected by whoever knows it and written once at its end."""

    def __init__(self) -> None:
        self._fields: dict[str, Value] = {}
        self._began = 0.0
        self._path = ""
        self._status = 0

    def begin(self, method: str, path: str, request_id: str) -> None:
        """The request came in."""
        self._began = time.monotonic()
        self._path = path
        self._fields = {"method": method, "path": path[:200], "request_id": request_id}

    def set(self, **fields: Value) -> None:
        """Add what this layer knows: `model`, `runtime`, `queue_ms`, `load_ms`, `ttft_ms`, `tokens`."""
        self._fields.update(fields)

    def status(self, status: int) -> None:
        """The answer began with this status."""
        self._status = status

    def outcome(self, outcome: str) -> None:
        """How it ended, where the status does not tell; the first to say so is right."""
        self._fields.setdefault("outcome", outcome)

    def end(self) -> None:
        """Write the line."""
        failed = self._status >= 400 or self._status == 0
        if self._path in _QUIET and not failed:
            return
        self._fields.setdefault("outcome", "failed" if failed else "ok")
        latency_ms = round((time.monotonic() - self._began) * 1000, 1)
        fields = {**self._fields, "status": self._status, "latency_ms": latency_ms}
        level = logging.WARNING if self._status >= 500 else logging.INFO
        _log.log(level, "request", extra={"fields": fields})


class JsonLines(logging.Formatter):
    """One JSON object a line: control characters are escaped, so that nobody can forge a second line."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "at": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return self._redactor(json.dumps(line, default=str))


class ConsoleLines(logging.Formatter):
    """`12:03:04 info request method=POST path=/v1/… status=200`, for a terminal."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).astimezone()
        fields = " ".join(
            f"{name}={_word(value)}" for name, value in getattr(record, "fields", {}).items()
        )
        message = _printable(record.getMessage())
        line = f"{moment:%H:%M:%S} {record.levelname.lower():7} {message} {fields}".rstrip()
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return self._redactor(line)


@contextlib.contextmanager
def written(
    redactor: Redactor, *, form: str = "auto", level: str = "info", file: Path | None = None
) -> Iterator[None]:
    """Send every log record to standard error, and to `file` as JSON, from a thread of its own.

    The event loop only puts records into a queue: a slow disk or terminal holds up nobody.
    """
    handlers: list[logging.Handler] = [_console(redactor, form)]
    if file is not None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        rotating = logging.handlers.RotatingFileHandler(
            file, maxBytes=FILE_BYTES, backupCount=FILES, encoding="utf-8"
        )
        rotating.setFormatter(JsonLines(redactor))
        handlers.append(rotating)
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    incoming = _AsIs(records)
    incoming.addFilter(_worth_a_line)
    listener = logging.handlers.QueueListener(records, *handlers)
    root = logging.getLogger()
    before, before_level = root.handlers[:], root.level
    root.handlers[:] = [incoming]
    root.setLevel(level.upper())
    for noisy in ("uvicorn", "httpx2", "mcp", "fakeredis", "docket"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # A full disk loses log lines, and nothing else: no traceback a line, no failure at the end.
    logging.raiseExceptions = False
    listener.start()
    try:
        yield
    finally:
        root.handlers[:] = before
        root.setLevel(before_level)
        listener.stop()
        for handler in handlers:
            with contextlib.suppress(OSError):
                handler.close()


class _AsIs(logging.handlers.QueueHandler):
    """Formats in the listener's thread: the standard one formats here, and drops the traceback."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record


def _console(redactor: Redactor, form: str) -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    for_people = form == "console" or (form == "auto" and sys.stderr.isatty())
    handler.setFormatter(ConsoleLines(redactor) if for_people else JsonLines(redactor))
    return handler


def _worth_a_line(record: logging.LogRecord) -> bool:
    if not record.name.startswith("uvicorn"):
        return True
    error = record.exc_info[1] if record.exc_info else None
    # Answers that were cut off at the end of the drain are no failure of the application.
    cut_off = error is not None and type(error).__name__ == "CancelledError"
    return not cut_off and not str(record.msg).startswith(_CLIENTS_FAULT)


def _word(value: Value) -> str:
    text = _printable(str(value))
    return json.dumps(text) if " " in text or not text else text


def _printable(text: str) -> str:
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
