"""Engines that a service manager or a script of the user's starts and stops."""

import sys
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import urlsplit

import anyio
from anyio import to_thread

from runtimes import base, engine_log, health, launch, process, process_tree, race
from runtimes.lifecycles import remote
from runtimes.settings import EngineRecipe, RuntimeSettings

COMMAND_TIMEOUT_S = 60.0
LOOK_TIMEOUT_S = 5.0
STATUS_EVERY_S = 5.0
POLL_S = 0.25

Report = Callable[[base.LoadProgress], None]


class ServiceLifecycle:
    """`base.Lifecycle` by start, stop and status commands."""

    def __init__(
        self,
        spec: base.RuntimeSpec,
        settings: RuntimeSettings,
        recipe: EngineRecipe,
        places: launch.Places,
        measure: Callable[[Iterable[int]], int | None] = process_tree.resident_bytes,
    ) -> None:
        self._spec, self._recipe, self._redact = spec, recipe, places.redact
        self._url = (settings.url or recipe.default_url or "").rstrip("/")
        self._headers = remote.engine_headers(settings, recipe)
        self._commands = commands(settings)
        self._measure = measure
        self._lines: list[str] = []
        self._used: int | None = None

    async def look(self, known: base.ProcessRecord | None) -> base.Running | None:
        """A service that runs and is healthy is ready, whoever started it."""
        if not (await self._healthy(self._spec.upstream_model)).ready:
            if await self._is_running() is not False:
                await self.stop()
            return None
        await self._sample()
        return self._running()

    async def start(self, report: Report) -> base.Running:
        """Run the start command and wait until healthy."""
        report(base.LoadProgress("start"))
        code = await self._run(self._commands.start)
        if code != 0:
            raise self._failed(None, code, f"its start command ended with {code}")
        try:
            found = await race.first(self._ready, self._stopped_by_itself, self._too_late)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self.stop()
            raise
        if isinstance(found, base.Running):
            await self._sample()
            return found
        await self.stop()
        raise self._failed(found, None, "it did not become healthy")

    async def stop(self) -> None:
        """Run the stop command and wait until nobody answers at its address."""
        with anyio.CancelScope(shield=True):
            await self._run(self._commands.stop)
            with anyio.move_on_after(self._spec.stop_timeout_s):
                await race.until(self._is_gone, POLL_S)
        self._used = None

    async def died(self) -> base.Exit:
        """Wait until the service stops or answers nobody."""
        found = await race.first(self._stopped_by_itself, self._deaf, self._follow)
        self._used = None
        if found is base.FailureClass.UNRESPONSIVE:
            await self.stop()
        failure = found if isinstance(found, base.FailureClass) else base.FailureClass.UNKNOWN
        return base.Exit(None, failure, self.log_tail())

    def log_tail(self, lines: int = engine_log.TAIL_LINES) -> tuple[str, ...]:
        """What the commands printed; the engine's own log is the service manager's."""
        return tuple(self._lines)[-lines:] if lines > 0 else ()

    def record(self) -> base.ProcessRecord | None:
        """The service manager's process, not ours."""
        return None

    def memory_used(self) -> int | None:
        """What the process that listens at its address holds."""
        return self._used

    # ---- waits ----------------------------------------------------------------------------------

    async def _ready(self) -> base.Running | base.FailureClass:
        await race.until(self._is_healthy, POLL_S)
        return self._running()

    async def _too_late(self) -> base.Running | base.FailureClass:
        await anyio.sleep(self._spec.load_timeout_s)
        return base.FailureClass.LOAD_STALLED

    async def _stopped_by_itself(self) -> base.Running | base.FailureClass:
        await race.until(self._has_stopped, STATUS_EVERY_S)
        return base.FailureClass.UNKNOWN

    async def _deaf(self) -> base.Running | base.FailureClass:
        strikes = 0
        while strikes < self._recipe.health_strikes:
            await anyio.sleep(self._recipe.health_every)
            seen = await self._healthy(None, self._recipe.health_timeout)
            strikes = 0 if seen.ready else strikes + 1
        return base.FailureClass.UNRESPONSIVE

    async def _follow(self) -> base.Running | base.FailureClass:
        while True:
            await self._sample()
            await anyio.sleep(STATUS_EVERY_S)

    # ---- parts ----------------------------------------------------------------------------------

    async def _healthy(self, model: str | None, timeout_s: float = LOOK_TIMEOUT_S) -> health.Health:
        return await health.look(self._url, self._headers, self._recipe.ready, model, timeout_s)

    async def _is_healthy(self) -> bool:
        return (await self._healthy(self._spec.upstream_model)).ready

    async def _has_stopped(self) -> bool:
        return await self._is_running() is False

    async def _is_gone(self) -> bool:
        return not (await self._healthy(None)).answered and not await self._is_running()

    async def _is_running(self) -> bool | None:
        # What the start command left is our child now, and a script would take its zombie for alive.
        await to_thread.run_sync(process.collect_forgotten)
        if not self._commands.status:
            return None
        return await self._run(self._commands.status, quiet=True) == 0

    async def _run(self, argv: Sequence[str], *, quiet: bool = False) -> int | None:
        code: int | None = None
        with anyio.move_on_after(COMMAND_TIMEOUT_S):
            try:
                done = await process.output(argv)
            except (OSError, process.NotInstalled) as error:
                self._lines.append(self._redact(f"{argv[0]}: {error}"))
                return None
            code = done.returncode
            if not quiet:
                said = done.stdout.decode("utf-8", "replace").splitlines()
                self._lines += [self._redact(engine_log.printable(line)) for line in said]
                del self._lines[: -engine_log.KEPT_LINES]
        return code

    async def _sample(self) -> None:
        port = urlsplit(self._url).port
        if port and remote.on_this_machine(self._url):
            pids = await to_thread.run_sync(process_tree.owners, port)
            self._used = await to_thread.run_sync(self._measure, pids) or self._used

    def _running(self) -> base.Running:
        return base.Running(self._url, None, self._headers)

    def _failed(
        self, found: base.FailureClass | None, code: int | None, problem: str
    ) -> base.EngineFailed:
        name = self._spec.name
        failure = found or (
            base.FailureClass.NOT_INSTALLED if code is None else base.FailureClass.UNKNOWN
        )
        exit_ = base.Exit(code, failure, self.log_tail())
        return base.EngineFailed(name, exit_, f"{name} did not start: {problem}")


class Commands:
    """How a service is started, stopped and asked."""

    def __init__(self, start: Sequence[str], stop: Sequence[str], status: Sequence[str]) -> None:
        self.start, self.stop, self.status = start, stop, status


def commands(settings: RuntimeSettings, platform: str = sys.platform) -> Commands:
    """The configured commands, or those of the platform's service manager for a unit."""
    if settings.unit is None:
        return Commands(
            settings.start_cmd or [], settings.stop_cmd or [], settings.status_cmd or []
        )
    if platform == "darwin":
        target = f"gui/{process.user_id()}/{settings.unit}"
        return Commands(
            ["launchctl", "kickstart", target],
            ["launchctl", "kill", "SIGTERM", target],
            ["launchctl", "print", target],
        )
    # A unit with a slash in front is the system's: `/llama.service`.
    scope = [] if settings.unit.startswith("/") else ["--user"]
    unit = settings.unit.removeprefix("/")
    return Commands(
        ["systemctl", *scope, "start", unit],
        ["systemctl", *scope, "stop", unit],
        ["systemctl", *scope, "is-active", "--quiet", unit],
    )
