"""The HTTP/1.1 layer: uvicorn's on h11, with deadlines, a cap on heads, strict framing and JSON errors."""

import asyncio  # noqa: TID251 - uvicorn hands protocols an asyncio transport and its timers
import re
import socket
from typing import Any, ClassVar, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from local_model_gateway.answers import Refusal

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 128
MAX_TARGET_BYTES = 8 * 1024
MAX_PIPELINED_BYTES = 256 * 1024
"""Of further requests while one is answered; beyond it nothing would be read, and a client's leaving not seen."""
DRAIN_S = 10.0  # how long a refused body may still arrive, so that its sender can read the refusal
MAX_DRAINED_BYTES = 128 * 1024 * 1024

_CHUNKED_ONLY = re.compile(rb"chunked", re.IGNORECASE)
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_REASONS = {
    400: b"Bad Request",
    408: b"Request Timeout",
    414: b"URI Too Long",
    421: b"Misdirected Request",
    431: b"Request Header Fields Too Large",
    503: b"Service Unavailable",
}


class _StrictConnection(h11.Connection):
    """h11, with the checks that it leaves to its users, and its last complaint kept."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEAD_BYTES)
        self.complaint: h11.RemoteProtocolError | None = None

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            event = super().next_event()
            if isinstance(event, h11.Request):
                _judge(event)
        except h11.RemoteProtocolError as error:
            self.complaint = error
            raise
        return event


def _judge(request: h11.Request) -> None:
    """Heads that arrive in one piece are not measured by h11; odd framing is how requests are smuggled."""
    headers = request.headers.raw_items()
    size = sum(len(name) + len(value) + 4 for name, value in headers)
    if len(request.target) > MAX_TARGET_BYTES:
        raise h11.RemoteProtocolError("the request target is too long", 414)
    if size > MAX_HEAD_BYTES or len(headers) > MAX_HEADERS:
        raise h11.RemoteProtocolError("the headers are too large", 431)
    if any(_CONTROL.search(value) for _, value in headers):
        raise h11.RemoteProtocolError("a control character in a header", 400)
    names = [name for name, _ in request.headers]
    if b"transfer-encoding" in names:
        codings = [value for name, value in request.headers if name == b"transfer-encoding"]
        if b"content-length" in names or request.http_version == b"1.0":
            raise h11.RemoteProtocolError("the body is framed in two ways", 400)
        if len(codings) != 1 or not _CHUNKED_ONLY.fullmatch(codings[0]):
            raise h11.RemoteProtocolError("only chunked is a transfer coding", 400)


class GuardedProtocol(H11Protocol):
    """One connection. Its deadlines are timers of the loop: no task waits for a client that says nothing."""

    head_timeout_s: ClassVar[float] = 10.0
    max_connections: ClassVar[int] = 4096 + 64
    """Above what the guard admits as requests, so that /health still has room to connect."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # Any: uvicorn's own arguments
        super().__init__(*args, **kwargs)
        self.conn: _StrictConnection = _StrictConnection()
        self._head_timer: asyncio.TimerHandle | None = None
        self._drain_timer: asyncio.TimerHandle | None = None
        self._drained = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        _notice_dead_peers(transport)
        if len(self.connections) > self.max_connections:
            self._answer(503, "overloaded", "Too many connections; try again in a moment.")
            return
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY:
            self._drained += len(data)
            if self._drained > MAX_DRAINED_BYTES:
                self.transport.abort()
                return
        super().data_received(data)
        if self.transport.is_closing():
            return
        self._watch_head()
        self._keep_reading()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            return
        self._watch_head()
        if self.conn.their_state is h11.SEND_BODY and self._drain_timer is None:
            self._drain_timer = self.loop.call_later(DRAIN_S, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """Uvicorn calls it for every request that h11 refuses."""
        complaint = self.conn.complaint
        status = complaint.error_status_hint if complaint else 400
        text = str(complaint)
        if "Host" in text:
            status = 421
        if status == 431 or "too long" in text:
            self._answer(status, "headers_too_large", "The request's head is too large.")
        elif status == 421:
            self._answer(421, "host_not_allowed", "Exactly one Host header is needed.")
        else:
            self._answer(400, "invalid_request", "This is not a well-formed HTTP/1.1 request.")

    def _unsupported_upgrade_warning(self) -> None:
        """No log line a request for something that we simply do not do."""

    def _watch_head(self) -> None:
        """A head that has begun, or that nobody began on a new connection, is due within `head_timeout_s`."""
        if self.conn.their_state is not h11.IDLE:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None
            if self.conn.their_state is not h11.SEND_BODY and self._drain_timer is not None:
                self._drain_timer.cancel()
                self._drain_timer = None
        elif self._head_timer is None and self.timeout_keep_alive_task is None:
            self._head_timer = self.loop.call_later(self.head_timeout_s, self._head_late)

    def _head_late(self) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        if self.conn.trailing_data[0]:
            self._answer(408, "request_timeout", "The request's head did not arrive in time.")
        else:
            self.transport.close()

    def _keep_reading(self) -> None:
        """Only a socket that is read tells that its client left, so what was pipelined is kept, in bounds."""
        if self.conn.their_state is h11.DONE and self.conn.our_state is not h11.DONE:
            if len(self.conn.trailing_data[0]) > MAX_PIPELINED_BYTES:
                self.transport.abort()
            else:
                self.flow.resume_reading()

    def _answer(self, status: int, code: str, message: str) -> None:
        """Our own last word on this connection."""
        if self._give_up_on_application():
            self.transport.abort()
            return
        refusal = Refusal(status, code, message, ((b"connection", b"close"),))
        body = refusal.body()
        response = h11.Response(
            status_code=status,
            headers=refusal.all_headers(body),
            reason=_REASONS.get(status, b""),
        )
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.abort()
            return
        for event in (response, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _give_up_on_application(self) -> bool:
        """Tell the application that its client is gone; True when it had begun to answer."""
        cycle = cast(RequestResponseCycle | None, self.cycle)
        if cycle is None or cycle.response_complete:
            return False
        cycle.disconnected = True
        cycle.message_event.set()
        return cycle.response_started

    def _cancel_timers(self) -> None:
        for timer in (self._head_timer, self._drain_timer):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._drain_timer = None


def _notice_dead_peers(transport: asyncio.Transport) -> None:
    """A client whose machine vanished sends no goodbye; the kernel finds out after about a minute."""
    connected = transport.get_extra_info("socket")
    if connected is None or connected.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)
