"""The way to the MCP surface, whose imports are too heavy to make anybody wait for them.

The socket is open long before the MCP packages are loaded: a request that comes too early waits
here for the second that it takes, and never sees a 404 that would make its client give up.
"""

import dataclasses
import gc
import importlib
import logging
from pathlib import Path
from types import TracebackType
from typing import Any

import anyio
import anyio.abc
from anyio import to_thread
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

import local_model_gateway
from coordinator import loop
from local_model_gateway import answers, config

log = logging.getLogger(__name__)

TRY_AGAIN_S = 5.0
UNAVAILABLE = answers.Refusal(
    503,
    "mcp_unavailable",
    "The MCP server could not start; the gateway's log says why, and it is tried again.",
    [(b"retry-after", b"5")],
)


def _spare_the_collector() -> None:
    """All that is loaded now stays: full collections over it were pauses of up to 80 ms under load."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 1000)


class McpDoor:
    """Loads and runs the MCP server and the broker behind it, for as long as its block lasts."""

    def __init__(
        self, settings: config.Config, coordinator: loop.Coordinator, state_dir: Path
    ) -> None:
        self._settings, self._coordinator, self._state_dir = settings, coordinator, state_dir
        self._tasks: anyio.abc.TaskGroup | None = None
        self._loaded = anyio.Event()
        self._surface: ASGIApp | None = None
        self.broker: Any = None  # broker.service.Broker, not imported here on purpose
        self.url = ""

    async def __aenter__(self) -> "McpDoor":
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._run)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        if self._tasks is None:
            return None
        self._tasks.cancel_scope.cancel()
        return await self._tasks.__aexit__(kind, error, trace)

    def tools(self) -> dict[str, Any] | None:
        """What /status shows of the broker; None until it is loaded."""
        return None if self._surface is None else self.broker.status()

    def routes(self) -> list[BaseRoute]:
        """One door for every method; the server behind it knows which it takes."""
        return [Route("/mcp", self, methods=None)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait for the server, then hand the request through untouched."""
        await self._loaded.wait()
        if self._surface is None:
            await answers.send(UNAVAILABLE, send)
        else:
            await self._surface(scope, receive, send)

    async def _run(self) -> None:
        """A full disk or a broken package must not take the other surfaces down."""
        while True:
            try:
                await self._serve()
            except* (ImportError, OSError):
                log.exception("the MCP server cannot start; the other routes go on")
            self._surface = None
            self._loaded.set()
            await anyio.sleep(TRY_AGAIN_S)

    async def _serve(self) -> None:
        server: Any = await to_thread.run_sync(importlib.import_module, "mcp_server.server")
        service: Any = await to_thread.run_sync(importlib.import_module, "broker.service")
        settings = self._settings
        async with service.Broker(
            settings.mcp_servers, self._state_dir, settings.broker
        ) as self.broker:
            info = server.ServerInfo(
                version=local_model_gateway.__version__,
                base_url=self.url,
                requires_key=bool(settings.server.keys),
            )
            info = dataclasses.replace(
                info,
                allowed_hosts=(*info.allowed_hosts, *settings.server.allowed_hosts),
                allowed_origins=(*info.allowed_origins, *settings.server.allowed_origins),
            )
            surface = server.build(self._coordinator, self.broker, info, self._state_dir)
            self._surface = Starlette(routes=surface.routes)
            async with surface.run():
                self._loaded.set()
                await to_thread.run_sync(_spare_the_collector)
                await anyio.sleep_forever()
