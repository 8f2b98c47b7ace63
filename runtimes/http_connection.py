"""One connection to one engine: where it goes, whether it still lives, and its end."""

import fcntl
import select
import socket
import struct
import termios
from contextlib import suppress
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

import anyio
import anyio.abc

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


class Connection:
    """One open connection to one engine."""

    __slots__ = ("_descriptor", "_poll", "fresh", "idle_since", "stream")

    def __init__(self, stream: anyio.abc.ByteStream, raw: socket.socket) -> None:
        self.stream = stream
        self.fresh = True
        self.idle_since = 0.0
        self._descriptor = raw.fileno()
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN | _PEER_CLOSED)

    def unusable(self) -> bool:
        """Whether the other side has closed, or said something unasked, since the last answer."""
        return bool(self._poll.poll(0))

    def closed_in_silence(self) -> bool:
        """Whether the other side has closed without a byte of an answer to what we sent."""
        events = self._poll.poll(0)
        if not events or not events[0][1] & (_PEER_CLOSED | select.POLLHUP | select.POLLERR):
            return False
        waiting = fcntl.ioctl(self._descriptor, termios.FIONREAD, struct.pack("i", 0))
        return not any(waiting)

    async def close(self) -> None:
        """Drop it at once; an engine takes that as a client that left, and stops working."""
        with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self.stream.aclose()


def keep_probing(raw: socket.socket) -> None:
    """Have the kernel find out when the other machine is gone."""
    # An engine on another machine may vanish without a word; the kernel then tells us in about a minute.
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        option = getattr(socket, name, None)  # macOS names them otherwise
        if option is not None:
            raw.setsockopt(socket.IPPROTO_TCP, option, value)
