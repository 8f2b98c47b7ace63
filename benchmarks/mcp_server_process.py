"""The server that `benchmarks.mcp` asks: our own MCP surface inside the guard, and a bare route beside both.

`python -m benchmarks.mcp_server_process DIR`; the first line on stdout is the address, stdin's end stops it.
"""

import os
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import psutil
from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.service import Broker
from coordinator import loop, settings, store
from local_model_gateway import config, serve
from mcp_server import server as mcp_surface
from mcp_server.info import ServerInfo
from runtimes import registry, upstream
from tests.support.scripted import FreeMemory


async def bare(request: Request) -> JSONResponse:
    """As little as a JSON route can do: read the body, answer an object."""
    body = await request.json()
    return JSONResponse({"jsonrpc": "2.0", "id": body["id"], "result": {"ok": True}})


async def cost(request: Request) -> JSONResponse:
    """What this process has used so far."""
    process = psutil.Process()
    return JSONResponse(
        {
            "cpu_s": time.process_time(),
            "rss_bytes": process.memory_info().rss,
            "pid": os.getpid(),
        }
    )


@asynccontextmanager
async def application(folder: Path, url: str) -> AsyncGenerator[Starlette]:
    """A gateway without models: the queue is real and empty."""
    limits = settings.CoordinatorSettings()
    async with AsyncExitStack() as stack:
        kept = await stack.enter_async_context(store.Store.open(folder / "state", limits))
        engines = await stack.enter_async_context(upstream.Upstream())
        coordinator = await stack.enter_async_context(
            loop.Coordinator.open(registry.Registry(), kept, engines, FreeMemory(), limits)
        )
        broker = await stack.enter_async_context(Broker({}, folder / "state"))
        surface = mcp_surface.build(
            coordinator, broker, ServerInfo("bench", base_url=url), folder / "state"
        )
        await stack.enter_async_context(surface.run())
        yield Starlette(routes=[Route("/cost", cost), *surface.routes])


def beside(guarded: ASGIApp) -> ASGIApp:
    """The bare route stands outside the guard too, so that nothing of ours is in what we compare with."""
    alone = Starlette(routes=[Route("/bare", bare, methods=["POST"])])

    async def choose(scope: Scope, receive: Receive, send: Send) -> None:
        app = alone if scope.get("path") == "/bare" else guarded
        await app(scope, receive, send)

    return choose


async def main(folder: Path) -> None:
    """Serve until stdin closes."""
    server = config.Server(port=0)
    listening = serve.bind(server)
    port = serve.port_of(listening)
    url = f"http://127.0.0.1:{port}"
    stop = anyio.Event()
    async with application(folder, url) as app, anyio.create_task_group() as group:

        async def run(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            both = beside(serve.guarded(app, server, port))
            await serve.serve(both, listening, server, stop=stop, task_status=task_status)

        await group.start(run)
        print(url, flush=True)
        await to_thread.run_sync(sys.stdin.read)
        stop.set()


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]))
