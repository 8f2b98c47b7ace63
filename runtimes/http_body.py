"""Where the body of an engine's HTTP/1.1 answer ends: by length, by chunks, or with the connection."""

from collections.abc import Mapping
from typing import Protocol

SIZE_LINE_LIMIT = 256  # a chunk's size and its extensions; longer is not HTTP
TRAILER_LIMIT = 16 * 1024
_HEX = b"0123456789abcdefABCDEF"


class Garbled(Exception):
    """The bytes are not the HTTP that was announced."""


class Framing(Protocol):
    """Takes a body's framing off, piece by piece, as the bytes arrive."""

    complete: bool
    reusable: bool
    """Whether the connection may carry another request once this body is complete."""

    def feed(self, data: bytes) -> bytes:
        """The body's own bytes in `data`; raises `Garbled`."""

    def closed(self) -> bool:
        """Whether the end of the connection here is the end of the body."""


class Nothing:
    """No body at all: 204, 304, or a length of zero."""

    complete = True
    reusable = True

    def feed(self, data: bytes) -> bytes:
        """There is nothing to come."""
        raise Garbled(f"{len(data)} bytes after the end of an answer without a body")

    def closed(self) -> bool:
        """Nothing was missing."""
        return True


class Length:
    """As many bytes as `content-length` says."""

    reusable = True

    def __init__(self, left: int) -> None:
        self._left = left
        self.complete = left == 0

    def feed(self, data: bytes) -> bytes:
        """The bytes themselves."""
        if len(data) > self._left:
            raise Garbled("more bytes than content-length announced")
        self._left -= len(data)
        self.complete = self._left == 0
        return data

    def closed(self) -> bool:
        """An early end is a broken answer."""
        return self.complete


class UntilClose:
    """Everything until the connection ends; such an end cannot be told from a break."""

    reusable = False

    def __init__(self) -> None:
        self.complete = False

    def feed(self, data: bytes) -> bytes:
        """The bytes themselves."""
        return data

    def closed(self) -> bool:
        """The end of the connection is the end."""
        self.complete = True
        return True


class Chunked:
    """Chunked transfer coding; extensions and trailers are thrown away."""

    reusable = True

    def __init__(self) -> None:
        self.complete = False
        self._held = b""
        self._left = 0
        self._in_trailer = False

    def feed(self, data: bytes) -> bytes:
        """The payload of all chunks, or parts of chunks, that `data` brings."""
        if self._held:
            data, self._held = self._held + data, b""
        parts: list[bytes] = []
        at = 0
        while at < len(data) and not self.complete:
            if self._left > 0:
                at = self._payload(data, at, parts)
            elif self._in_trailer:
                at = self._trailer(data, at)
            else:
                at = self._size(data, at)
        if self.complete and at < len(data):
            raise Garbled("bytes after the last chunk")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _payload(self, data: bytes, at: int, parts: list[bytes]) -> int:
        # `_left` counts the payload and the line end that closes it.
        end = at + self._left
        have = min(end - 2, len(data))
        if have > at:
            parts.append(data[at:have])
        if len(data) >= end:
            if data[end - 2 : end] != b"\r\n":
                raise Garbled("a chunk is longer than its size")
            self._left = 0
            return end
        taken = max(have, at)
        self._left -= taken - at
        self._held = data[taken:]
        return len(data)

    def _size(self, data: bytes, at: int) -> int:
        end = data.find(b"\r\n", at)
        if end < 0:
            return self._hold(data, at, SIZE_LINE_LIMIT)
        digits = data[at:end].partition(b";")[0].strip()
        # int() alone would also take a sign, an underscore and a prefix.
        if not digits or digits.strip(_HEX):
            raise Garbled("a chunk size is not a number")
        size = int(digits, 16)
        if size == 0:
            self._in_trailer = True
        else:
            self._left = size + 2
        return end + 2

    def _trailer(self, data: bytes, at: int) -> int:
        end = data.find(b"\r\n", at)
        if end < 0:
            return self._hold(data, at, TRAILER_LIMIT)
        self.complete = end == at
        return end + 2

    def _hold(self, data: bytes, at: int, limit: int) -> int:
        self._held = data[at:]
        if len(self._held) > limit:
            raise Garbled("a line of the chunked coding has no end")
        return len(data)

    def closed(self) -> bool:
        """An end before the last chunk is a broken answer."""
        return self.complete


def framing(status: int, headers: Mapping[str, str]) -> Framing:
    """How the body of this answer ends (RFC 9112, 6.3, for answers to GET and POST)."""
    if status in {204, 304}:
        return Nothing()
    coding = headers.get("transfer-encoding")
    if coding is not None:
        if coding.strip().lower() != "chunked":
            raise Garbled(f"transfer coding {coding[:40]!r}")
        return Chunked()
    length = headers.get("content-length")
    if length is None:
        return UntilClose()
    if not (length.isascii() and length.isdigit()):
        raise Garbled(f"content-length {length[:40]!r}")
    return Length(int(length)) if int(length) else Nothing()
