"""The one handler: every route that needs an engine takes the same way through the queue.

Read, resolve the alias, hold a lease, relay what the engine sends, let go. A second task watches
the client all the while: it leaves, and everything above is cancelled; it waits, and it is told why.
"""

import logging
import time
from dataclasses import dataclass
from typing import Any

import anyio
import pydantic_core
from starlette.types import Receive, Scope, Send

from coordinator import errors as coordinator_errors
from coordinator import lease, loop, work
from openai_shim import (
    answers,
    errors,
    identity,
    jobs_routes,
    keepalive,
    options,
    reading,
    stop_command,
)
from openai_shim.dialects.dialect import Dialect, Stream
from runtimes import base, event_stream, request_body, upstream
from runtimes import errors as runtimes_errors

log = logging.getLogger(__name__)

EXPECTED = (
    errors.ShimError,
    coordinator_errors.CoordinatorError,
    runtimes_errors.UnknownModel,
    upstream.UpstreamError,
    upstream.NotOffered,
    event_stream.EngineSaid,
)
"""What a request can meet without anything being wrong with the gateway."""

BROKEN_BY_ENGINE = (
    errors.ShimError,
    upstream.UpstreamError,
    upstream.NotOffered,
    event_stream.EngineSaid,
)


class Forward:
    """An ASGI endpoint for one dialect."""

    def __init__(
        self,
        coordinator: loop.Coordinator,
        engines: upstream.Upstream,
        settings: options.ShimOptions,
        dialect: Dialect,
    ) -> None:
        self.coordinator, self.engines = coordinator, engines
        self.settings, self.dialect = settings, dialect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; returning without an end makes the server cut the connection."""
        try:
            exchange = await self._read(scope, receive, send)
        except answers.ClientGone:
            return
        except EXPECTED as error:
            await answers.error(send, note(scope, errors.answer(error)))
            return
        async with anyio.create_task_group() as group:
            group.start_soon(exchange.mind_the_client, receive, group.cancel_scope)
            await exchange.run()
            group.cancel_scope.cancel()

    async def _read(self, scope: Scope, receive: Receive, send: Send) -> "Exchange":
        given = reading.parse(await answers.body_of(receive))
        asked = reading.asked(scope, given)
        words = self.dialect.last_words(given) if self.settings.stop_phrases else None
        fields = self.dialect.fields(given)
        spec = self.coordinator.registry.resolve(asked.model)
        caller = identity.caller(scope)
        exchange = Exchange(self, scope, send, asked, caller, spec)
        if asked.respond_async:
            exchange.body = reading.finite(fields, pydantic_core.to_json(fields))
        elif stop_command.is_stop(words):
            exchange.stop = True
        else:
            body = request_body.for_engine(spec, self.dialect.path, fields)
            exchange.body = reading.finite(fields, body)
        return exchange


def note(scope: Scope, told: errors.ErrorAnswer) -> errors.ErrorAnswer:
    """Say in the request's log line how it ended."""
    if (line := log_line(scope)) is not None:
        line.outcome(told.code)
    return told


def log_line(scope: Scope) -> Any:  # Any: whoever serves us keeps it; nobody does in some tests
    """The request's line in the log."""
    return (scope.get("state") or {}).get("log")


@dataclass(slots=True)
class Exchange:
    """One request on its way through the queue."""

    route: Forward
    scope: Scope
    send: Send
    asked: reading.Asked
    caller: identity.Caller
    spec: base.RuntimeSpec
    body: bytes = b""
    """Ready for the engine, so that a waiting request holds one copy of it and no more."""
    stop: bool = False
    started: bool = False
    ended: bool = False
    heard_at: float = 0.0
    held: lease.Lease | None = None
    granted: bool = False
    stream: Stream | None = None

    async def run(self) -> None:
        """Answer, or say why not."""
        try:
            if self.stop:
                await self._stop()
            elif self.asked.respond_async:
                await jobs_routes.accept(self.route.coordinator, self.send, self._request(True))
            else:
                await self._answered()
        except EXPECTED as error:
            await self._say(note(self.scope, errors.answer(error)))

    async def _answered(self) -> None:
        streams = self.asked.stream and self.route.dialect.streams
        answer = self._streamed if streams else self._whole
        try:
            await answer()
        except upstream.UpstreamError as error:
            if error.kind != "refused":
                raise
            # The engine has died a moment ago and was asked nothing: wait for the next one, once.
            await answer()

    # ---- the two ways to answer ----------------------------------------------------------------

    async def _streamed(self) -> None:
        # A second attempt goes on with what the first one may have begun towards the client.
        stream = self.stream or self.route.dialect.stream(self.asked)
        self.stream = stream
        async with self.route.coordinator.lease(self._request()) as held:
            await self._wait(held)
            try:
                last = await self._relay(held, stream)
            except BROKEN_BY_ENGINE as error:
                told = errors.answer(error)
                held.fail(told.code, told.message, engine_lost=errors.engine_is_lost(error))
                raise
        # The slot is free by now: a client that reads slowly holds up nobody.
        await self._piece(last)
        self.ended = True
        await answers.end(self.send)

    async def _relay(self, held: lease.Lease, stream: Stream) -> bytes:
        """Pass on all but the last words, which are returned."""
        route = self.route
        async with route.engines.send(
            held.running, held.spec, route.dialect.path, self.body
        ) as response:
            self.body = b""
            if response.status != 200:
                raise errors.of_engine(
                    response.status, await response.read_all(upstream.ERROR_LIMIT)
                )
            if not response.is_events:
                raise upstream.UpstreamError("garbage", "no event stream")
            await self._start(held)
            first_token_ms: int | None = None
            while block := await response.read():
                out = stream.feed(block)
                if first_token_ms is None and stream.began:
                    first_token_ms = response.elapsed_ms
                if out:
                    self.heard_at = time.monotonic()
                    await answers.piece(self.send, out)
            last = stream.end()
            took_ms = response.elapsed_ms
        self._finish(held, first_token_ms, stream.told, took_ms)
        return last

    async def _whole(self) -> None:
        route, asked = self.route, self.asked
        async with route.coordinator.lease(self._request()) as held:
            await self._wait(held)
            try:
                completion = await route.engines.complete_ready(
                    held.running,
                    held.spec,
                    route.dialect.path,
                    self.body,
                    asked.model,
                    request_body.wanted(asked.fields),
                )
                if completion.status != 200:
                    raise errors.of_engine(completion.status, completion.body)
                body = route.dialect.whole(asked, completion.body)
            except BROKEN_BY_ENGINE as error:
                told = errors.answer(error)
                held.fail(told.code, told.message, engine_lost=errors.engine_is_lost(error))
                raise
            self._finish(held, completion.first_token_ms, completion.told, completion.took_ms)
            headers = self._headers(held)
        self.ended = True
        if self.started:
            await answers.end(self.send, body)
        else:
            self.started = True
            await answers.json(self.send, 200, body, headers)

    async def _wait(self, held: lease.Lease) -> None:
        self.held, self.granted = held, False
        self._log(model=self.asked.model, work=held.id)
        await held.granted()
        self.granted = True
        if held.spec is not self.spec:
            self._fit(held.spec)
        self._log(runtime=held.spec.name, queue_ms=held.queue_ms, load_ms=held.load_ms)

    def _fit(self, spec: base.RuntimeSpec) -> None:
        """The configuration was changed while this waited: the engine may know the model by another name."""
        if spec != self.spec:
            fields = reading.parse(self.body)
            self.body = request_body.for_engine(spec, self.route.dialect.path, fields)
        self.spec = spec

    def _finish(
        self,
        held: lease.Lease,
        first_token_ms: int | None,
        told: event_stream.Telemetry | None,
        took_ms: int,
    ) -> None:
        told = told or event_stream.Telemetry()
        output = told.output_tokens if told.output_tokens is not None else told.pieces
        held.finish(
            first_token_ms=first_token_ms, prompt_tokens=told.prompt_tokens, output_tokens=output
        )
        rate = told.tokens_per_s(output, took_ms - (first_token_ms or 0))
        self._log(ttft_ms=first_token_ms, tokens=output, tokens_per_s=rate)

    def _log(self, **fields: str | float | None) -> None:
        if (line := log_line(self.scope)) is not None:
            line.set(**fields)

    async def _stop(self) -> None:
        """A stop phrase: this client's other work ends, and we answer ourselves."""
        coordinator, dialect = self.route.coordinator, self.route.dialect
        ended = await coordinator.cancel_all_of(self.caller.owner, "the client's stop phrase")
        text, extra = stop_command.said(ended), stop_command.extra(ended)
        self.started = self.ended = True
        if not self.asked.stream:
            await answers.json(self.send, 200, dialect.spoken(self.asked, text, extra))
            return
        await answers.start(self.send, dialect.content_type, ())
        await answers.end(self.send, dialect.spoken_stream(self.asked, text, extra))

    # ---- what is sent --------------------------------------------------------------------------

    async def _start(self, held: lease.Lease | None = None) -> None:
        """The head of a stream, once."""
        if self.started:
            return
        self.started = True
        headers = self._headers(held)
        if self.stream is None:
            await answers.start(self.send, b"application/json", headers)
            return
        await answers.start(self.send, self.route.dialect.content_type, headers)
        if first := self.stream.begin():
            await answers.piece(self.send, first)

    async def _piece(self, out: bytes) -> None:
        if out:
            await answers.piece(self.send, out)

    async def _say(self, told: errors.ErrorAnswer) -> None:
        """An error: with its own status if nothing was sent yet, else the last thing before the cut."""
        if not self.started:
            self.started = self.ended = True
            await answers.error(self.send, told, self._ids())
            return
        self.ended = True
        await self._piece(told.body() if self.stream is None else self.stream.broke(told))
        # No end: a clean one would be taken for success, so the server cuts the connection.

    def _ids(self) -> answers.Headers:
        made: answers.Headers = []
        if self.held is not None:
            made.append((b"x-lmg-work-id", self.held.id.encode()))
        if "request_id" not in (self.scope.get("state") or {}) and self.held is not None:
            made.append((b"x-request-id", self.held.id.encode()))
        return made

    def _headers(self, held: lease.Lease | None) -> answers.Headers:
        made = self._ids()
        made.append((b"x-lmg-runtime", self.spec.name.encode("ascii", "replace")))
        if held is not None:
            made.append((b"x-lmg-queue-ms", str(held.queue_ms).encode()))
            made.append((b"x-lmg-load-ms", str(held.load_ms).encode()))
        return made

    # ---- the client ----------------------------------------------------------------------------

    async def mind_the_client(self, receive: Receive, everything: anyio.CancelScope) -> None:
        """Cancel everything when it leaves; while it waits, tell it that it is not forgotten."""
        if self.asked.stream and self.route.dialect.streams:
            await self._until_left(receive, self._sign)
        elif self._wants_spaces():
            await self._until_left(receive, self._space)
        else:
            await answers.left(receive)
        if not self.ended and (line := log_line(self.scope)) is not None:
            line.outcome("client_gone")
        everything.cancel()

    def _wants_spaces(self) -> bool:
        asked, settings = self.asked, self.route.settings
        if self.stop or asked.respond_async:
            return False
        return asked.whitespace or self.caller.key_id in settings.whitespace_callers

    async def _until_left(self, receive: Receive, say: "Sayer") -> None:
        settings = self.route.settings
        cadence = keepalive.Cadence(settings.keepalive_s, settings.look_s)
        look_s = settings.hold_back_s
        while True:
            with anyio.move_on_after(look_s):
                await answers.left(receive)
                return
            look_s = await say(cadence)

    async def _sign(self, cadence: keepalive.Cadence) -> float:
        """One look at where the request stands, and a comment if there is something to say."""
        sign = self._standing()
        if sign is not None and cadence.due(sign.gist, time.monotonic(), self.heard_at):
            await self._start(self.held if self.granted else None)
            await self._piece(self.route.dialect.alive(sign.text))
        return cadence.next_look_s(sign.position if sign else None)

    def _standing(self) -> keepalive.Sign | None:
        if self.ended or self.held is None:
            return None
        if not self.granted:
            return keepalive.waiting(self.held)
        told = self.stream.told if self.stream is not None else event_stream.Telemetry()
        sign = keepalive.running(told)
        # While pieces flow there is nothing to say; only silence counts.
        return keepalive.Sign(sign.text, ("running",)) if told.pieces else sign

    async def _space(self, cadence: keepalive.Cadence) -> float:
        """A space before the body that is to come: JSON takes it, and the connection lives."""
        if not self.ended and cadence.due(("space",), time.monotonic(), self.heard_at):
            await self._start()
            if not self.ended:
                await self._piece(b" ")
        return cadence.next_look_s(None)

    # ---- the work item -------------------------------------------------------------------------

    def _request(self, stored: bool = False) -> work.WorkRequest:
        asked, caller, path = self.asked, self.caller, self.route.dialect.path
        return work.WorkRequest(
            runtime=self.spec.name,
            alias=asked.model,
            path=path,
            owner=caller.keeper if stored else caller.owner,
            surface=self.route.dialect.surface,
            durability=work.Durability.STORED if stored else work.Durability.CONNECTION,
            priority=asked.priority,
            max_queue_wait_s=asked.max_queue_wait_s,
            run_timeout_s=asked.run_timeout_s,
            idempotency_key=asked.idempotency_key if stored else None,
            body=self.body if stored else None,
            prompt_tokens=max(1, len(self.body) // 4),
            join_key=None
            if stored
            else identity.join_key(caller, path, self.body, asked.idempotency_key),
        )


Sayer = Any  # a bound method of Exchange: takes the cadence, returns when to look again
