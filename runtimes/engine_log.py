"""An engine's log: followed while it grows, kept as a short redacted tail, read for progress and causes."""

import collections
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from anyio import to_thread

from runtimes import base
from runtimes.settings import EngineRecipe, FailurePattern, ProgressPattern

KEPT_LINES = 200
TAIL_LINES = 20
LINE_LIMIT = 2000
CHUNK = 256 * 1024
ROTATE_BYTES = 64 << 20

Redact = Callable[[str], str]

_PROGRESS: Sequence[ProgressPattern] = [
    ProgressPattern(pattern=r'"state":"loading".*"value":(?P<fraction>[0-9.]+)'),
    ProgressPattern(pattern=r"checkpoint shards:\s+(?P<percent>\d+)%"),
    ProgressPattern(
        pattern=r"[Ll]oading (?:weights|model|layers).*?\b(?P<done>\d+)/(?P<total>\d+)\b"
    ),
    ProgressPattern(
        pattern=r"(?i)capturing (?:cuda )?graph|torch\.compile|compiling", phase="compile"
    ),
    ProgressPattern(pattern=r"(?i)\bwarm(?:ing)?[ -]?up\b", phase="warm-up"),
]
_C = base.FailureClass
_FAILURES: Sequence[FailurePattern] = [
    FailurePattern.model_validate({"pattern": pattern, "class": found})
    for found, pattern in (
        (
            _C.OUT_OF_MEMORY,
            r"(?i)out of memory|OutOfMemory|failed to allocate|cannot allocate memory|std::bad_alloc|"
            r"unable to allocate|insufficient (?:gpu )?memory|\bOOM\b|no available memory for the cache",
        ),
        (
            _C.PORT_IN_USE,
            r"(?i)address already in use|port .{0,20}in use|couldn't bind|failed to bind",
        ),
        (
            _C.BAD_FLAG,
            r"(?i)unrecognized arguments?|invalid (?:argument|option|choice)|unknown (?:argument|option|flag)|"
            r"no such option|unexpected argument",
        ),
        (
            _C.NOT_INSTALLED,
            r"ModuleNotFoundError|No module named|is not installed|cannot open shared object",
        ),
        (
            _C.MODEL_MISSING,
            r"(?i)no such file or directory|cannot read the model|not a GGUF file|failed to (?:load|open) model|"
            r"does not appear to have a file named|RepositoryNotFound|is not a valid model|model .{0,80}not found|"
            r"LocalEntryNotFound|failed to open GGUF|invalid magic",
        ),
    )
]


class EngineLog:
    """The log of one runtime, over all its starts."""

    def __init__(self, path: Path, recipe: EngineRecipe, redact: Redact) -> None:
        self.path = path
        self._redact = redact
        self._lines: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)
        self._offset = 0
        self._rest = ""
        self._progress = [(re.compile(p.pattern), p.phase) for p in (*recipe.progress, *_PROGRESS)]
        self._failures = [
            (re.compile(p.pattern), p.failure) for p in (*recipe.failures, *_FAILURES)
        ]

    def begin(self) -> None:
        """A new process writes from the start of a new file."""
        self._lines.clear()
        self._offset, self._rest = 0, ""

    async def read(self) -> list[str]:
        """The lines that are new since the last call, redacted."""
        raw = await to_thread.run_sync(self._new_bytes)
        # Progress bars redraw their line with a carriage return.
        *whole, self._rest = re.split(r"\r\n|\n|\r", self._rest + raw.decode("utf-8", "replace"))
        self._rest = self._rest[-LINE_LIMIT:]
        lines = [self._redact(printable(line)[:LINE_LIMIT]) for line in whole if line.strip()]
        self._lines.extend(lines)
        return lines

    async def finish(self) -> None:
        """Read the rest, also a last line without its end."""
        while await self.read():
            pass
        if self._rest.strip():
            self._lines.append(self._redact(printable(self._rest)))
            self._rest = ""

    def _new_bytes(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, 2)
                if size < self._offset:
                    self._offset = 0
                file.seek(self._offset)
                raw = file.read(CHUNK)
        except FileNotFoundError:
            return b""
        self._offset += len(raw)
        if self._offset > ROTATE_BYTES:
            # The engine appends, so it goes on at the new end.
            self.path.with_name(self.path.name + ".1").write_bytes(raw)
            with self.path.open("r+b") as file:
                file.truncate(0)
            self._offset = 0
        return raw

    def tail(self, lines: int = TAIL_LINES) -> tuple[str, ...]:
        """The newest lines."""
        return tuple(self._lines)[-lines:] if lines > 0 else ()

    def progress(self, lines: Sequence[str]) -> base.LoadProgress | None:
        """The furthest that these lines tell of a load."""
        for line in reversed(lines):
            for pattern, phase in self._progress:
                if match := pattern.search(line):
                    return base.LoadProgress(phase, _fraction(match.groupdict()))
        return None

    def failure(self, exit_code: int | None, lines: int = KEPT_LINES) -> base.FailureClass:
        """Why it ended, as far as its exit code and its last words tell."""
        if exit_code in (-9, 137):
            # Nobody but the kernel's memory killer, or a person, sends this one.
            return base.FailureClass.OUT_OF_MEMORY
        for line in reversed(self.tail(lines)):
            for pattern, found in self._failures:
                if pattern.search(line):
                    return found
        return base.FailureClass.UNKNOWN

    def exit(self, exit_code: int | None, found: base.FailureClass | None = None) -> base.Exit:
        """How the engine ended."""
        return base.Exit(exit_code, found or self.failure(exit_code), self.tail())


def _fraction(groups: dict[str, str | None]) -> float | None:
    try:
        if groups.get("fraction"):
            value = float(groups["fraction"] or 0)
        elif groups.get("percent"):
            value = float(groups["percent"] or 0) / 100
        elif groups.get("done") and groups.get("total"):
            value = float(groups["done"] or 0) / max(1.0, float(groups["total"] or 0))
        else:
            return None
    except ValueError:
        return None
    return min(1.0, max(0.0, value))


def printable(line: str) -> str:
    """Without terminal colours and control characters."""
    plain = re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", line)
    return "".join(character if character.isprintable() else " " for character in plain).rstrip()
