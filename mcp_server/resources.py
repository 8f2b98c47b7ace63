"""What can be read and watched: the status, the models, and each job with its whole result."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceNotFoundError
from mcp.server.subscriptions import InMemorySubscriptionBus
from mcp.shared.subscriptions import ResourceUpdated, ServerEvent

from coordinator import errors as coordinator_errors
from coordinator import loop
from mcp_server import caller, job_tools, views
from mcp_server.info import JOB_URI, ServerInfo

STATUS_URI, MODELS_URI = "gateway://status", "gateway://models"
JSON = "application/json"
BURST_S = 0.5
"""Changes come in bursts, and a listener reads the whole picture after each."""


def register(
    server: MCPServer,
    coordinator: loop.Coordinator,
    info: ServerInfo,
    tool_servers: views.ToolServers,
) -> None:
    """Add the three."""

    async def read_status() -> str:
        """Queue, runtimes, memory and problems now."""
        picture = coordinator.snapshot()
        return views.gateway(picture, tool_servers(), info.problems()).model_dump_json()

    async def read_models() -> str:
        """Every model that one can ask for."""
        return views.models(coordinator.snapshot()).model_dump_json()

    async def read_job(job_id: str, ctx: Context) -> str:
        """One of your jobs, with as much of its result as was kept."""
        try:
            found = await coordinator.job(job_id, caller.owner(ctx))
        except coordinator_errors.NoSuchWork as error:
            raise ResourceNotFoundError(str(error)) from error
        whole = coordinator.limits.max_result_bytes
        return job_tools.job(found, shown_bytes=whole).model_dump_json()

    add: Callable[..., Callable[[Callable[..., Awaitable[str]]], Any]] = server.resource
    add(STATUS_URI, title="Gateway status", mime_type=JSON)(read_status)
    add(MODELS_URI, title="Local models", mime_type=JSON)(read_models)
    add(JOB_URI, title="Job", mime_type=JSON)(read_job)


class Bus(InMemorySubscriptionBus):
    """Knows whether anybody listens, so that nothing is done for nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.listeners = 0

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        """As the SDK wants it: the answer ends the subscription, however often it is called."""
        leave = super().subscribe(listener)
        self.listeners += 1
        left = False

        def unsubscribe() -> None:
            nonlocal left
            if not left:
                left = True
                self.listeners -= 1
            leave()

        return unsubscribe


async def announce(coordinator: loop.Coordinator, bus: Bus) -> None:
    """Tells listeners that something changed, once for a burst; runs as long as the surface does."""
    seen = coordinator.keeper.version
    while True:
        if coordinator.keeper.version == seen:
            await coordinator.changed()
        seen = coordinator.keeper.version
        if bus.listeners:
            await bus.publish(ResourceUpdated(uri=STATUS_URI))
            await bus.publish(ResourceUpdated(uri=MODELS_URI))
        await anyio.sleep(BURST_S)
