"""The last lines that a server wrote to its standard error, without secrets."""

import re
from collections import deque
from collections.abc import Iterable

MARK = "[redacted]"
LINES = 200
LINE_LIMIT = 500

# Names must be whole, so that `max_tokens=4096` stays readable.
_NAMED = re.compile(
    r"(?i)(\b[\w-]{0,40}(?:api[_-]?key|access[_-]?key|secret|password|passwd|authorization|cookie|\btoken)"
    r"[\"']?\s*[:=]\s*[\"']?(?:bearer\s+|basic\s+)?)(?!\[redacted\])[^\s\"',;}\])]{6,}"
)
_BEARER = re.compile(r"(?i)\b(bearer\s+|basic\s+)(?!\[redacted\])[A-Za-z0-9._~+/=-]{6,}")
_SHAPED = re.compile(
    r"\b(?:sk-[\w-]{8,}|hf_\w{8,}|gh[pousr]_\w{16,}|github_pat_\w{16,}|xox[abprs]-[\w-]{8,}|AKIA\w{12,}"
    r"|AIza[\w-]{20,}|glpat-[\w-]{12,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
)
_USERINFO = re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}://)[^\s/@:]{1,200}:[^\s/@]{1,200}@")


class Redactor:
    """Takes known secrets out of text, then what looks like one."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        ordered = sorted(
            {one for one in secrets if len(one) >= 6}, key=lambda one: (-len(one), one)
        )
        self._known = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def __call__(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(MARK, text)
        text = _SHAPED.sub(MARK, text)
        text = _USERINFO.sub(rf"\1{MARK}@", text)
        text = _NAMED.sub(rf"\1{MARK}", text)
        return _BEARER.sub(rf"\1{MARK}", text)


class Ring:
    """Keeps the newest lines; a line without an end is cut, not kept growing."""

    def __init__(self, redact: Redactor) -> None:
        self._redact = redact
        self._lines: deque[str] = deque(maxlen=LINES)
        self._partial = b""

    def feed(self, chunk: bytes) -> None:
        *whole, rest = (self._partial + chunk).split(b"\n")
        for line in whole:
            self._keep(line)
        if len(rest) > LINE_LIMIT:
            self._keep(rest)
            rest = b""
        self._partial = rest

    def _keep(self, line: bytes) -> None:
        text = line[:LINE_LIMIT].decode("utf-8", "replace").rstrip()
        shown = "".join(
            character for character in text if character.isprintable() or character == "\t"
        )
        if shown:
            self._lines.append(self._redact(shown))

    def tail(self, count: int = 5) -> list[str]:
        if self._partial:
            self._keep(self._partial)
            self._partial = b""
        return list(self._lines)[-count:]
