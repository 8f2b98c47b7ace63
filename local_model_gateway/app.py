"""The composition root: every part is made here, handed what it needs, and ended in order."""

import functools
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread
from anyio.abc import TaskStatus
from starlette.applications import Starlette
from starlette.routing import BaseRoute

import local_model_gateway
from coordinator import errors, loop, refusals, store
from coordinator import settings as coordinator_settings
from local_model_gateway import (
    config,
    discovery,
    engines,
    mcp_door,
    operations,
    redact,
    reload,
    serve,
)
from local_model_gateway.config import Config
from local_model_gateway.errors import ConfigError, GatewayError, Problem
from openai_shim import openai_routes, options
from runtimes import errors as runtimes_errors
from runtimes import launch, memory, registry, strays, upstream

log = logging.getLogger(__name__)

TAKEN_OVER = 1
CUT_S = 2.0
"""What a stream that is cut at the end of the drain has left to send its error event."""


class StateRefused(GatewayError):
    """The state directory is somebody else's, or cannot be used."""

    code = "state_refused"


@dataclass(slots=True)
class Gateway:
    """A running gateway, as the command line sees it."""

    config: config.Config
    state_dir: Path
    port: int
    coordinator: loop.Coordinator
    started_at: float = field(default_factory=time.time)
    began: float = field(default_factory=time.monotonic)
    stop: anyio.Event = field(default_factory=anyio.Event)
    drain_s: float = 0.0
    tools: Callable[[], dict[str, Any] | None] = lambda: None
    """What the broker says of itself, once it is there."""
    build: Callable[[Config], registry.Registry] | None = None
    """Makes the runtimes of another configuration."""
    config_problem: str | None = None
    """Why the newest configuration was not taken; the one before goes on."""
    for_restart: tuple[str, ...] = ()
    """Sections that have changed and count from the next start on."""
    memory: Mapping[str, int] | None = None
    """What the machine has in all, and what of it no model gets; None where the configuration says a size."""

    @property
    def url(self) -> str:
        """Where it is reached from this machine."""
        host = self.config.server.host
        shown = "127.0.0.1" if host in {"0.0.0.0", ""} else "[::1]" if host == "::" else host
        return f"http://{f'[{shown}]' if shown.count(':') > 1 and shown[0] != '[' else shown}:{self.port}"

    def end(self, drain_s: float) -> None:
        """Stop: running work has `drain_s` left."""
        self.drain_s = drain_s
        self.stop.set()

    async def take(self, outcome: reload.Outcome) -> None:
        """A changed configuration: all of it, or nothing and a word about why."""
        if isinstance(outcome, reload.Refused):
            self.config_problem = str(outcome.error)
            log.error("the changed configuration is not used: %s", outcome.error)
            return
        if self.build is None:
            return
        try:
            built = await to_thread.run_sync(self.build, outcome.wanted)
        except runtimes_errors.RuntimesError as error:
            self.config_problem = str(error)
            log.error("the changed configuration is not used: %s", error)  # noqa: TRY400
            return
        changed = {*outcome.difference.added, *outcome.difference.changed}
        before = self.coordinator.registry.runtimes
        kept = {
            name: one if name in changed or name not in before else before[name]
            for name, one in built.runtimes.items()
        }
        await self.coordinator.reconfigure(registry.Registry(kept, built.by_alias))
        self.config, self.config_problem = outcome.wanted, None
        self.for_restart = outcome.difference.sections
        log.info("the changed configuration is in use: %s", outcome.difference)

    def picture(self) -> dict[str, Any]:
        """What /status shows beside the queue."""
        return {
            "gateway": {
                "version": local_model_gateway.__version__,
                "pid": os.getpid(),
                "url": self.url,
                "started_at": self.started_at,
                "uptime_s": round(time.monotonic() - self.began, 1),
            },
            "memory": self.memory,
            "broker": self.tools(),
            "config": {
                "files": [path.name for path in self.config.files],
                "built_in": not self.config.files,
                "problem": self.config_problem,
                "changed_for_the_next_start": list(self.for_restart),
            },
        }


def limits(
    settings: config.Config, pool_bytes: int | None
) -> coordinator_settings.CoordinatorSettings:
    """The configuration as the coordinator's own knobs."""
    return coordinator_settings.CoordinatorSettings(
        knobs=coordinator_settings.Knobs(
            max_wait_s=settings.scheduling.max_wait,
            min_residency_s=settings.scheduling.min_residency,
            residency_per_load=settings.scheduling.residency_per_load,
            aging_s=settings.scheduling.aging,
        ),
        pool_bytes=pool_bytes,
        max_queue=settings.queue.max_queue,
        max_queue_per_client=settings.queue.max_queue_per_client,
        max_queue_wait_s=settings.queue.max_queue_wait,
        run_timeout_s=settings.queue.run_timeout,
        max_result_bytes=settings.queue.max_result,
        history_s=settings.history,
        settle_cap_s=settings.scheduling.settle_cap,
        drain_s=settings.server.drain,
    )


async def run(
    settings: config.Config,
    announce: Callable[[Gateway], None],
    reloader: reload.Reloader | None = None,
) -> None:
    """Serve until SIGTERM, SIGINT or `/admin/shutdown`; `announce` is called once it answers.

    Raises a `GatewayError`, with nothing started, where the configuration or the state cannot be used.
    """
    serve.raise_file_limit()
    with serve.bind(settings.server) as listening:
        try:
            async with opened(settings, serve.port_of(listening)) as (gateway, routes):
                await _serve(gateway, routes, listening, announce, reloader)
        except runtimes_errors.RuntimesError as error:
            raise ConfigError([Problem(str(error))]) from None
        except (errors.OwnedElsewhere, refusals.StateUnusable) as error:
            raise StateRefused(str(error)) from None


@asynccontextmanager
async def opened(
    settings: config.Config, port: int
) -> AsyncGenerator[tuple[Gateway, list[BaseRoute]]]:
    """Every part of a gateway but its socket; leaving the block stops every engine."""
    state_dir = settings.state_path(os.environ)
    places = launch.Places(
        logs=state_dir / "logs",
        models=state_dir / "models",
        redact=redact.Redactor(settings.secrets),
    )
    machine = await to_thread.run_sync(memory.Machine.of_this_machine)
    recipes = engines.all_recipes()

    def build(wanted: config.Config) -> registry.Registry:
        return registry.build(wanted.runtimes, recipes, places, measure=machine.measure)

    patience = upstream.Patience(
        first_byte_s=settings.queue.first_byte_timeout, between_s=settings.queue.stall_timeout
    )
    members = await to_thread.run_sync(build, settings)  # it reads the heads of model files
    machine_bytes = (await machine.reading()).total_bytes
    pool_bytes = settings.pool.of(machine_bytes)
    knobs = limits(settings, pool_bytes)
    async with (
        store.Store.open(state_dir, knobs) as store_,
        upstream.Upstream(patience) as engines_,
        loop.Coordinator.open(
            members,
            store_,
            engines_,
            machine,
            knobs,
            functools.partial(strays.reap, places.logs),
        ) as coordinator,
        mcp_door.McpDoor(settings, coordinator, state_dir) as mcp,
    ):
        gateway = Gateway(settings, state_dir, port, coordinator, tools=mcp.tools, build=build)
        if settings.pool.memory == "auto" and machine_bytes is not None and pool_bytes is not None:
            reserve_bytes = machine_bytes - pool_bytes
            gateway.memory = {"total_bytes": machine_bytes, "reserve_bytes": reserve_bytes}
        mcp.url = gateway.url
        yield (
            gateway,
            [
                *operations.routes(coordinator, gateway.picture, gateway.end),
                *openai_routes.routes(coordinator, engines_, options.ShimOptions()),
                *mcp.routes(),
                *discovery.routes(
                    settings,
                    lambda: gateway.url,
                    lambda: coordinator.registry.specs(),
                    lambda: discovery.moment(coordinator),
                ),
            ],
        )


async def _serve(
    gateway: Gateway,
    routes: list[BaseRoute],
    listening: socket.socket,
    announce: Callable[[Gateway], None],
    reloader: reload.Reloader | None,
) -> None:
    server = gateway.config.server
    inner = Starlette(routes=routes)
    inner.router.redirect_slashes = False  # one path is one route; another is a 404 like any other
    app = serve.guarded(inner, server, gateway.port)
    silent = anyio.Event()
    async with anyio.create_task_group() as tasks:

        async def answer(*, task_status: TaskStatus[None]) -> None:
            await serve.serve(
                app, listening, server, stop=silent, grace_s=CUT_S, task_status=task_status
            )
            tasks.cancel_scope.cancel()

        tasks.start_soon(_until_told, gateway, reloader)
        if reloader is not None:
            tasks.start_soon(reloader.run, gateway.take)
        tasks.start_soon(_until_taken_over, gateway)
        await tasks.start(answer)
        announce(gateway)
        await gateway.stop.wait()
        log.info("stopping; running work has %.0f s", gateway.drain_s)
        await gateway.coordinator.shutdown(gateway.drain_s)
        silent.set()
    log.info("stopped")


async def _until_taken_over(gateway: Gateway) -> None:
    """Another gateway owns the state now, and its engines too: end at once and touch nothing."""
    lost = await gateway.coordinator.store.ownership_lost()
    sys.stderr.write(f"local-model-gateway: {lost}\n")
    sys.stderr.flush()
    os._exit(TAKEN_OVER)


async def _until_told(gateway: Gateway, reloader: reload.Reloader | None) -> None:
    """The first signal lets running work end; a second one cuts it off."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async for number in signals:
            if number == signal.SIGHUP:
                if reloader is not None:
                    reloader.ask()
            elif gateway.stop.is_set():
                gateway.coordinator.hurry()
            else:
                gateway.end(gateway.config.server.drain)
