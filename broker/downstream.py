"""One actor a downstream server: it alone opens, watches and closes the connection.

Cancel scopes may not cross tasks, so the client lives in the actor's task; calls run in the task of
whoever asks, and a cancelled one tells the server so.
"""

import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import anyio
import anyio.abc

from broker import connect, refresh
from broker.child import Child
from broker.errors import CallFailed, CallLost, ServerUnavailable
from broker.ring import Ring
from broker.settings import ServerSettings
from catalog.diff import Listing

if TYPE_CHECKING:
    import mcp
    import mcp_types

State = Literal["asleep", "starting", "ready", "failed"]
BACKOFF_FIRST_S = 1.0
BACKOFF_CAP_S = 300.0
CALLS_KEPT = 200
LISTENS_FROM = "2026-07-28"

Elicit = Callable[["mcp_types.ElicitRequestParams"], Awaitable["connect.Elicited"]]
Listed = Callable[[Listing], Awaitable[None]]


class Progress(Protocol):
    """Takes what a running call says of itself."""

    async def __call__(
        self, progress: float, total: float | None = None, message: str | None = None
    ) -> None: ...


@dataclass(slots=True)
class Life:
    """One opening of the connection, from start to end."""

    ready: anyio.Event = field(default_factory=anyio.Event)
    stop: anyio.Event = field(default_factory=anyio.Event)
    over: anyio.Event = field(default_factory=anyio.Event)
    client: "mcp.Client | None" = None
    child: Child | None = None
    error: ServerUnavailable | None = None
    stale: bool = False
    wake: anyio.Event = field(default_factory=anyio.Event)

    @property
    def closing(self) -> bool:
        """Whether a new caller must wait for the next one."""
        ended = self.child is not None and self.child.ended.is_set()
        return self.stop.is_set() or (ended and self.ready.is_set())


@dataclass(slots=True)
class Facts:
    """What is counted of a server since the gateway started."""

    starts: int = 0
    calls: int = 0
    errors: int = 0
    recent_ms: list[float] = field(default_factory=list)

    def took(self, seconds: float, failed: bool) -> None:
        self.calls += 1
        self.errors += failed
        self.recent_ms.append(seconds * 1000)
        del self.recent_ms[:-CALLS_KEPT]

    def p95_ms(self) -> float | None:
        if not self.recent_ms:
            return None
        ordered = sorted(self.recent_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]


class Downstream:
    """One server: asleep until somebody calls."""

    def __init__(
        self,
        name: str,
        server: ServerSettings,
        group: anyio.abc.TaskGroup,
        places: connect.Places,
        listed: Listed,
        spill: Callable[[], Path],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.settings = name, server
        self.facts = Facts()
        self._group, self._places, self._listed, self._spill = group, places, listed, spill
        self._clock = clock
        self._ring = Ring(connect.redactor(server))
        self._slots = anyio.Semaphore(server.concurrency)
        self._life: Life | None = None
        self._open_calls: list[Elicit | None] = []
        self._users = 0
        self._last_used = clock()
        self._failures = 0
        self._retry_at = 0.0
        self._last_error = ""

    @property
    def state(self) -> State:
        if self._life is not None:
            return "ready" if self._life.ready.is_set() else "starting"
        return "failed" if self._failures else "asleep"

    @property
    def pid(self) -> int | None:
        """The child's, while there is one."""
        child = self._life.child if self._life else None
        return child.pid or None if child else None

    @property
    def retry_in_s(self) -> float:
        return max(0.0, self._retry_at - self._clock())

    @property
    def last_error(self) -> str:
        if not self._last_error:
            return ""
        tail = self._ring.tail(1)
        return f"{self._last_error}: {tail[0]}" if tail else self._last_error

    def log_tail(self, count: int = 20) -> list[str]:
        return self._ring.tail(count)

    async def call(
        self,
        tool: str,
        arguments: dict[str, Any],  # Any: JSON
        guard: Callable[[], None],
        progress: Progress | None = None,
        elicit: Elicit | None = None,
    ) -> "mcp_types.CallToolResult":
        """Call once. Raises `ServerUnavailable` if nothing was sent, `CallLost` if no answer came.

        `guard` is run when the server is open and before anything is sent; what it raises is raised.
        """
        began = self._clock()
        failed = True
        try:
            async with self._slot(), self._opened() as (life, client):
                guard()
                result = await self._sent(life, client, tool, arguments, progress, elicit)
            failed = bool(result.is_error)
            return result
        finally:
            self.facts.took(self._clock() - began, failed)

    @contextlib.asynccontextmanager
    async def _slot(self) -> AsyncGenerator[None]:
        with anyio.move_on_after(self.settings.call_timeout) as waited:
            await self._slots.acquire()
        if waited.cancelled_caught:
            raise ServerUnavailable(
                self.name,
                f"its {self.settings.concurrency} places stayed taken; raise `concurrency`",
            )
        try:
            yield
        finally:
            self._slots.release()

    async def _sent(
        self,
        life: Life,
        client: "mcp.Client",
        tool: str,
        arguments: dict[str, Any],
        progress: Progress | None,
        elicit: Elicit | None,
    ) -> "mcp_types.CallToolResult":
        import pydantic  # noqa: PLC0415 (loaded with the SDK)
        from mcp import MCPError  # noqa: PLC0415 (loaded by now)

        tool_id = f"{self.name}:{tool}"
        self._open_calls.append(elicit)
        try:
            with anyio.fail_after(self.settings.call_timeout):
                return await client.call_tool(tool, arguments, progress_callback=progress)
        except TimeoutError:
            raise CallLost(
                tool_id, f"gave no answer within {self.settings.call_timeout:.0f} s"
            ) from None
        except MCPError as error:
            if life.child is not None and life.child.ended.is_set():
                raise CallLost(tool_id, self._why_ended(life)) from error
            if error.code in _NO_ANSWER:
                life.stop.set()
                raise CallLost(tool_id, f"the connection broke ({error.message})") from error
            raise CallFailed(tool_id, self._ring_safe(error.message)) from error
        except (pydantic.ValidationError, RuntimeError) as error:
            # The SDK holds answers against the schemas; a sloppy server's answer still was an answer.
            raise CallLost(
                tool_id, f"its answer does not have the promised form: {_first(error)}"
            ) from error
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            life.stop.set()
            raise CallLost(tool_id, self._why_ended(life)) from error
        finally:
            self._open_calls.remove(elicit)

    def _ring_safe(self, message: str) -> str:
        return connect.redactor(self.settings)(message)[:1000]

    def _why_ended(self, life: Life) -> str:
        child = life.child
        if child is not None and child.trouble:
            return f"the server was closed: {child.trouble}"
        return "the server's process ended before it answered"

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncGenerator[tuple[Life, "mcp.Client"]]:
        """A ready connection that stays while it is used; however many ask at once, one start."""
        self._users += 1
        try:
            life = self._life
            if life is not None and life.closing:
                await life.over.wait()
                life = self._life
            life = life or self._start()
            await life.ready.wait()
            if life.client is None:
                raise life.error or ServerUnavailable(self.name, "it was closed while it started")
            yield life, life.client
        finally:
            self._users -= 1
            self._last_used = self._clock()

    def _start(self) -> Life:
        if self.retry_in_s > 0:
            raise ServerUnavailable(self.name, self._last_error, self.retry_in_s, self._ring.tail())
        life = Life()
        self._life = life
        self.facts.starts += 1
        self._group.start_soon(self._live, life)
        return life

    async def refresh(self) -> None:
        """List the tools now, opening the server if need be."""
        life = self._life
        if life is not None and life.ready.is_set() and life.client is not None:
            await self._listed(await refresh.list_tools(self.name, life.client))
            return
        async with self._opened():
            pass  # opening lists

    async def asleep(self) -> None:
        """Until it does not run."""
        while self._life is not None:
            await self._life.over.wait()

    async def close(self) -> None:
        """On return the connection, and every process of it, is gone."""
        life = self._life
        if life is not None:
            life.stop.set()
            life.wake.set()
            await life.over.wait()

    def forgive(self) -> None:
        """Let the next call try a start at once."""
        self._failures, self._retry_at = 0, 0.0

    async def _live(self, life: Life) -> None:
        life.child = Child()
        hooks = connect.Hooks(self._elicited, lambda: _mark_stale(life), self._spill)
        error: BaseException | None = None
        try:
            await anyio.to_thread.run_sync(connect.load)
            with anyio.CancelScope() as scope:
                scope.deadline = anyio.current_time() + self.settings.start_timeout
                async with connect.open_client(
                    self.name, self.settings, self._places, self._ring, life.child, hooks
                ) as client:
                    await self._listed(await refresh.list_tools(self.name, client))
                    scope.deadline = float("inf")
                    self._became_ready(life, client)
                    await self._watch(life, client)
        except Exception as caught:  # noqa: BLE001 (whatever a server does, the actor must report it and live)
            error = caught
        finally:
            life.client = None
            if not life.ready.is_set():
                self._start_failed(life, error)
            if self._life is life:
                self._life = None
            life.ready.set()
            life.over.set()

    def _became_ready(self, life: Life, client: "mcp.Client") -> None:
        self._failures, self._retry_at, self._last_error = 0, 0.0, ""
        self._last_used = self._clock()
        life.client = client
        life.ready.set()

    def _start_failed(self, life: Life, error: BaseException | None) -> None:
        self._failures += 1
        pause = min(BACKOFF_CAP_S, BACKOFF_FIRST_S * 2 ** (self._failures - 1))
        self._retry_at = self._clock() + pause
        if life.stop.is_set():
            why = "it was closed while it started"
        elif error is None:
            why = f"it was not ready within {self.settings.start_timeout:.0f} s"
        elif isinstance(error, ServerUnavailable):
            why = error.why
        else:
            why = self._ring_safe(_first(error))
        self._last_error = why
        life.error = ServerUnavailable(self.name, why, pause, self._ring.tail())

    async def _watch(self, life: Life, client: "mcp.Client") -> None:
        """Until it is idle for long, it ends, or someone closes it; list again when it says so."""
        assert life.child is not None
        async with anyio.create_task_group() as group:
            group.start_soon(_wake_when, life.child.ended, life)
            group.start_soon(_wake_when, life.stop, life)
            group.start_soon(_listen, client, life)
            while not (life.stop.is_set() or life.child.ended.is_set()):
                if life.stale:
                    life.stale = False
                    await self._listed(await refresh.list_tools(self.name, client))
                with anyio.move_on_after(self._until_idle()):
                    await life.wake.wait()
                    life.wake = anyio.Event()
                if self._until_idle() <= 0:
                    life.stop.set()
            life.stop.set()
            group.cancel_scope.cancel()

    def _until_idle(self) -> float:
        idle = self.settings.idle_close
        if idle == "never":
            return float("inf")
        if self._users:
            return idle
        return self._last_used + idle - self._clock()

    async def _elicited(self, params: "mcp_types.ElicitRequestParams") -> "connect.Elicited":
        """Relay a question of the server's to the one caller it can be for; otherwise decline."""
        import mcp_types  # noqa: PLC0415 (loaded by now)

        asked = self._open_calls[0] if len(self._open_calls) == 1 else None
        if asked is None or not isinstance(params, mcp_types.ElicitRequestFormParams):
            return mcp_types.ElicitResult(action="decline")
        return await asked(params)


# Connection closed, and the SDK's own request timeout.
_NO_ANSWER = frozenset({-32000, -32001})


def _mark_stale(life: Life) -> None:
    life.stale = True
    life.wake.set()


async def _listen(client: "mcp.Client", life: Life) -> None:
    """In the newer era a server says that its tools changed only to those who listen."""
    from mcp import MCPError  # noqa: PLC0415 (loaded by now)

    tools = client.server_capabilities.tools
    if client.protocol_version < LISTENS_FROM or tools is None or not tools.list_changed:
        return
    # One that does not keep its word is not asked again in this life; it is listed anew in the next.
    with contextlib.suppress(MCPError, RuntimeError, TimeoutError):
        async with client.listen(tools_list_changed=True) as changes:
            async for _ in changes:
                _mark_stale(life)


async def _wake_when(event: anyio.Event, life: Life) -> None:
    await event.wait()
    life.wake.set()


def _first(error: BaseException) -> str:
    """The innermost single cause, on one line."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    text = str(error).strip().splitlines()
    return text[0][:300] if text else type(error).__name__
