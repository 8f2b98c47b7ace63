"""Puts the MCP surface together: one server for both protocol eras, as routes to splice into the application."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import rich.logging  # noqa: F401 - the SDK would import it later, on the event loop
from anyio import to_thread
from mcp.server.caching import CacheHint
from mcp.server.mcpserver import MCPServer
from mcp.server.request_state import RequestStateSecurity
from mcp.server.transport_security import TransportSecuritySettings
from mcp.types import Tool
from starlette.routing import BaseRoute

from broker.service import Broker
from coordinator import loop
from mcp_server import broker_tools, resources, slim, state_key, tasks
from mcp_server.client_tools import ClientTools
from mcp_server.confirmation import Confirmations
from mcp_server.gateway_tools import GatewayTools
from mcp_server.info import NAME, ServerInfo
from mcp_server.job_tasks import JobTasks
from mcp_server.job_tools import JobTools

PATH = "/mcp"
LIST_CACHE = CacheHint(ttl_ms=3_600_000, scope="public")
"""The lists are fixed for the life of the process, whoever asks."""

INSTRUCTIONS = (
    "Local models behind one queue; a swap of models can take minutes: gateway_status says who waits for what. For anything long use submit_job, "
    "then wait_for_job or get_job; being queued is normal, so never submit the same work twice. "
    "recommend_local_profile picks a model. Other MCP servers' tools: search_tools, then describe_tool, "
    "then call_tool. Cancel with cancel_runtime_request what you no longer need."
)


class GatewayServer(MCPServer[Any]):
    """An `MCPServer` whose tool list is made once and made short."""

    _listed: list[Tool] | None = None

    async def list_tools(self) -> list[Tool]:
        """Always the same tools in the same order, so that clients and prompt caches can keep them."""
        if self._listed is None:
            self._listed = [slim.slim(tool) for tool in await super().list_tools()]
        return self._listed


@dataclass(frozen=True, slots=True)
class McpSurface:
    """The finished surface; serve `routes` inside `run`."""

    server: GatewayServer
    routes: Sequence[BaseRoute]
    _coordinator: loop.Coordinator
    _key: state_key.StateKey
    _bus: resources.Bus

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Answers calls while the block lasts; leaving it ends every session and stream."""
        await to_thread.run_sync(self._key.load)
        async with self.server.session_manager.run(), anyio.create_task_group() as group:
            group.start_soon(resources.announce, self._coordinator, self._bus)
            try:
                yield
            finally:
                group.cancel_scope.cancel()


def build(
    coordinator: loop.Coordinator,
    broker: Broker | None,
    info: ServerInfo,
    state_dir: Path,
    task_sources: Sequence[tasks.Source] = (),
) -> McpSurface:
    """The server with every tool; `task_sources` are asked after our own jobs."""
    key, bus = state_key.StateKey(state_dir), resources.Bus()
    server = GatewayServer(
        NAME,
        title="Local Model Gateway",
        instructions=INSTRUCTIONS,
        version=info.version,
        log_level="WARNING",
        extensions=[tasks.Tasks([JobTasks(coordinator), *task_sources])],
        request_state_security=RequestStateSecurity(codec=key),
        cache_hints={
            "server/discover": LIST_CACHE,
            "tools/list": LIST_CACHE,
            "resources/list": LIST_CACHE,
            "resources/templates/list": LIST_CACHE,
            "prompts/list": LIST_CACHE,
        },
        subscriptions=bus,
    )

    def tool_servers() -> Mapping[str, int] | None:
        return None if broker is None else broker.counts()

    GatewayTools(coordinator, info, Confirmations(key), tool_servers).register(server)
    JobTools(coordinator).register(server)
    ClientTools(coordinator, info).register(server)
    if broker is not None:
        broker_tools.register(server, broker)
    resources.register(server, coordinator, info, tool_servers)
    return McpSurface(server, _routes(server, info), coordinator, key, bus)


def _routes(server: GatewayServer, info: ServerInfo) -> Sequence[BaseRoute]:
    """The SDK's defaults: the only settings with progress, cancellation and questions in both eras."""
    application = server.streamable_http_app(
        streamable_http_path=PATH,
        max_request_body_size=info.body_limit_bytes,
        session_idle_timeout=info.session_idle_s,
        max_sessions=info.max_sessions,
        transport_security=TransportSecuritySettings(
            allowed_hosts=list(info.allowed_hosts), allowed_origins=list(info.allowed_origins)
        ),
    )
    return application.routes
