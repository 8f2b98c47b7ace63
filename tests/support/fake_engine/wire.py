"""HTTP/1.1 by hand, small enough to break in every way that an engine breaks."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
}
REASONS |= {
    409: "Conflict",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Request:
    """One parsed request."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as an object; {} when there is none."""
        parsed = json.loads(self.body or b"{}")
        return parsed if isinstance(parsed, dict) else {}


@dataclass(slots=True)
class Connection:
    """One client: reads requests, writes answers, knows whether the client is still there."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    chunked: bool = field(default=False)

    async def request(self) -> Request | None:
        """The next request, or None when the client closed."""
        try:
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ", 2)
        pairs = (line.split(":", 1) for line in lines if ":" in line)
        headers = {name.lower(): value.strip() for name, value in pairs}
        path, _, query = target.partition("?")
        return Request(method, path, query, headers, await self._body(headers))

    async def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return await self.reader.readexactly(int(headers.get("content-length") or 0))
        parts = []
        while size := int((await self.reader.readline()).split(b";")[0], 16):
            parts.append(await self.reader.readexactly(size))
            await self.reader.readline()
        await self.reader.readline()
        return b"".join(parts)

    def gone(self) -> bool:
        """Whether the client hung up."""
        return (
            self.reader.at_eof() or self.reader.exception() is not None or self.writer.is_closing()
        )

    async def send(self, status: int, body: object, content_type: str = "application/json") -> None:
        """A whole answer."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        await self._write(self._head(status, content_type, f"content-length: {len(raw)}") + raw)

    async def begin(self, content_type: str = "text/event-stream") -> None:
        """The head of a streamed answer."""
        self.chunked = True
        await self._write(self._head(200, content_type, "transfer-encoding: chunked"))

    async def chunk(self, raw: bytes) -> None:
        """A piece of a streamed answer."""
        await self._write(b"%x\r\n%b\r\n" % (len(raw), raw))

    async def event(self, data: object) -> None:
        """A server-sent event."""
        await self.chunk(b"data: " + json.dumps(data).encode() + b"\n\n")

    async def end(self) -> None:
        """The regular end of a streamed answer."""
        self.chunked = False
        await self._write(b"0\r\n\r\n")

    def abort(self) -> None:
        """Cut the connection without an end."""
        self.writer.transport.abort()

    async def _write(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    @staticmethod
    def _head(status: int, content_type: str, length: str) -> bytes:
        head = f"HTTP/1.1 {status} {REASONS[status]}\r\nserver: fake-engine\r\n"
        return (head + f"content-type: {content_type}\r\n{length}\r\n\r\n").encode()
