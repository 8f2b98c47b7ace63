"""The way to an engine: one request opened, relayed or folded, and ended by leaving its block."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import pydantic_core

from runtimes import base, event_stream, fold, http_relay, request_body
from runtimes.http_relay import Patience, UpstreamError

__all__ = ["Completion", "NotOffered", "Patience", "Response", "Upstream", "UpstreamError"]

WHOLE_LIMIT = 256 * 1024 * 1024  # an answer that is not streamed: embeddings of a large batch
ERROR_LIMIT = 64 * 1024
AFTER_DONE_S = (
    0.25  # a connection whose stream does not end right after its last event is not reused
)


class NotOffered(Exception):
    """This engine has no such route."""

    code = "unsupported"

    def __init__(self, spec: base.RuntimeSpec, path: str) -> None:
        super().__init__(f"{spec.name} ({spec.engine}) does not answer {path}; ask another model")
        self.runtime, self.path = spec.name, path


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer, also when the engine refused: then `status` is its own and `body` what it said."""

    status: int
    body: bytes
    first_token_ms: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    told: event_stream.Telemetry | None = None
    took_ms: int = 0


class Response:
    """An engine's answer as it arrives; open it with `Upstream.open`."""

    __slots__ = ("_exchange", "_sent_at", "first_byte_s")

    def __init__(self, exchange: http_relay.Exchange) -> None:
        self._exchange = exchange
        self._sent_at = time.monotonic()
        self.first_byte_s = 0.0

    async def __aenter__(self) -> Self:
        """Send, and wait for the head of the answer; raises `UpstreamError`."""
        await self._exchange.__aenter__()
        self.first_byte_s = time.monotonic() - self._sent_at
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Break off what was not read to its end: that is what stops the engine."""
        await self._exchange.aclose()

    @property
    def status(self) -> int:
        """The engine's status."""
        return self._exchange.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The engine's headers, in lower case."""
        return self._exchange.headers

    @property
    def content_type(self) -> str:
        """The media type alone."""
        return self._exchange.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def is_events(self) -> bool:
        """Whether the answer is an event stream."""
        return self.content_type == "text/event-stream"

    @property
    def elapsed_ms(self) -> int:
        """Milliseconds since the request was sent."""
        return int((time.monotonic() - self._sent_at) * 1000)

    async def read(self) -> bytes:
        """The next bytes, `b""` at the complete end; raises `UpstreamError`."""
        return await self._exchange.read()

    async def read_all(self, limit: int = WHOLE_LIMIT) -> bytes:
        """The rest of the answer."""
        return await self._exchange.read_all(limit)

    def __aiter__(self) -> Self:
        """The bytes as they arrive."""
        return self

    async def __anext__(self) -> bytes:
        """See `read`."""
        block = await self._exchange.read()
        if not block:
            raise StopAsyncIteration
        return block


class Upstream:
    """Owns the connections to all engines."""

    def __init__(self, patience: Patience | None = None) -> None:
        self._relay = http_relay.Relay(patience)

    async def __aenter__(self) -> Self:
        """Nothing is opened yet."""
        await self._relay.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the idle connections."""
        await self._relay.__aexit__()

    def open(
        self,
        running: base.Running,
        spec: base.RuntimeSpec,
        path: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Ask with a client's body, made ready for this engine; `path` is the OpenAI route."""
        return self.send(running, spec, path, ready(spec, path, body), headers)

    def send(
        self,
        running: base.Running,
        spec: base.RuntimeSpec,
        path: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Ask with a body that is ready for this engine (`request_body.for_engine`)."""
        where = request_body.engine_path(spec, path)
        if where is None:
            raise NotOffered(spec, path)
        return Response(
            self._relay.post(running.base_url, where, body, {**running.headers, **(headers or {})})
        )

    async def complete(
        self, running: base.Running, spec: base.RuntimeSpec, path: str, body: bytes
    ) -> Completion:
        """One whole answer to a client's body: streamed from the engine, folded here.

        Raises `UpstreamError`, and `EngineSaid` for an error in mid-stream. Cancelling it stops the engine.
        """
        fields = parse(body)
        alias = fields.get("model")
        return await self.complete_ready(
            running,
            spec,
            path,
            request_body.for_engine(spec, path, fields),
            str(alias) if alias else spec.name,
            request_body.wanted(fields),
        )

    async def complete_ready(
        self,
        running: base.Running,
        spec: base.RuntimeSpec,
        path: str,
        body: bytes,
        alias: str,
        wanted: event_stream.Wanted,
    ) -> Completion:
        """`complete` with a body that is ready for this engine."""
        async with self.send(running, spec, path, body) as response:
            if response.status != 200:
                return Completion(response.status, await response.read_all(ERROR_LIMIT))
            if not response.is_events:
                return _renamed(await response.read_all(), alias, wanted, response.elapsed_ms)
            return await _folded(response, fold.Fold(alias, wanted))


async def _folded(response: Response, folding: fold.Fold) -> Completion:
    first_token_ms: int | None = None
    async for block in response:
        folding.feed(block)
        if first_token_ms is None and folding.began:
            first_token_ms = response.elapsed_ms
    told = folding.told
    output = told.output_tokens if told.output_tokens is not None else told.pieces
    return Completion(
        200,
        folding.completion(),
        first_token_ms,
        told.prompt_tokens,
        output,
        told,
        response.elapsed_ms,
    )


def _renamed(body: bytes, alias: str, wanted: event_stream.Wanted, elapsed_ms: int) -> Completion:
    """An answer that came whole, as embeddings do, with the model called as the client called it."""
    told = event_stream.Telemetry()
    try:
        payload = event_stream.parsed(body)
    except UpstreamError as error:
        raise UpstreamError("garbage", "an answer that is not JSON") from error
    event_stream.note(payload, told)
    if not wanted.timings:
        payload.pop("timings", None)
    if "model" in payload or "choices" in payload:
        payload["model"] = alias
    content = pydantic_core.to_json(payload, inf_nan_mode="null")
    return Completion(
        200, content, elapsed_ms, told.prompt_tokens, told.output_tokens, told, elapsed_ms
    )


def parse(body: bytes) -> dict[str, Any]:
    """A client's body; raises ValueError when it is no JSON object."""
    fields = pydantic_core.from_json(body, allow_inf_nan=False)
    if not isinstance(fields, dict):
        raise ValueError("the body is not a JSON object")
    return fields


def ready(spec: base.RuntimeSpec, path: str, body: bytes) -> bytes:
    """A client's body, made ready for this engine."""
    return request_body.for_engine(spec, path, parse(body))
