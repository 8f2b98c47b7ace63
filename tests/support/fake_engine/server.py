"""The fake engine's HTTP server: the OpenAI routes, health, and who is asking for what."""

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import Awaitable, Callable

from tests.support.fake_engine import answers, dialects, generation, wire
from tests.support.fake_engine import knobs as knobs_module
from tests.support.fake_engine.engine import Engine

LOADING = {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}


class Server:
    """Accepts connections and answers them, as well as the knobs allow."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._numbers = itertools.count(1)
        self._routes: dict[
            tuple[str, str], Callable[[wire.Connection, wire.Request], Awaitable[None]]
        ]
        self._routes = {
            ("GET", "/health"): self._health,
            ("GET", "/v1/health"): self._health,
            ("GET", "/v1/models"): self._models,
            ("GET", "/slots"): self._slots,
            ("GET", "/props"): self._props,
            ("POST", "/tokenize"): self._tokenize,
            ("POST", "/v1/chat/completions"): self._generate,
            ("POST", "/v1/completions"): self._generate,
            ("POST", "/v1/embeddings"): self._embeddings,
        }

    async def client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it closes."""
        connection = wire.Connection(reader, writer)
        try:
            while (request := await self._next(connection)) is not None:
                if self._is_deaf(request):
                    await asyncio.Event().wait()
                await self._answer(connection, request)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _next(self, connection: wire.Connection) -> wire.Request | None:
        try:
            async with asyncio.timeout(self._engine.knobs.close_idle_s):
                return await connection.request()
        except TimeoutError:
            return None

    def _is_deaf(self, request: wire.Request) -> bool:
        limit = self._engine.knobs.deaf_after
        if request.path.startswith("/v1/") and request.method == "POST":
            self._engine.served += 1
        return self._engine.deaf or (limit is not None and self._engine.served > limit)

    async def _answer(self, connection: wire.Connection, request: wire.Request) -> None:
        if self._engine.knobs.access_log:
            print(f'{time.time()} "{request.method} {request.path} HTTP/1.1"', flush=True)
        key = self._engine.knobs.api_key
        if key and request.headers.get("authorization") != f"Bearer {key}":
            await connection.send(401, {"error": {"message": "wrong key", "code": 401}})
            return
        if await dialects.answer(self._engine, connection, request):
            return
        route = self._routes.get((request.method, request.path))
        if route is None:
            message = f"no route {request.method} {request.path}"
            await connection.send(404, {"error": {"message": message, "code": 404}})
            return
        if not self._engine.ready and not request.path.endswith("/health"):
            await connection.send(503, LOADING)
            return
        await route(connection, request)

    async def _health(self, connection: wire.Connection, request: wire.Request) -> None:
        knobs = self._engine.knobs
        if not self._engine.ready and not knobs.early_health:
            await connection.send(503, LOADING)
        elif knobs.empty_health:
            await connection.send(200, b"", "text/plain")
        else:
            await connection.send(200, {"status": "ok"})

    async def _models(self, connection: wire.Connection, request: wire.Request) -> None:
        knobs = self._engine.knobs
        meta = {"n_ctx": knobs.context, "size": knobs.memory_mib << 20}
        model = {
            "id": knobs.list_as or knobs.model,
            "object": "model",
            "owned_by": "fake",
            "meta": meta,
        }
        await connection.send(200, {"object": "list", "data": [model]})

    async def _slots(self, connection: wire.Connection, request: wire.Request) -> None:
        knobs, active = self._engine.knobs, self._engine.active
        rows = [
            {"id": number, "n_ctx": knobs.context, "is_processing": number < active}
            for number in range(knobs.slots)
        ]
        await connection.send(200, rows)

    async def _props(self, connection: wire.Connection, request: wire.Request) -> None:
        knobs = self._engine.knobs
        settings = {"n_ctx": knobs.context}
        props = {
            "total_slots": knobs.slots,
            "default_generation_settings": settings,
            "is_sleeping": False,
        }
        await connection.send(200, props)

    async def _tokenize(self, connection: wire.Connection, request: wire.Request) -> None:
        count = answers.prompt_tokens(answers.flat(request.json().get("content")))
        await connection.send(200, {"tokens": list(range(count))})

    async def _embeddings(self, connection: wire.Connection, request: wire.Request) -> None:
        if self._engine.knobs.no_embeddings:
            await connection.send(
                501, {"error": {"message": "started without embeddings", "code": 501}}
            )
            return
        given = request.json().get("input")
        texts = given if isinstance(given, list) else [given]
        model = self._engine.knobs.model
        data = [
            {
                "object": "embedding",
                "index": i,
                "embedding": answers.embedding(model, answers.flat(text)),
            }
            for i, text in enumerate(texts)
        ]
        total = sum(answers.prompt_tokens(answers.flat(text)) for text in texts)
        usage = {"prompt_tokens": total, "total_tokens": total}
        await connection.send(200, {"object": "list", "model": model, "data": data, "usage": usage})

    async def _generate(self, connection: wire.Connection, request: wire.Request) -> None:
        try:
            body = request.json()
        except (json.JSONDecodeError, UnicodeDecodeError):
            await connection.send(400, {"error": {"message": "not JSON", "code": 400}})
            return
        if not await self._knows(connection, body.get("model")):
            return
        number = next(self._numbers)
        chat = request.path.endswith("/chat/completions")
        prompt = (
            answers.chat_prompt(body.get("messages") or [])
            if chat
            else answers.flat(body.get("prompt"))
        )
        work = generation.Generation(
            engine=self._engine,
            connection=connection,
            id=f"fake-{number}",
            chat=chat,
            body=body,
            prompt=prompt,
            asked=knobs_module.triggers(prompt),
            streamed=bool(body.get("stream")),
        )
        await self._run(work, request)

    async def _knows(self, connection: wire.Connection, model: object) -> bool:
        if model in (None, self._engine.knobs.model, self._engine.loaded):
            return True
        error = {
            "message": f"The model `{model}` does not exist.",
            "type": "NotFoundError",
            "code": 404,
        }
        await connection.send(404, {"error": error})
        return False

    async def _run(self, work: generation.Generation, request: wire.Request) -> None:
        engine, witness = self._engine, self._engine.witness
        request_id = request.headers.get("x-request-id", work.id)
        if engine.active >= engine.knobs.slots:
            witness.note("over_slots", id=request_id)
        async with engine.slots:
            engine.active += 1
            witness.note(
                "begin",
                id=request_id,
                path=request.path,
                prompt=work.prompt[:120],
                streamed=work.streamed,
                headers=request.headers,
                fields=sorted(work.body),
            )
            try:
                await work.answer()
            except (generation.ClientLeft, ConnectionError):
                witness.note("cancelled", id=request_id, tokens=work.done)
                work.connection.abort()
            else:
                witness.note("end", id=request_id, tokens=work.done)
            finally:
                engine.active -= 1


async def _serve(engine: Engine) -> None:
    knobs = engine.knobs
    engine.watch_signals()
    server = Server(engine)
    load = asyncio.ensure_future(engine.run_load())
    if knobs.late_bind:
        while not engine.ready:
            await asyncio.sleep(0.01)
    listening = await asyncio.start_server(server.client, knobs.host, knobs.port, limit=64 << 20)
    engine.witness.note("listening", port=listening.sockets[0].getsockname()[1])
    print(f"listening on {knobs.host}:{listening.sockets[0].getsockname()[1]}", flush=True)
    ended = asyncio.ensure_future(engine.ended())
    # A load that raised must not look like a load that hangs.
    await asyncio.wait({ended, load}, return_when=asyncio.FIRST_COMPLETED)
    if load.done() and not load.cancelled():
        load.result()
    await ended


def main(knobs: knobs_module.Knobs) -> None:
    """Run until told to stop."""
    engine = Engine(knobs)
    engine.fork_workers()
    try:
        with asyncio.Runner() as runner:
            runner.get_loop().slow_callback_duration = 10
            runner.run(_until_ended(engine))
    except OSError as error:
        print(f"cannot listen on {knobs.host}:{knobs.port}: {error}", flush=True)
        raise SystemExit(1) from None


async def _until_ended(engine: Engine) -> None:
    serving = asyncio.ensure_future(_serve(engine))
    await serving
    # Open connections would keep the loop busy; an engine that ends does not wait for them.
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
