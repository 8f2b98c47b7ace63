"""What can be read and watched: the status, the models, and each job with its whole result."""

from collections.abc import Awaitable, Callable
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceNotFoundError
from mcp.server.subscriptions import SubscriptionBus
from mcp.shared.subscriptions import ResourceUpdated

from coordinator import errors as coordinator_errors
from coordinator import loop, status
from mcp_server import caller, job_tools, views
from mcp_server.info import JOB_URI, ServerInfo

STATUS_URI, MODELS_URI = "gateway://status", "gateway://models"
JSON = "application/json"


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


async def announce(coordinator: loop.Coordinator, bus: SubscriptionBus) -> None:
    """Tells listeners that the status or a runtime's state changed; runs as long as the surface does."""
    before: tuple[Any, ...] | None = None
    while True:
        picture = coordinator.snapshot()
        now = _digest(picture)
        if before is not None and now != before:
            await bus.publish(ResourceUpdated(uri=STATUS_URI))
            if now[-1] != before[-1]:
                await bus.publish(ResourceUpdated(uri=MODELS_URI))
        before = now
        await coordinator.changed()


def _digest(picture: status.Snapshot) -> tuple[Any, ...]:
    """What a listener would see change."""
    states = tuple((line.name, line.state) for line in picture.runtimes)
    return len(picture.running), len(picture.queue), picture.paused, states
