"""The gateway as it is served, with guard, queue, database and all, in front of an engine that is simply there.

python -m benchmarks.proxy_gateway ENGINE_PORT STATE_DIR [SLOTS]
"""

import logging
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
from starlette.applications import Starlette

from coordinator import loop, settings, store
from local_model_gateway import config, serve
from openai_shim import openai_routes
from runtimes import base, registry, upstream


class Already:
    """An engine that somebody else runs."""

    def __init__(self, port: int) -> None:
        self._running = base.Running(f"http://127.0.0.1:{port}", None)

    async def look(self, known: base.ProcessRecord | None) -> base.Running | None:
        """It is there."""
        return self._running

    async def start(self, report: Callable[[base.LoadProgress], None]) -> base.Running:
        """It is there."""
        return self._running

    async def stop(self) -> None:
        """It stays there."""

    async def died(self) -> base.Exit:
        """Never."""
        await anyio.sleep_forever()
        raise AssertionError

    def log_tail(self, lines: int = 20) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def record(self) -> base.ProcessRecord | None:
        """None of ours."""
        return None

    def memory_used(self) -> int | None:
        """Unknown."""
        return None


class NoMemory:
    """Memory is not what is measured here."""

    async def free(self) -> int | None:
        """Unknown."""
        return None

    async def settle(
        self, expected_bytes: int | None, free_before: int | None, cap_s: float
    ) -> int:
        """At once."""
        return 0


async def main(engine_port: int, folder: Path, slots: int) -> None:
    """Serve until killed."""
    spec = base.RuntimeSpec("stub", "stub", ("stub",), "stub", max_concurrency=slots)
    made = registry.Registry(
        {"stub": registry.Managed(spec, Already(engine_port))}, {"stub": "stub"}
    )
    limits = settings.CoordinatorSettings(max_queue=10_000, max_queue_per_client=10_000)
    server = config.Server(port=0)
    listening = serve.bind(server)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    port = serve.port_of(listening)
    serve.raise_file_limit()
    async with (
        store.Store.open(folder, limits) as kept,
        upstream.Upstream() as engines,
        loop.Coordinator.open(made, kept, engines, NoMemory(), limits) as coordinator,
        anyio.create_task_group() as group,
    ):
        app = Starlette(routes=openai_routes.routes(coordinator, engines))
        await group.start(
            lambda task_status: serve.serve(
                serve.guarded(app, server, port),
                listening,
                server,
                stop=anyio.Event(),
                task_status=task_status,
            )
        )
        print(f"listening on 127.0.0.1:{port}", flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    SLOTS = int(sys.argv[3]) if len(sys.argv) > 3 else 10_000
    anyio.run(main, int(sys.argv[1]), Path(sys.argv[2]), SLOTS)
