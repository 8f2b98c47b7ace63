"""From settings to an open client: the only module that knows how a downstream server is reached.

The SDK is imported in here when a server is really opened: a gateway whose tools are only searched
never pays for it.
"""

import contextlib
import importlib
import os
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from broker import settings
from broker.child import Child
from broker.errors import ServerUnavailable
from broker.ring import Redactor, Ring
from broker.tokens import TokenFile

if TYPE_CHECKING:
    import mcp
    import mcp_types
    from mcp.client.session import ClientRequestContext, IncomingMessage

    Elicited = mcp_types.ElicitResult | mcp_types.ErrorData

NAME = "local-model-gateway"


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the owner of a connection wants to hear of."""

    elicit: Callable[["mcp_types.ElicitRequestParams"], Awaitable["Elicited"]]
    changed: Callable[[], None]
    spill: Callable[[], Path]


@dataclass(frozen=True, slots=True)
class Places:
    """Where a connection keeps things."""

    tokens: Path
    interactive: bool = False


def load() -> None:
    """Import what opening needs; half a second the first time, so never on the event loop."""
    for module in (
        "mcp",
        "mcp_types",
        "mcp.client.sse",
        "mcp.client.streamable_http",
        "broker.stdio",
    ):
        importlib.import_module(module)


@contextlib.asynccontextmanager
async def open_client(
    name: str,
    server: settings.ServerSettings,
    places: Places,
    ring: Ring,
    child: Child,
    hooks: Hooks,
) -> AsyncGenerator["mcp.Client"]:
    """An open, negotiated client; on leaving, the connection and any process of it are gone."""
    import mcp_types  # noqa: PLC0415 (heavy, and only wanted once a server is opened)
    from mcp import Client  # noqa: PLC0415 (the same)

    async def elicit(
        context: "ClientRequestContext", params: "mcp_types.ElicitRequestParams"
    ) -> "Elicited":
        del context
        return await hooks.elicit(params)

    async def heard(message: "IncomingMessage") -> None:
        if isinstance(message, mcp_types.ToolListChangedNotification):
            hooks.changed()

    client = Client(
        _transport(name, server, places, ring, child, hooks.spill),
        elicitation_callback=elicit,
        message_handler=heard,
        client_info=mcp_types.Implementation(name=NAME, version="1"),
        cache=None,
    )
    async with client:
        yield client


def _transport(
    name: str,
    server: settings.ServerSettings,
    places: Places,
    ring: Ring,
    child: Child,
    spill: Callable[[], Path],
) -> AbstractAsyncContextManager[Any]:  # Any: each transport has streams of its own make
    match server.kind:
        case "stdio":
            return _stdio(name, server, ring, child, spill)
        case "http":
            return _http(server, places)
        case "sse":
            return _sse(server, places)


@contextlib.asynccontextmanager
async def _stdio(
    name: str,
    server: settings.ServerSettings,
    ring: Ring,
    child: Child,
    spill: Callable[[], Path],
) -> AsyncGenerator[Any]:
    from broker import stdio  # noqa: PLC0415 (brings the SDK's message types)

    given = {key: settings.revealed(value) for key, value in server.env.items()}
    env = stdio.environment(os.environ, server.inherit_env, given)
    found = await anyio.to_thread.run_sync(_program, server.command or "", env.get("PATH"))
    if found is None:
        raise ServerUnavailable(
            name, f"{server.command} is not on the PATH; install it, or give its whole path"
        )
    command = stdio.Command([found, *server.args], env, _expanded(server.cwd))
    async with stdio.open_child(command, ring, child, spill) as streams:
        yield streams


def _program(command: str, path: str | None) -> str | None:
    return shutil.which(_expanded(command) or "", path=path)


def _expanded(path: str | None) -> str | None:
    return str(Path(path).expanduser()) if path and path.startswith("~") else path


def _headers(server: settings.ServerSettings) -> dict[str, str]:
    headers = {key: settings.revealed(value) for key, value in server.headers.items()}
    if server.bearer is not None:
        headers["Authorization"] = f"Bearer {server.bearer.get_secret_value()}"
    return headers


@contextlib.asynccontextmanager
async def _http(server: settings.ServerSettings, places: Places) -> AsyncGenerator[Any]:
    import httpx2  # noqa: PLC0415 (only wanted once a server is opened)
    from mcp.client.streamable_http import streamable_http_client  # noqa: PLC0415 (the same)

    timeout = httpx2.Timeout(server.start_timeout, read=max(300.0, server.call_timeout))

    # In a thread: a client reads certificates from the disk when it is made.
    def made() -> httpx2.AsyncClient:
        auth = _auth(server, places)
        return httpx2.AsyncClient(headers=_headers(server), auth=auth, timeout=timeout)

    async with (
        await anyio.to_thread.run_sync(made) as http,
        streamable_http_client(server.url or "", http_client=http) as streams,
    ):
        yield streams


@contextlib.asynccontextmanager
async def _sse(server: settings.ServerSettings, places: Places) -> AsyncGenerator[Any]:
    from mcp.client.sse import sse_client  # noqa: PLC0415 (only wanted once a server is opened)

    auth = await anyio.to_thread.run_sync(_auth, server, places)
    async with sse_client(
        server.url or "", headers=_headers(server), timeout=server.start_timeout, auth=auth
    ) as streams:
        yield streams


def _auth(
    server: settings.ServerSettings, places: Places
) -> Any:  # Any: httpx2.Auth, not imported here
    """Called in a worker thread: what it imports takes a second."""
    if server.auth != "oauth":
        return None
    from fastmcp.client.auth import OAuth  # noqa: PLC0415 (brings all of fastmcp)

    class SignIn(OAuth):
        """Opens a browser only for a person who is there to see it."""

        async def redirect_handler(self, authorization_url: str) -> None:
            if not places.interactive:
                raise PermissionError("sign in first with `lmg mcp refresh NAME`")
            await super().redirect_handler(authorization_url)

    return SignIn(server.url, client_name=NAME, token_storage=TokenFile(places.tokens))


def redactor(server: settings.ServerSettings) -> Redactor:
    """Knows this server's secrets."""
    return Redactor(server.secrets())
