"""A small application behind the real guard and server, and a client that sends exactly the bytes it is told."""

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field

import anyio
import anyio.abc
from starlette.types import Message, Receive, Scope, Send

from local_model_gateway import config, serve

LIMIT_S = 20.0
CANARY = "/home/canary/secret-in-an-exception"


@dataclass(slots=True)
class Application:
    """Routes that do what applications do, well and badly."""

    gone: anyio.Event = field(default_factory=anyio.Event)
    """Set when `/hold` or `/stream` learns that its client left."""
    reached: list[str] = field(default_factory=list)
    """Paths that came through the guard."""
    bodies: list[bytes] = field(default_factory=list)
    """Bodies that arrived whole, as far as the application was told."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        self.reached.append(scope["path"])
        match scope["path"]:
            case "/health" | "/status" | "/v1/models":
                await _json(send, 200, {"status": "ok"})
            case "/v1/chat/completions" | "/mcp" | "/echo":
                await self._echo(scope, receive, send)
            case "/hold":
                await self._until_gone(receive)
            case "/stream":
                await self._stream(receive, send)
            case "/boom":
                raise RuntimeError(CANARY)
            case "/boom-late":
                await _start(send, 200, b"text/event-stream")
                await send(
                    {"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True}
                )
                raise RuntimeError(CANARY)
            case "/swallow":
                await _swallow(receive, send)
            case "/silent":
                pass
            case _:
                await _start(send, 404, b"text/plain; charset=utf-8")
                await send({"type": "http.response.body", "body": b"Not Found"})

    async def _echo(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        more = True
        while more:
            message: Message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.bodies.append(body)
        await _json(send, 200, {"bytes": len(body), "caller": scope["state"].get("caller")})

    async def _until_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.gone.set()

    async def _stream(self, receive: Receive, send: Send) -> None:
        await _start(send, 200, b"text/event-stream")
        await send({"type": "http.response.body", "body": b"data: one\n\n", "more_body": True})
        await self._until_gone(receive)


async def _lifespan(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def _swallow(receive: Receive, send: Send) -> None:
    """An application that answers 200 whatever happens to the body."""
    with contextlib.suppress(Exception):
        while (await receive()).get("more_body"):
            pass
    await _json(send, 200, {"status": "ok"})


async def _json(send: Send, status: int, content: object) -> None:
    await _start(send, status, b"application/json")
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})


async def _start(send: Send, status: int, kind: bytes) -> None:
    headers = [(b"content-type", kind)]
    await send({"type": "http.response.start", "status": status, "headers": headers})


@dataclass(frozen=True, slots=True)
class Served:
    """The application on a real port."""

    app: Application
    port: int

    async def connect(self) -> anyio.abc.SocketStream:
        return await anyio.connect_tcp("127.0.0.1", self.port)

    def filled(self, template: bytes) -> bytes:
        return template.replace(b"{port}", str(self.port).encode())

    async def ask(self, template: bytes) -> "Answer":
        """Send the bytes, half-close nothing, and read one whole answer (or what there is until the end)."""
        with anyio.fail_after(LIMIT_S):
            async with await self.connect() as stream:
                with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                    await stream.send(self.filled(template))
                return await read_answer(stream)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; status 0 is a connection that ended without an answer."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool

    @property
    def error(self) -> dict[str, object]:
        error = json.loads(self.body)["error"]
        assert isinstance(error, dict)
        return error


async def read_answer(stream: anyio.abc.SocketStream) -> Answer:
    """One answer; `whole` is False where the connection ended before its end."""
    received = bytearray()
    ended = False
    while not ended:
        head, separator, rest = bytes(received).partition(b"\r\n\r\n")
        if separator and (answer := _complete(head, rest)):
            return answer
        try:
            received += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            ended = True
    head, separator, rest = bytes(received).partition(b"\r\n\r\n")
    if not separator:
        return Answer(0, {}, bytes(received), whole=False)
    status, headers = _parsed(head)
    return Answer(status, headers, rest, whole="transfer-encoding" not in headers)


def _complete(head: bytes, rest: bytes) -> Answer | None:
    status, headers = _parsed(head)
    if "content-length" in headers:
        length = int(headers["content-length"])
        return Answer(status, headers, rest[:length], whole=True) if len(rest) >= length else None
    if headers.get("transfer-encoding") == "chunked" and rest.endswith(b"0\r\n\r\n"):
        return Answer(status, headers, _unchunked(rest), whole=True)
    return Answer(status, headers, b"", whole=True) if status in {204, 304} else None


def _parsed(head: bytes) -> tuple[int, dict[str, str]]:
    line, *fields = head.decode("latin-1").split("\r\n")
    pairs = (field.partition(":") for field in fields)
    return int(line.split(" ")[1]), {name.lower(): value.strip() for name, _, value in pairs}


def _unchunked(rest: bytes) -> bytes:
    body = b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        if int(size, 16) == 0:
            return body
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]


@contextlib.asynccontextmanager
async def served(**server: object) -> AsyncGenerator[Served]:
    """The application behind the guard on a free port, stopped at the end."""
    settings = config.Server.model_validate({"port": 0, **server})
    listening = serve.bind(settings)
    application = Application()
    port = serve.port_of(listening)
    guarded = serve.guarded(application, settings, port)
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:

        async def run(
            *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
        ) -> None:
            await serve.serve(
                guarded, listening, settings, stop=stop, grace_s=1, task_status=task_status
            )

        with anyio.fail_after(LIMIT_S):
            await tasks.start(run)
        try:
            yield Served(application, port)
        finally:
            stop.set()


async def lines(stream: anyio.abc.SocketStream) -> AsyncIterator[bytes]:
    """The raw lines of an answer as they come."""
    buffer = b""
    while True:
        line, separator, rest = buffer.partition(b"\n")
        if separator:
            buffer = rest
            yield line
            continue
        try:
            buffer += await stream.receive()
        except anyio.EndOfStream:
            return
