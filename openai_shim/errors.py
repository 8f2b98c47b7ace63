"""What a client is told when something goes wrong: one table from errors to answers.

ShimError
├── InvalidRequest        400 invalid_request
├── UnsupportedFeature    400 unsupported
├── EngineRefused         the engine's own 4xx
└── EngineBroke           502 upstream_error
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pydantic_core

from coordinator import errors as coordinator_errors
from runtimes import errors as runtimes_errors
from runtimes import event_stream, upstream

Headers = list[tuple[bytes, bytes]]

NEVER_AGAIN = (b"x-should-retry", b"false")
LONGEST_RETRY_AFTER_S = 3600
SDK_PATIENCE_S = 60
"""The OpenAI SDK obeys a Retry-After up to this; beyond it, it retries within seconds, which only adds load."""
UNKNOWN_WAIT_S = 30.0  # where the queue is full and nobody knows yet how long an answer takes


class ShimError(Exception):
    """Any of the below."""

    code = "invalid_request"
    status = 400


class InvalidRequest(ShimError):
    """The request cannot be served as it is."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class UnsupportedFeature(InvalidRequest):
    """A part of the API that a stateless gateway in front of local engines does not have."""

    code = "unsupported"


class EngineRefused(ShimError):
    """The engine itself said no; its words are passed on."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        said = _engine_words(body)
        self.message = said.get("message") or f"The engine answered {status}."
        self.kind = said.get("type")
        self.engine_code = said.get("code")
        self.param = said.get("param")
        super().__init__(self.message)


class EngineBroke(ShimError):
    """The engine failed on its side; its words, if any, are passed on."""

    code = "upstream_error"
    status = 502


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An error, ready to be sent in whatever shape the surface speaks."""

    status: int
    code: str
    message: str
    kind: str
    param: str | None = None
    src: str = "gateway"
    details: Mapping[str, Any] = field(default_factory=dict)
    retry_after_s: float | None = None
    retry_helps: bool = True

    def error(self) -> dict[str, Any]:
        """The object under `error`, always with its keys in this order."""
        made: dict[str, Any] = {
            "message": self.message,
            "type": self.kind,
            "code": self.code,
            "param": self.param,
            "src": self.src,
        }
        if self.details:
            made["details"] = dict(self.details)
        return made

    def body(self) -> bytes:
        """`{"error": {...}}`."""
        return pydantic_core.to_json({"error": self.error()})

    def headers(self) -> Headers:
        """What tells a client whether and when to come back."""
        made: Headers = []
        if self.retry_after_s is not None:
            seconds = min(max(1, math.ceil(self.retry_after_s)), LONGEST_RETRY_AFTER_S)
            made.append((b"retry-after", str(seconds).encode()))
        if not self.retry_helps:
            made.append(NEVER_AGAIN)
        return made


_KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def _kind(status: int) -> str:
    return _KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")


def answer(error: Exception) -> ErrorAnswer:
    """The answer for any error that a request can meet."""
    match error:
        case ShimError():
            return _of_shim(error)
        case runtimes_errors.UnknownModel():
            nearest = {"nearest": list(error.nearest[:3])}
            return _made(404, error.code, str(error), "model", nearest)
        case upstream.NotOffered():
            return _made(400, error.code, str(error))
        case upstream.UpstreamError() | event_stream.EngineSaid():
            return _of_engine(error)
        case coordinator_errors.CoordinatorError():
            return _of_coordinator(error)
        case _:
            message = "The gateway failed; its log says why."
            return ErrorAnswer(500, "internal_error", message, _kind(500))


def _of_engine(error: upstream.UpstreamError | event_stream.EngineSaid) -> ErrorAnswer:
    if isinstance(error, event_stream.EngineSaid):
        return _engine(_short(str(error)), "said", False)
    # Only where the engine took nothing in is asking again more than doing the same damage twice.
    return _engine(str(error), error.kind, error.kind == "refused")


def _made(
    status: int,
    code: str,
    message: str,
    param: str | None = None,
    details: Mapping[str, Any] = MappingProxyType({}),
) -> ErrorAnswer:
    """A refusal that the same request would meet again."""
    kind = _kind(status)
    return ErrorAnswer(status, code, message, kind, param, details=details, retry_helps=False)


def _engine(message: str, kind: str, retry_helps: bool) -> ErrorAnswer:
    return ErrorAnswer(
        502,
        "upstream_error",
        message,
        _kind(502),
        src="engine",
        details={"kind": kind},
        retry_helps=retry_helps,
    )


def _of_shim(error: ShimError) -> ErrorAnswer:
    match error:
        case EngineRefused():
            return ErrorAnswer(
                error.status,
                str(error.engine_code or "engine_refused"),
                error.message,
                error.kind or _kind(error.status),
                error.param,
                "engine",
                retry_helps=error.status in {408, 429},
            )
        case EngineBroke():
            return _engine(str(error), "said", False)
        case InvalidRequest():
            return _made(400, error.code, str(error), error.param)
        case _:
            return _made(400, error.code, str(error))


_STATUSES: Mapping[type[coordinator_errors.CoordinatorError], tuple[int, bool]] = {
    coordinator_errors.IdempotencyConflict: (409, False),
    coordinator_errors.NoSuchWork: (404, False),
    coordinator_errors.QueueFull: (429, True),
    coordinator_errors.QueueTimeout: (504, False),
    coordinator_errors.RunTimeout: (504, False),
    coordinator_errors.RuntimeFailed: (503, False),
    coordinator_errors.RuntimeRemoved: (404, False),
    coordinator_errors.RuntimeRemoved: (404, False),
    coordinator_errors.ShuttingDown: (503, True),
    coordinator_errors.StorageUnavailable: (503, False),
    coordinator_errors.WorkCancelled: (499, False),
}
"""The status, and whether a client that asks again by itself, within seconds, helps itself."""


def _of_coordinator(error: coordinator_errors.CoordinatorError) -> ErrorAnswer:
    status, again = _STATUSES.get(type(error), (500, False))
    after_s: float | None = getattr(error, "retry_after_s", None)
    if isinstance(error, coordinator_errors.QueueFull) and after_s is None:
        after_s = UNKNOWN_WAIT_S
    return ErrorAnswer(
        status,
        error.code,
        str(error),
        _kind(status),
        details=_details(error),
        retry_after_s=after_s,
        retry_helps=again and (after_s or 0.0) <= SDK_PATIENCE_S,
    )


def _details(error: coordinator_errors.CoordinatorError) -> dict[str, Any]:
    match error:
        case coordinator_errors.QueueTimeout():
            return {"waited_s": round(error.waited_s, 1), "behind": error.behind}
        case coordinator_errors.RuntimeFailed():
            return {
                "runtime": error.runtime,
                "failure_class": str(error.failure_class),
                "exit_code": error.exit_code,
                "log_tail": list(error.log_tail),
            }
        case coordinator_errors.IdempotencyConflict() | coordinator_errors.WorkCancelled():
            return {"id": error.work_id}
        case _:
            return {}


def of_engine(status: int, body: bytes) -> ShimError:
    """The error for an engine's answer other than 200: its own no is passed on, its own failure is ours."""
    if 400 <= status < 500:
        return EngineRefused(status, body)
    said = _engine_words(body).get("message")
    return EngineBroke(said or f"The engine answered {status}.")


def _engine_words(body: bytes) -> dict[str, Any]:
    """What an engine's error body says, in any of the shapes seen: OpenAI's, a string, or `detail`."""
    try:
        payload = pydantic_core.from_json(body)
    except ValueError:
        return {}
    if not isinstance(payload, dict):
        return {}
    said = payload.get("error", payload)
    if isinstance(said, str):
        return {"message": _short(said)}
    if not isinstance(said, dict):
        return {}
    message = said.get("message") or said.get("detail")
    return {
        "message": _short(message if isinstance(message, str) else ""),
        "type": _word(said.get("type")),
        "code": _word(said.get("code")),
        "param": _word(said.get("param")),
    }


def _word(value: object) -> str | None:
    """An engine's own identifier, if it looks like one; numbers there repeat the status."""
    return value[:80] if isinstance(value, str) and value else None


def _short(text: str) -> str:
    """One line of an engine's words, without a stack trace or the names of folders."""
    first = text.strip().split("\n", 1)[0][:500]
    return " ".join(_without_folders(word) for word in first.split(" "))


def _without_folders(word: str) -> str:
    # `/home/NAME/models/a.gguf` becomes `a.gguf`; a lone slash or a route such as /v1/models stays.
    if word.count("/") < 2 or "://" in word or word.lstrip("'\"`(").startswith(("/v1/", "/api/")):
        return word
    return word.rsplit("/", 1)[1]


def engine_is_lost(error: Exception) -> bool:
    """Whether the engine did not even accept a connection."""
    return isinstance(error, upstream.UpstreamError) and error.kind == "refused"
