"""A whole gateway with its MCP surface in front of fake engines, on a real loopback socket."""

import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2
import mcp
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, TextContent
from starlette.applications import Starlette

from coordinator import loop, settings, store
from coordinator.state import WorkState
from local_model_gateway import config, serve
from mcp_server import server as mcp_surface
from mcp_server import tasks
from mcp_server.info import ServerInfo
from openai_shim import openai_routes, options
from runtimes import launch, registry, upstream
from runtimes.settings import EngineRecipe, RuntimeSettings
from tests.support.fake_engine import spawn, witness
from tests.support.scripted import FreeMemory

WITHIN_S = 30.0
ERAS = ("auto", "legacy")
"""The stateless era is what `auto` finds here; `legacy` is the era of sessions."""

RECIPE = EngineRecipe.model_validate(
    {
        "lifecycle": "process",
        "argv": ["fake-engine"],
        "model_is": "none",
        "ready": {"path": "/health", "body": {"status": "ok"}},
        "max_concurrency": 1,
        "capabilities": ["chat", "completions", "embeddings", "tools"],
    }
)
ONCE = EngineRecipe.model_validate(
    {
        "lifecycle": "oneshot",
        "argv": ["{python}", "-P", "{oneshot}"],
        "model_is": "none",
        "ready": {"path": "/health", "body": {"status": "ok"}},
        "headers": {"authorization": "Bearer {key}"},
        "capabilities": ["chat", "completions"],
    }
)
ECHO = ["{python}", "-P", "{oneshot}", "--port", "{port}", "--alias", "{alias}", "--"]
"""The command of a one-shot runtime, up to its program."""


@dataclass
class Gateway:
    """What a test needs of the running gateway."""

    url: str
    coordinator: loop.Coordinator
    surface: mcp_surface.McpSurface
    log: Path

    @property
    def mcp_url(self) -> str:
        """What an MCP client is given."""
        return f"{self.url}/mcp"

    @asynccontextmanager
    async def client(
        self, mode: Any = "auto", key: str | None = None, **more: Any
    ) -> AsyncGenerator[mcp.Client]:
        """The SDK's own client."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(headers=headers, timeout=60, trust_env=False) as http:
            transport = streamable_http_client(self.mcp_url, http_client=http)
            async with mcp.Client(transport, mode=mode, **more) as client:
                yield client

    def http(self, **more: Any) -> httpx2.AsyncClient:
        """A plain HTTP client."""
        return httpx2.AsyncClient(base_url=self.url, timeout=60, trust_env=False, **more)

    def engine_events(self, name: str) -> list[witness.Event]:
        """What the fake engines wrote, of one kind."""
        return witness.named(self.log, name)

    async def until_engine(self, name: str, count: int = 1) -> None:
        """Wait until the fake engines wrote it so often."""
        with anyio.fail_after(WITHIN_S):
            while len(self.engine_events(name)) < count:
                await anyio.sleep(0.02)  # another process's file: nobody here is told

    async def until_job(self, job_id: str, *states: WorkState) -> None:
        """Wait until the job is in one of these states."""
        with anyio.fail_after(WITHIN_S):
            while (await self.coordinator.job(job_id, None)).item.state not in states:
                await self.coordinator.changed()


def data(result: Any) -> dict[str, Any]:
    """The structured answer of a call that must have worked."""
    assert isinstance(result, CallToolResult), result
    assert not result.is_error, said(result)
    assert isinstance(result.structured_content, dict)
    return result.structured_content


def said(result: Any) -> str:
    """The text of an answer."""
    assert isinstance(result, CallToolResult), result
    return "".join(part.text for part in result.content if isinstance(part, TextContent))


def section(folder: Path, name: str, given: Mapping[str, Any]) -> RuntimeSettings:
    """One runtime on a fake engine; keys that are no setting of a runtime are the engine's knobs."""
    known = RuntimeSettings.model_fields
    ours = {key: value for key, value in given.items() if key in known}
    knobs = {key: value for key, value in given.items() if key not in known}
    knobs = {"model": name, "witness": folder / "witness", **knobs}
    return RuntimeSettings.model_validate(
        {
            "engine": "fake",
            "cmd": [*spawn.command(**knobs), "--port", "{port}"],
            "env": {"PYTHONPATH": str(spawn.ROOT)},
            "stop_timeout": 5.0,
            "load_timeout": 60.0,
            **ours,
        }
    )


@asynccontextmanager
async def gateway(
    folder: Path,
    runtimes: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    server: config.Server | None = None,
    broker: Any = None,
    task_sources: Sequence[tasks.Source] = (),
    prepare: Callable[[mcp_surface.GatewayServer], None] = lambda server: None,
    pool_bytes: int | None = None,
    **info: Any,
) -> AsyncGenerator[Gateway]:
    """Serve these runtimes (one called `tiny` if none are named) until the block ends."""
    limits = settings.CoordinatorSettings(
        knobs=settings.Knobs(max_wait_s=0.2, min_residency_s=0.0),
        pool_bytes=pool_bytes,
        settle_cap_s=1.0,
    )
    server = server or config.Server(port=0)
    (folder / "logs").mkdir(exist_ok=True)
    sections = {
        name: section(folder, name, given) for name, given in (runtimes or {"tiny": {}}).items()
    }
    places = launch.Places(logs=folder / "logs", models=folder / "models")
    made = registry.build(sections, {"fake": RECIPE, "once": ONCE}, places)
    listening = serve.bind(server)
    url = f"http://127.0.0.1:{serve.port_of(listening)}"
    stop = anyio.Event()
    async with contextlib.AsyncExitStack() as stack:
        kept = await stack.enter_async_context(store.Store.open(folder / "state", limits))
        engines = await stack.enter_async_context(upstream.Upstream())
        coordinator = await stack.enter_async_context(
            loop.Coordinator.open(made, kept, engines, FreeMemory(), limits)
        )
        surface = mcp_surface.build(
            coordinator,
            broker,
            ServerInfo("0.0.test", base_url=url, **info),
            folder / "state",
            task_sources,
        )
        prepare(surface.server)
        await stack.enter_async_context(surface.run())
        routes = [
            *openai_routes.routes(coordinator, engines, options.ShimOptions()),
            *surface.routes,
        ]
        app = serve.guarded(Starlette(routes=routes), server, serve.port_of(listening))
        group = await stack.enter_async_context(anyio.create_task_group())
        await group.start(_serve, app, listening, server, stop)
        try:
            yield Gateway(url, coordinator, surface, folder / "witness")
        finally:
            stop.set()


async def _serve(
    app: Any,
    listening: Any,
    server: config.Server,
    stop: anyio.Event,
    *,
    task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    await serve.serve(app, listening, server, stop=stop, grace_s=1, task_status=task_status)
