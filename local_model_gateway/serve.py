"""Listening: the socket, the HTTP server as we set it up, and its end."""

import contextlib
import errno
import resource
import socket
from collections.abc import Iterator

import anyio
import uvicorn
from anyio.abc import TaskStatus
from starlette.types import ASGIApp

from local_model_gateway import config, exposure, guard, guard_rules
from local_model_gateway.errors import AddressInUse, BindRefused, GatewayError
from local_model_gateway.h11_protocol import GuardedProtocol

KEEP_ALIVE_S = 15
FILES_WANTED = 65_536  # each client and each engine takes some; a login shell's 1,024 ends early


class StartFailed(GatewayError):
    """The application's own start failed; its log says why."""

    code = "start_failed"


def bind(server: config.Server) -> socket.socket:
    """The listening address, taken before anything else starts.

    Raises `BindRefused` for an address that would expose an unprotected gateway, `AddressInUse` for a taken one.
    """
    if danger := exposure.danger(server.host, server.keys.values()):
        raise BindRefused(danger)
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    # By its number: asyncio switches Nagle's algorithm off only where the protocol is named, and
    # with it on every answer on a kept connection waited 40 ms for a delayed acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setblocking(False)
        listening.bind((server.host.strip("[]"), server.port))
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(
                f"port {server.port} is taken{_by_whom(server.port)}; "
                "`lmg doctor` says more, and server.port chooses another"
            ) from None
        raise AddressInUse(
            f"cannot listen on {server.host}:{server.port} ({error.strerror}); set server.host"
        ) from None
    return listening


def _by_whom(port: int) -> str:
    # Late: it looks at every process, and is needed only on the way out.
    from local_model_gateway.detection import processes  # noqa: PLC0415

    holder = processes.Table().listening_on(port)
    if holder is None:
        return ""
    return f" by {'another gateway' if holder.gateway else holder.program}, pid {holder.pid}"


def port_of(listening: socket.socket) -> int:
    """The real port, also where 0 was asked for."""
    return int(listening.getsockname()[1])


def guarded(app: ASGIApp, server: config.Server, port: int) -> guard.Guard:
    """The application inside the guard, set up for the address that it is served on."""
    settings = guard_rules.settings(
        server.host,
        port,
        allowed_hosts=server.allowed_hosts,
        allowed_origins=server.allowed_origins,
        keys={name: key.get_secret_value() for name, key in server.keys.items()},
        max_body=server.max_body,
        max_mcp_body=server.max_mcp_body,
        body_timeout_s=server.body_timeout,
        max_requests=server.max_connections,
    )
    return guard.Guard(app, settings)


async def serve(
    app: ASGIApp,
    listening: socket.socket,
    server: config.Server,
    *,
    stop: anyio.Event,
    grace_s: float = 5.0,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `stop` is set; then answers that still run get `grace_s`, and are cut visibly.

    Reports started once connections are accepted. Raises `StartFailed` when the lifespan fails. Work
    that should end well is drained before `stop` is set. Signals are the caller's business.
    """
    running = _Server(_settings(app, server, grace_s))
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            await running.accepting.wait()
            task_status.started()
            await stop.wait()
            running.should_exit = True

        tasks.start_soon(watch)
        try:
            await running.serve(sockets=[listening])
        finally:
            running.abandon()
        tasks.cancel_scope.cancel()
    if not running.accepting.is_set():
        raise StartFailed("the gateway could not start; the lines above say why")


def raise_file_limit() -> int:
    """Lift the soft limit on open files as far as allowed; returns what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(FILES_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return wanted
    return soft


def _settings(app: ASGIApp, server: config.Server, grace_s: float) -> uvicorn.Config:
    class Protocol(GuardedProtocol):
        head_timeout_s = server.head_timeout
        max_connections = server.max_connections + 64

    return uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="on",
        proxy_headers=False,  # by default uvicorn believes X-Forwarded-For from this machine
        server_header=False,
        date_header=True,
        log_config=None,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(grace_s)),
    )


class _Server(uvicorn.Server):
    """Leaves signals alone, and says when it accepts connections."""

    def __init__(self, settings: uvicorn.Config) -> None:
        super().__init__(settings)
        self.accepting = anyio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self.accepting.set()

    def abandon(self) -> None:
        """Close what a cancelled `serve` leaves open; after a regular end there is nothing."""
        for server in getattr(self, "servers", ()):
            server.close()
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
