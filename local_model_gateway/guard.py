"""The outermost layer: what every request must be, and what every answer carries, whatever the route.

Nothing here buffers an answer, and `receive` stays the server's own once the body is in, so
streams and the news of a client that left pass through untouched.
"""

import logging
import re
import secrets
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from local_model_gateway import answers, guard_rules, json_shape, logs
from local_model_gateway.answers import Refusal
from local_model_gateway.guard_rules import GuardSettings, Head

LOWEST_RATE = 1024  # bytes a second: no client of a loopback port is slower by accident

_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.-]{8,64}")
_PRIVATE: answers.Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
"""On every answer that does not say otherwise itself."""
_PREFLIGHT: answers.Headers = (
    (b"access-control-allow-methods", b"GET, POST, DELETE"),
    (b"access-control-allow-headers", b"authorization, content-type, x-api-key"),
    (b"access-control-max-age", b"600"),
)

_log = logging.getLogger(__name__)


class Guard:
    """ASGI middleware around everything, 404s included."""

    def __init__(self, app: ASGIApp, settings: GuardSettings) -> None:
        self._app = app
        self._settings = settings
        self._active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        exchange = _Exchange(scope, receive, send, self._settings)
        self._active += 1
        try:
            await exchange.run(self._app, self._active)
        finally:
            self._active -= 1


class BodyRefused(Exception):
    """Raised out of `receive`: the body is too large, too slow or cut off, and the guard answers."""


@dataclass(slots=True)
class _Exchange:
    """One request and its answer."""

    scope: Scope
    _receive: Receive
    _send: Send
    settings: GuardSettings
    head: Head = field(init=False)
    request_id: str = field(init=False)
    line: logs.RequestLine = field(default_factory=logs.RequestLine)
    refusal: Refusal | None = None
    started: bool = False
    body_done: bool = False
    _body_bytes: int = 0
    _body_began: float | None = None
    _cors: answers.Headers = ()
    _instead: Refusal | None = None
    """Our own words in place of a library's plain-text error, while its body goes by."""

    def __post_init__(self) -> None:
        headers: dict[bytes, list[bytes]] = {}
        for name, value in self.scope["headers"]:
            headers.setdefault(name, []).append(value)
        self.head = Head(self.scope["method"], self.scope["path"], headers)
        given = headers.get(b"x-request-id", [b""])
        wanted = len(given) == 1 and _REQUEST_ID.fullmatch(given[0])
        self.request_id = given[0].decode() if wanted else f"req_{secrets.token_hex(10)}"
        self.body_done = not self.head.has_body

    async def run(self, app: ASGIApp, active: int) -> None:
        """Judge, serve, answer, and write the request's line."""
        self.line.begin(self.head.method, self.head.path, self.request_id)
        state: MutableMapping[str, Any] = self.scope.setdefault("state", {})  # Any: ASGI's
        state["request_id"], state["log"] = self.request_id, self.line
        try:
            self.refusal = guard_rules.refuse(self.head, self.settings, active)
            if self.refusal is None:
                self._know_caller(state)
            if self.refusal is None:
                await self._serve(app)
        except BodyRefused:
            pass
        except Exception as error:  # noqa: BLE001 - the last boundary: nobody outside would answer
            self._broke(error)
        finally:
            if self.refusal is not None and not self.started:
                self.line.outcome(self.refusal.code)
                with anyio.move_on_after(5, shield=True):
                    await answers.send(self.refusal, self._send_with_headers)
            self.line.end()

    def _know_caller(self, state: MutableMapping[str, Any]) -> None:  # Any: ASGI's
        known = guard_rules.caller(self.head, self.settings)
        if isinstance(known, Refusal):
            self.refusal = known
        elif known is not None:
            state["caller"] = known
            self.line.set(caller=known)
        self._cors = guard_rules.cors(self.head, self.settings)

    async def _serve(self, app: ASGIApp) -> None:
        if self.head.is_preflight:
            await self._answer_preflight()
            return
        receive = self._receive if self.body_done else self.receive
        if self.head.path == "/mcp" and not self.body_done:
            receive = await self._whole_body()
        await app(self.scope, receive, self.send)
        if not self.started and self.refusal is None:
            self.refusal = self._failed("no_answer")

    def _broke(self, error: Exception) -> None:
        """Nothing of the error reaches the client but the id to find it by."""
        if self.refusal is None:
            fields = {"request_id": self.request_id}
            _log.error("request failed", exc_info=error, extra={"fields": fields})
            self.refusal = self._failed("internal_error")
        # Where the answer has begun, returning without its end makes the server cut the connection.

    def _failed(self, outcome: str) -> Refusal:
        self.line.outcome(outcome)
        message = f"The gateway failed; its log says why under {self.request_id}."
        return Refusal(500, "internal_error", message)

    # The body on its way in

    async def receive(self) -> Message:
        """The server's `receive` with a limit on the body's size and patience."""
        if self.body_done:
            return await self._receive()
        if self._body_began is None:
            self._body_began = anyio.current_time()
        message: Message | None = None
        with anyio.move_on_after(self.settings.body_timeout_s):
            message = await self._receive()
        if message is None:
            raise self._refused(408, "The body did not arrive in time; send it again.")
        if message["type"] != "http.request":
            self.body_done = True
            return message
        self._body_bytes += len(message.get("body", b""))
        limit = guard_rules.body_limit(self.head.path, self.settings)
        if self._body_bytes > limit:
            self.refusal = guard_rules.too_large(limit)
            raise BodyRefused
        self.body_done = not message.get("more_body", False)
        elapsed = anyio.current_time() - self._body_began
        too_slow = self._body_bytes < elapsed * LOWEST_RATE
        if not self.body_done and elapsed > self.settings.body_timeout_s and too_slow:
            raise self._refused(408, "The body arrived too slowly; send it again.")
        return message

    def _refused(self, status: int, message: str) -> BodyRefused:
        self.refusal = Refusal(status, "request_timeout", message)
        return BodyRefused()

    async def _whole_body(self) -> Receive:
        """Read it all and judge its shape, because the MCP server behind us parses without asking."""
        parts: list[bytes] = []
        while not self.body_done:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                return self._receive  # it says so again; half a body is none
            parts.append(message.get("body", b""))
        body = b"".join(parts)
        try:
            json_shape.check(body)
        except json_shape.TooComplex as error:
            self.refusal = Refusal(400, "invalid_request", f"{error}.", guard_rules.NEVER_AGAIN)
            raise BodyRefused from None
        replayed = False

        async def receive() -> Message:
            nonlocal replayed
            if replayed:
                return await self._receive()
            replayed = True
            return {"type": "http.request", "body": body, "more_body": False}

        return receive

    # The answer on its way out

    async def send(self, message: Message) -> None:
        """The server's `send`: adds our headers, and says plain-text errors in our own shape."""
        if self.refusal is not None and not self.started:
            return  # the application answers a body that was refused: ours goes out instead
        if message["type"] == "http.response.start" and _is_plain_error(message):
            self._instead = answers.for_status(message["status"])
        elif self._instead is None:
            await self._send_with_headers(message)
        elif not message.get("more_body", False):
            instead, self._instead = self._instead, None
            await answers.send(instead, self._send_with_headers)

    async def _send_with_headers(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.line.status(message["status"])
            headers = list(message.get("headers", ()))
            names = {name.lower() for name, _ in headers}
            headers += [header for header in _PRIVATE if header[0] not in names]
            headers += [(b"x-request-id", self.request_id.encode()), *self._cors]
            message = {**message, "headers": headers}
        await self._send(message)

    async def _answer_preflight(self) -> None:
        """Only pages of a configured origin get permission; everybody else a bare 204 without it."""
        headers = _PREFLIGHT if self._cors else ()
        await self._send_with_headers(
            {"type": "http.response.start", "status": 204, "headers": headers}
        )
        await self._send({"type": "http.response.body", "body": b""})


def _is_plain_error(message: Message) -> bool:
    if message["status"] < 400:
        return False
    for name, value in message.get("headers", ()):
        if name.lower() == b"content-type":
            return bytes(value).startswith(b"text/")
    return False
