"""An engine of a few bytes: each connection gets exactly what the test's script says."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import anyio.abc

Script = Callable[["Talk"], Awaitable[None]]


@dataclass
class Talk:
    """One connection, as the script sees it."""

    stream: anyio.abc.ByteStream
    number: int
    requests: list[bytes]

    async def request(self) -> bytes:
        """Read one request whole, and remember it."""
        raw = b""
        while b"\r\n\r\n" not in raw:
            raw += await self.stream.receive()
        head, _, body = raw.partition(b"\r\n\r\n")
        size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(body) < size:
            body += await self.stream.receive()
        self.requests.append(head + b"\r\n\r\n" + body)
        return body

    async def say(self, *pieces: bytes) -> None:
        """Send these bytes, each in a write of its own."""
        for piece in pieces:
            await self.stream.send(piece)

    async def gone(self) -> None:
        """Wait until the other side has hung up."""
        try:
            while True:
                await self.stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return


@dataclass
class Engine:
    """Where it listens, and what it was asked."""

    base_url: str
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0


@asynccontextmanager
async def engine(script: Script) -> AsyncIterator[Engine]:
    """Listen on a free port and run the script for each connection."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    made = Engine(f"http://127.0.0.1:{port}")

    async def serve(stream: anyio.abc.SocketStream) -> None:
        made.connections += 1
        async with stream:
            try:
                await script(Talk(stream, made.connections, made.requests))
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return

    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        try:
            yield made
        finally:
            group.cancel_scope.cancel()


def chunks(*pieces: bytes) -> bytes:
    """Chunked transfer coding of these pieces, with its end."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
