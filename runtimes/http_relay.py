"""A small HTTP/1.1 client for the way to an engine: one connection a request, the newest idle one first.

General clients look through their whole pool for each request; here an engine's idle connections are
one list, and the last one put back is the first one taken.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import anyio

from runtimes import http_body
from runtimes.http_connection import Connection, Target

HEAD_LIMIT = 64 * 1024
IDLE_S = 4.0  # engines close idle connections after 5 s (uvicorn, cpp-httplib): be first
IDLE_PER_ENGINE = 32


class UpstreamError(Exception):
    """The engine broke the conversation.

    `kind` is `refused` (no connection), `broke_before_first_byte`, `broke_mid_stream`,
    `garbage` (not HTTP, not JSON, not events) or `stalled` (silent for too long).
    """

    code = "upstream_error"

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"the engine {_SAID.get(kind, kind)} ({detail})")
        self.kind, self.detail = kind, detail


_SAID = {
    "refused": "does not accept connections",
    "broke_before_first_byte": "broke off before its answer began",
    "broke_mid_stream": "broke off in the middle of its answer",
    "garbage": "sent something that is no answer",
    "stalled": "went silent",
}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an engine may be silent."""

    connect_s: float = 5.0
    first_byte_s: float = 900.0
    """A long prompt on a slow machine is silent for minutes, in engines that report no prefill."""
    between_s: float = 180.0


class Relay:
    """Connections to engines. Use it as an async context manager; leaving it closes what is idle."""

    def __init__(self, patience: Patience | None = None) -> None:
        self._patience = patience or Patience()
        self._idle: dict[str, list[Connection]] = {}
        self._targets: dict[str, Target] = {}
        self._swept_at = time.monotonic()

    async def __aenter__(self) -> Self:
        """Nothing is opened before it is needed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close what is idle; answers still being read belong to their readers."""
        idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def post(
        self, base_url: str, path: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> "Exchange":
        """One request, sent on entering; leaving before the answer's end closes the connection."""
        return self.request("POST", base_url, path, body, headers)

    def request(
        self,
        method: str,
        base_url: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
    ) -> "Exchange":
        """Any method; see `post`."""
        target = self._targets.get(base_url)
        if target is None:
            target = self._targets[base_url] = Target.parse(base_url)
        lines = [
            f"{method} {target.prefix}{path} HTTP/1.1\r\nhost: {target.authority}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        ]
        lines.extend(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        head = "".join(lines).encode("latin-1") + b"\r\n"
        # Header values come from the configuration only; a line break in one would still be a new header.
        if head.count(b"\r\n") != 5 + len(headers or {}) or b"\0" in head:
            raise ValueError("a line break in a header for an engine")
        return Exchange(self, base_url, target, head + body, self._patience)

    async def take(self, base_url: str, target: Target) -> Connection:
        """The newest idle connection that is still good, else a new one."""
        oldest = time.monotonic() - IDLE_S
        if self._swept_at < oldest:
            self._sweep(oldest)
        idle = self._idle.get(base_url)
        while idle:
            connection = idle.pop()
            if connection.idle_since >= oldest and not connection.unusable():
                return connection
            connection.close()
        return await self.connect(target)

    def _sweep(self, oldest: float) -> None:
        """Close what nobody asked for in time: an engine that was stopped is never asked again."""
        self._swept_at = time.monotonic()
        for base_url, connections in list(self._idle.items()):
            kept = [one for one in connections if one.idle_since >= oldest]
            stale = [one for one in connections if one.idle_since < oldest]
            if kept:
                self._idle[base_url] = kept
            else:
                del self._idle[base_url]
                self._targets.pop(base_url, None)
            for connection in stale:
                connection.close()

    async def connect(self, target: Target) -> Connection:
        """A new connection; raises `UpstreamError("refused")`."""
        try:
            with anyio.fail_after(self._patience.connect_s):
                return await Connection.open(target)
        except (OSError, TimeoutError) as error:
            raise UpstreamError("refused", f"{target.authority}: {type(error).__name__}") from error

    def give_back(self, base_url: str, connection: Connection) -> bool:
        """Keep a connection for the next request; False when there are enough already."""
        idle = self._idle.setdefault(base_url, [])
        if len(idle) >= IDLE_PER_ENGINE:
            return False
        connection.fresh = False
        connection.idle_since = time.monotonic()
        idle.append(connection)
        return True

    def idle(self, base_url: str) -> int:
        """How many connections wait for the next request."""
        return len(self._idle.get(base_url, ()))


class Exchange:
    """One request and its answer. `read` gives the body as it arrives, and `b""` at its complete end."""

    __slots__ = (
        "_base_url",
        "_connection",
        "_framing",
        "_keep",
        "_patience",
        "_relay",
        "_request",
        "_rest",
        "_target",
        "headers",
        "status",
    )

    def __init__(
        self, relay: Relay, base_url: str, target: Target, request: bytes, patience: Patience
    ) -> None:
        self._relay, self._base_url, self._target = relay, base_url, target
        self._request, self._patience = request, patience
        self._connection: Connection | None = None
        self._framing: http_body.Framing = http_body.Nothing()
        self._keep = False
        self._rest = b""
        self.status = 0
        self.headers: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        """Send the request and read the head of the answer; raises `UpstreamError`."""
        try:
            self._connection = await self._sent()
            await self._read_head()
        except BaseException:
            await self.aclose()
            raise
        self._request = b""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection unless the answer was read to its end."""
        await self.aclose()

    async def aclose(self) -> None:
        """Break off; the engine takes it as a client that left. Does nothing after a complete answer."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    async def _sent(self) -> Connection:
        connection = await self._relay.take(self._base_url, self._target)
        if await self._send_on(connection):
            return connection
        if not connection.fresh:
            # An idle connection that the engine had closed by the time we wrote to it: it took nothing in.
            connection = await self._relay.connect(self._target)
            if await self._send_on(connection):
                return connection
        raise UpstreamError("broke_before_first_byte", "it closed the connection on our request")

    async def _send_on(self, connection: Connection) -> bool:
        """Whether the request went out, or was answered before all of it had; the connection is closed if not."""
        sent = False
        try:
            went = await connection.send(self._request, self._patience.between_s)
            sent = went or connection.answered()
            if not connection.fresh and connection.closed_in_silence():
                sent = False
        except TimeoutError as error:
            raise UpstreamError("stalled", "it does not take the request in") from error
        finally:
            if not sent:
                connection.close()
        return sent

    async def _read_head(self) -> None:
        head = b""
        while True:
            data = await self._receive(self._patience.first_byte_s)
            if data is None:
                kind = "garbage" if head else "broke_before_first_byte"
                raise UpstreamError(kind, self._why())
            head += data
            end = head.find(b"\r\n\r\n")
            if end < 0:
                if len(head) > HEAD_LIMIT or not b"HTTP/1.".startswith(head[:7]):
                    raise UpstreamError("garbage", "no HTTP answer")
                continue
            try:
                self.status, self.headers, keep = _parse_head(head[:end])
                head = head[end + 4 :]
                if 100 <= self.status < 200:
                    # What followed an interim answer in the same read comes first in the next.
                    self._rest, head = head, b""
                    continue
                self._framing = http_body.framing(self.status, self.headers)
            except http_body.Garbled as error:
                raise UpstreamError("garbage", str(error)) from error
            self._keep = keep
            self._rest = head
            return

    async def _receive(self, patience_s: float) -> bytes | None:
        """The next bytes, or None at the end of the connection, orderly or not."""
        if self._rest:
            data, self._rest = self._rest, b""
            return data
        connection = self._connection
        if connection is None:
            raise UpstreamError("broke_mid_stream", "read after the end")
        try:
            return await connection.receive(patience_s) or None
        except TimeoutError as error:
            raise UpstreamError("stalled", f"nothing for {patience_s:.0f} s") from error

    def _why(self) -> str:
        connection = self._connection
        return (connection.ended if connection is not None else None) or "it closed the connection"

    async def read(self) -> bytes:
        """The next bytes of the body, `b""` once it is complete; raises `UpstreamError`."""
        while not self._framing.complete:
            data = await self._receive(self._patience.between_s)
            if data is None:
                if self._framing.closed():
                    break
                raise UpstreamError("broke_mid_stream", self._why())
            try:
                body = self._framing.feed(data)
            except http_body.Garbled as error:
                raise UpstreamError("garbage", str(error)) from error
            if body:
                return body
        await self._finish()
        return b""

    async def read_all(self, limit: int) -> bytes:
        """The rest of the body, cut off at `limit` bytes."""
        parts: list[bytes] = []
        size = 0
        while size < limit and (block := await self.read()):
            parts.append(block)
            size += len(block)
        return b"".join(parts)[:limit]

    async def _finish(self) -> None:
        connection = self._connection
        if connection is None:
            return
        self._connection = None
        reusable = self._keep and self._framing.reusable
        if not (reusable and self._relay.give_back(self._base_url, connection)):
            connection.close()


def _parse_head(head: bytes) -> tuple[int, dict[str, str], bool]:
    lines = head.decode("latin-1").split("\r\n")
    version, _, rest = lines[0].partition(" ")
    if version not in {"HTTP/1.1", "HTTP/1.0"} or not (rest[:3].isascii() and rest[:3].isdigit()):
        raise http_body.Garbled("no HTTP status line")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise http_body.Garbled("a header line without a name")
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    connection = headers.get("connection", "").lower()
    keep = "close" not in connection and (version == "HTTP/1.1" or "keep-alive" in connection)
    return int(rest[:3]), headers, keep
