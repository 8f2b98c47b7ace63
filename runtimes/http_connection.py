"""One connection to one engine: where it goes, whether it still lives, and its end."""

import asyncio  # noqa: TID251 - see Connection
import fcntl
import select
import socket
import ssl
import struct
import termios
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

HELD_BYTES = 64 * 1024
"""More than this is not read ahead of a client; with what the server holds, a stream stays under 256 KiB here."""
_PEER_CLOSED = getattr(select, "POLLRDHUP", 0)  # Linux only; elsewhere POLLHUP says it


@dataclass(frozen=True, slots=True)
class Target:
    """Where an engine listens, taken apart once."""

    host: str
    port: int
    tls: bool
    authority: str
    prefix: str

    @classmethod
    def parse(cls, base_url: str) -> Self:
        """Take a base URL apart; it comes from the configuration or from a lifecycle, never from a request."""
        parts = urlsplit(base_url)
        tls = parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
        return cls(parts.hostname or "127.0.0.1", port, tls, parts.netloc, parts.path.rstrip("/"))


class Connection(asyncio.Protocol):
    """One open connection to one engine.

    Written against the event loop itself: this runs once for every piece of every stream, and a stream
    object on top costs as much again as everything else that is done with the piece.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parts: list[bytes] = []
        self._size = 0
        self._paused = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._poll = select.poll()
        self._descriptor = -1
        self.fresh = True
        self.idle_since = 0.0
        self.ended: str | None = None
        """Why nothing more will come."""

    @classmethod
    async def open(cls, target: Target) -> "Connection":
        """Connect; raises OSError."""
        loop = asyncio.get_running_loop()
        context = ssl.create_default_context() if target.tls else None
        _, made = await loop.create_connection(cls, target.host, target.port, ssl=context)
        return made

    # ---- what the event loop calls -------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        raw = transport.get_extra_info("socket")
        keep_probing(raw)
        self._descriptor = raw.fileno()
        self._poll.register(self._descriptor, select.POLLIN | _PEER_CLOSED)

    def data_received(self, data: bytes) -> None:
        """Hold it until it is asked for, and hold the engine back meanwhile."""
        self._parts.append(data)
        self._size += len(data)
        if self._size >= HELD_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        _wake(self._reader)
        _wake(self._writer)

    def eof_received(self) -> bool:
        """Half a connection is of no use: let it close."""
        self._end("it closed the connection")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits is told."""
        broke = f"the connection broke: {type(exc).__name__}"
        self._end("it closed the connection" if exc is None else broke)

    def pause_writing(self) -> None:
        """The engine does not read."""
        self._writer = self._loop.create_future()

    def resume_writing(self) -> None:
        """It reads again."""
        writer, self._writer = self._writer, None
        _wake(writer)

    def _end(self, why: str) -> None:
        self.ended = self.ended or why
        _wake(self._reader)
        _wake(self._writer)

    # ---- what the relay calls ------------------------------------------------------------------

    async def send(self, data: bytes, patience_s: float) -> bool:
        """Whether it went out to an engine that was still there; raises TimeoutError for one that takes nothing in.

        Returns early when an answer arrives meanwhile; the rest goes on going out.
        """
        if self.ended is not None:
            return False
        self._transport.write(data)
        if self._writer is not None and not self._parts:
            await self._wait_for(self._writer, patience_s)
        return self.ended is None

    async def _wait_for(self, waiting: "asyncio.Future[None]", patience_s: float) -> None:
        expiry = self._loop.call_later(patience_s, _expire, waiting)
        try:
            await waiting
        finally:
            expiry.cancel()

    async def receive(self, patience_s: float) -> bytes:
        """What has arrived, `b""` at the end; raises TimeoutError after so long a silence."""
        if not self._parts and self.ended is None:
            self._reader = self._loop.create_future()
            try:
                await self._wait_for(self._reader, patience_s)
            finally:
                self._reader = None
        parts, self._parts, self._size = self._parts, [], 0
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def answered(self) -> bool:
        """Whether something has arrived that nobody has taken yet."""
        return bool(self._parts)

    def unusable(self) -> bool:
        """Whether the other side has closed, or said something unasked, or not taken all of the last request."""
        if self.ended is not None or self._parts or self._transport.get_write_buffer_size():
            return True
        return bool(self._poll.poll(0))

    def closed_in_silence(self) -> bool:
        """Whether the other side has closed without a byte of an answer to what we sent."""
        if self._parts:
            return False
        if self.ended is not None:
            return True
        events = self._poll.poll(0)
        if not events or not events[0][1] & (_PEER_CLOSED | select.POLLHUP | select.POLLERR):
            return False
        waiting = fcntl.ioctl(self._descriptor, termios.FIONREAD, struct.pack("i", 0))
        return not any(waiting)

    def close(self) -> None:
        """Drop it at once; an engine takes that as a client that left, and stops working."""
        self._transport.abort()


def _wake(waiting: "asyncio.Future[None] | None") -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)


def _expire(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_exception(TimeoutError())


def keep_probing(raw: socket.socket) -> None:
    """Have the kernel find out when the other machine is gone."""
    # An engine on another machine may vanish without a word; the kernel then tells us in about a minute.
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        option = getattr(socket, name, None)  # macOS names them otherwise
        if option is not None:
            raw.setsockopt(socket.IPPROTO_TCP, option, value)
