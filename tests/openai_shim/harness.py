"""A whole gateway in front of fake engines, in a test's own event loop, on a real loopback socket."""

import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2
from starlette.applications import Starlette

from coordinator import loop, settings, store, work
from coordinator.state import WorkState
from local_model_gateway import config, engines, serve
from openai_shim import openai_routes, options
from runtimes import launch, registry, upstream
from runtimes.settings import EngineRecipe, RuntimeSettings
from tests.support.fake_engine import spawn, witness

QUICK = options.ShimOptions(hold_back_s=0.2, keepalive_s=0.5, look_s=0.1)
IMPATIENT = upstream.Patience(first_byte_s=1.5, between_s=1.5)

RECIPE = EngineRecipe.model_validate(
    {
        "lifecycle": "process",
        "argv": ["fake-engine"],
        "model_is": "none",
        "ready": {"path": "/health", "body": {"status": "ok"}},
        "max_concurrency": 4,
        "capabilities": ["chat", "completions", "embeddings"],
        "health_every": 5,
        "health_timeout": 5,
    }
)

RECIPES = {**engines.all_recipes(), "fake": RECIPE}


class NoMemory:
    """Nobody can tell how much memory there is, and it always comes back."""

    async def free(self) -> int | None:
        """Unknown."""
        return None

    async def settle(
        self, expected_bytes: int | None, free_before: int | None, cap_s: float
    ) -> int:
        """At once."""
        return 0


@dataclass
class Gateway:
    """What a test needs of the running gateway."""

    url: str
    port: int
    coordinator: loop.Coordinator
    log: Path

    @property
    def base_url(self) -> str:
        """What an OpenAI client is given."""
        return f"{self.url}/v1"

    def client(self, **more: Any) -> httpx2.AsyncClient:
        """A plain HTTP client."""
        return httpx2.AsyncClient(base_url=self.url, timeout=30, **more)

    def engine_events(self, name: str) -> list[witness.Event]:
        """What the fake engines wrote, of one kind."""
        return witness.named(self.log, name)

    async def until_engine(self, name: str, count: int = 1) -> None:
        """Wait until the fake engines wrote it so often."""
        with anyio.fail_after(30):
            while len(self.engine_events(name)) < count:
                await anyio.sleep(0.02)  # another process's file: nobody here is told

    async def rows(self) -> list[work.WorkItem]:
        """Every work item so far, newest first."""
        return list(await self.coordinator.store.items(None, None, 1000, None))

    async def until_rows(self, *states: WorkState) -> list[work.WorkItem]:
        """Wait until every work item is in one of these states."""
        with anyio.fail_after(30):
            while True:
                rows = await self.rows()
                if rows and all(row.state in states for row in rows):
                    return rows
                await anyio.sleep(0.02)  # the store writes behind the answer, in its own time

    async def until_queued(self, count: int) -> None:
        """Wait until so many wait."""
        with anyio.fail_after(30):
            while len(self.coordinator.snapshot().queue) != count:
                await self.coordinator.changed()

    async def until_idle(self) -> None:
        """Wait until no lease is held and nothing waits."""
        with anyio.fail_after(30):
            while True:
                seen = self.coordinator.snapshot()
                if not seen.running and not seen.queue:
                    return
                await self.coordinator.changed()


def section(folder: Path, name: str, given: Mapping[str, Any]) -> RuntimeSettings:
    """One runtime on a fake engine; keys that are no setting of a runtime are the engine's knobs."""
    if "engine" in given:
        return RuntimeSettings.model_validate(dict(given))
    known = RuntimeSettings.model_fields
    ours = {key: value for key, value in given.items() if key in known}
    knobs = {key: value for key, value in given.items() if key not in known}
    knobs = {"model": name, "witness": folder / "witness", **knobs}
    made = {
        "engine": "fake",
        "cmd": [*spawn.command(**knobs), "--port", "{port}"],
        "env": {"PYTHONPATH": str(spawn.ROOT)},
        "stop_timeout": 5.0,
        "load_timeout": 60.0,
        **ours,
    }
    return RuntimeSettings.model_validate(made)


@asynccontextmanager
async def gateway(
    folder: Path,
    runtimes: Mapping[str, Mapping[str, Any]] | None = None,
    shim: options.ShimOptions = QUICK,
    limits: settings.CoordinatorSettings | None = None,
    server: config.Server | None = None,
    patience: upstream.Patience = IMPATIENT,
) -> AsyncIterator[Gateway]:
    """Serve these runtimes (one called `tiny` if none are named) until the block ends."""
    limits = limits or settings.CoordinatorSettings(
        knobs=settings.Knobs(max_wait_s=0.5, min_residency_s=0.0)
    )
    server = server or config.Server(port=0)
    (folder / "logs").mkdir()
    sections = {
        name: section(folder, name, given) for name, given in (runtimes or {"tiny": {}}).items()
    }
    places = launch.Places(logs=folder / "logs", models=folder / "models")
    made = registry.build(sections, RECIPES, places)
    listening = serve.bind(server)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    port = serve.port_of(listening)
    stop = anyio.Event()
    async with (
        store.Store.open(folder / "state", limits) as kept,
        upstream.Upstream(patience) as ways,
        loop.Coordinator.open(made, kept, ways, NoMemory(), limits) as coordinator,
        anyio.create_task_group() as group,
    ):
        app = Starlette(routes=openai_routes.routes(coordinator, ways, shim))
        app.router.redirect_slashes = False
        await group.start(
            lambda task_status: serve.serve(
                serve.guarded(app, server, port),
                listening,
                server,
                stop=stop,
                grace_s=1,
                task_status=task_status,
            )
        )
        try:
            yield Gateway(f"http://127.0.0.1:{port}", port, coordinator, folder / "witness")
        finally:
            stop.set()


def chat(prompt: str, model: str = "tiny", **more: Any) -> dict[str, Any]:
    """A chat request."""
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **more}


def events(text: str) -> list[Any]:
    """The JSON of every event of a stream, `[DONE]` as it stands, comments left out."""
    found: list[Any] = []
    for event in text.split("\n\n"):
        for line in event.split("\n"):
            if line.startswith("data: "):
                data = line[6:]
                found.append(data if data == "[DONE]" else json.loads(data))
    return found


def comments(text: str) -> list[str]:
    """The comments of a stream."""
    return [line[2:] for line in text.split("\n") if line.startswith(": ")]


def said(found: list[Any]) -> str:
    """The text of a chat's events."""
    return "".join(
        event["choices"][0]["delta"].get("content") or ""
        for event in found
        if event != "[DONE]" and event.get("choices")
    )
