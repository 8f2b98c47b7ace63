"""An engine that is a process of ours: spawned, watched, and ended with all its descendants."""

import itertools
import logging
import re
import time
from collections.abc import Callable, Iterable, Sequence

import anyio
from anyio import to_thread

from runtimes import base, engine_log, health, launch, process, process_tree, race, strays
from runtimes.settings import EngineRecipe

log = logging.getLogger(__name__)

FIRST_LOOK_S, SLOWEST_LOOK_S = 0.05, 0.5
LOOK_TIMEOUT_S = 5.0
WRONG_MODEL_S = 10.0  # some engines list their model a moment after they say that they are ready
ABORT_GRACE_S = 5.0  # an engine that nobody wants any more has no work to finish
WATCH_S = 1.0
RECENT = 20  # lines: what an engine that was ready complained of while it loaded is not why it died
MOVED_BYTES = 4 << 20  # less is noise, not a load that goes on

BUSY_SHARE, BUSY_STRIKE = 0.05, 0.1
SAMPLE_EVERY = 5  # watches: reading the whole process table each second would be felt
DIGITS = re.compile(r"[0-9]+")

Measure = Callable[[Iterable[int]], int | None]
Outcome = base.Running | launch.Unstartable


class ProcessLifecycle:
    """`base.Lifecycle` for engines that we spawn."""

    def __init__(
        self,
        spec: base.RuntimeSpec,
        recipe: EngineRecipe,
        how: launch.Launch,
        places: launch.Places,
        *,
        port: int | None = None,
        measure: Measure = process_tree.resident_bytes,
    ) -> None:
        self._spec, self._recipe, self._how, self._port = spec, recipe, how, port
        self._measure, self._logs = measure, places.logs
        self._log = engine_log.EngineLog(places.logs / f"{spec.name}.log", recipe, places.redact)
        self._child: process.Child | None = None
        self._used: int | None = None
        self._context: int | None = None
        self._resident: int | None = None

    async def look(self, known: base.ProcessRecord | None) -> base.Running | None:
        """Adopt the healthy engine that `known` describes, or reap what is left of it."""
        if known is None:
            return None
        child = await process.Child.find(known)
        if child is not None and await self._is_ours_and_well(child):
            log.info("adopted the engine of %s, pid %d", self._spec.name, known.pid)
            self._child = child
            await self._touch()
            await self._sample()
            return self._running(known)
        await process.Child(known, None).stop(ABORT_GRACE_S)
        return None

    async def start(self, report: Callable[[base.LoadProgress], None]) -> base.Running:
        """Start and wait until healthy."""
        try:
            await self._how.prepare()
        except launch.Unstartable as error:
            raise self._failed(error, None) from None
        for last in (False, True):
            outcome = await self._start_once(report)
            if isinstance(outcome, base.Running):
                return outcome
            exit_code, problem = outcome
            # Between our choice of a free port and the engine's bind somebody else may have come.
            lost_port = problem.failure is base.FailureClass.PORT_IN_USE and self._port is None
            if last or not lost_port:
                raise self._failed(problem, exit_code)
        raise AssertionError("the loop ends by itself")

    async def stop(self) -> None:
        """TERM, grace, KILL, every descendant reaped, port closed."""
        await self._end(self._spec.stop_timeout_s)

    async def died(self) -> base.Exit:
        """Wait until the engine ends or answers nobody any more."""
        child = self._child
        if child is None:
            return self._log.exit(None)
        found = await race.first(lambda: self._exited(child), self._deaf, self._follow)
        # Whatever ended it, workers and memory may still be there.
        await self._end(0 if found is None else ABORT_GRACE_S)
        return self._log.exit(child.exit_code, found or self._log.failure(child.exit_code, RECENT))

    def log_tail(self, lines: int = engine_log.TAIL_LINES) -> tuple[str, ...]:
        """The newest log lines, redacted."""
        return self._log.tail(lines)

    def record(self) -> base.ProcessRecord | None:
        """The child as soon as it exists."""
        return self._child.record if self._child else None

    def memory_used(self) -> int | None:
        """What its tree held at the last look, at most a few seconds ago."""
        return self._used

    # ---- starting -------------------------------------------------------------------------------

    async def _start_once(
        self, report: Callable[[base.LoadProgress], None]
    ) -> base.Running | tuple[int | None, launch.Unstartable]:
        port = self._port
        if port is None:
            port = await to_thread.run_sync(process.free_port)
        if not await to_thread.run_sync(process.port_is_free, port):
            return None, self._port_taken(port)
        self._log.begin()
        nonce = strays.new_mark(self._logs)
        try:
            child = await process.Child.spawn(self._how.command(port, nonce), port, nonce)
            self._child = child
            report(base.LoadProgress("starting"))  # whoever keeps records learns of the child now
        except process.NotInstalled as error:
            return None, launch.Unstartable(base.FailureClass.NOT_INSTALLED, str(error))
        except OSError as error:
            return None, launch.Unstartable(base.FailureClass.UNKNOWN, f"cannot start it: {error}")
        ready = False
        try:
            outcome = await race.first(
                lambda: self._ended_in_load(child), lambda: self._load(child, report)
            )
            ready = isinstance(outcome, base.Running)
        finally:
            if not ready:
                await self._end(min(ABORT_GRACE_S, self._spec.stop_timeout_s))
        if isinstance(outcome, base.Running):
            return outcome
        return child.exit_code, self._explained(outcome, child.exit_code)

    async def _ended_in_load(self, child: process.Child) -> Outcome:
        code = await child.wait()
        said = "while loading" if code is None else f"with exit code {code} while loading"
        return launch.Unstartable(base.FailureClass.UNKNOWN, f"it ended {said}")

    async def _load(
        self, child: process.Child, report: Callable[[base.LoadProgress], None]
    ) -> Outcome:
        """Look at it until it is ready, or until the load has made no progress for too long."""
        pace = FIRST_LOOK_S
        load, wrong_since = _Load(self._spec), None
        running = self._running(child.record)
        while True:
            lines = await self._log.read()
            await self._sample()
            told = load.further(lines, self._log.progress(lines), self._resident)
            if told is not None:
                report(told)
            if load.stalled():
                return self._stalled()
            seen = await self._healthy(running, self._spec.upstream_model)
            wrong_since = (wrong_since or time.monotonic()) if seen.wrong_model else None
            if seen.ready or (wrong_since and time.monotonic() - wrong_since > WRONG_MODEL_S):
                return await self._judged(child, seen)
            await anyio.sleep(pace)
            pace = min(pace * 1.5, SLOWEST_LOOK_S)

    async def _judged(self, child: process.Child, seen: health.Health) -> Outcome:
        if await child.owns_port() is False:
            return self._port_taken(child.record.port)
        if not seen.ready:
            return launch.Unstartable(base.FailureClass.MODEL_MISSING, seen.reason)
        await self._sample()
        await self._touch()
        await self._log.read()
        return self._running(child.record)

    def _stalled(self) -> launch.Unstartable:
        return launch.Unstartable(
            base.FailureClass.LOAD_STALLED,
            f"its load made no progress for {self._spec.load_timeout_s:.0f} s; "
            "raise `load_timeout` if this model needs longer",
        )

    def _port_taken(self, port: int) -> launch.Unstartable:
        return launch.Unstartable(
            base.FailureClass.PORT_IN_USE,
            f"port {port} belongs to another program; stop that one, or leave `port` out",
        )

    def _explained(self, problem: launch.Unstartable, exit_code: int | None) -> launch.Unstartable:
        if problem.failure is not base.FailureClass.UNKNOWN:
            return problem
        return launch.Unstartable(self._log.failure(exit_code), str(problem))

    def _failed(self, problem: launch.Unstartable, exit_code: int | None) -> base.EngineFailed:
        name = self._spec.name
        message = f"{name} did not start: {problem}; see `lmg logs --source {name}`"
        return base.EngineFailed(name, self._log.exit(exit_code, problem.failure), message)

    # ---- watching -------------------------------------------------------------------------------

    async def _exited(self, child: process.Child) -> base.FailureClass | None:
        await child.wait()
        return None

    async def _deaf(self) -> base.FailureClass | None:
        """Returns once several health checks in a row went unanswered."""
        strikes, computed = 0.0, await self._computed()
        while strikes < self._recipe.health_strikes:
            began = time.monotonic()
            await anyio.sleep(self._recipe.health_every)
            seen = await self._still_answers()
            before, computed = computed, await self._computed()
            busy = computed - before > BUSY_SHARE * (time.monotonic() - began)
            # One that computes may only be too busy with a long prompt to say so.
            strikes = 0.0 if seen else strikes + (BUSY_STRIKE if busy else 1.0)
        return base.FailureClass.UNRESPONSIVE

    async def _still_answers(self) -> bool:
        record = self.record()
        if record is None:
            return False
        running = self._running(record)
        return (await self._healthy(running, None, self._recipe.health_timeout)).ready

    async def _computed(self) -> float:
        if self._child is None:
            return 0.0
        pids = [member.pid for member in await self._child.tree(by_mark=False)]
        return await to_thread.run_sync(process_tree.cpu_seconds, pids)

    async def _follow(self) -> base.FailureClass | None:
        for number in itertools.count():
            await self._log.read()
            if number % SAMPLE_EVERY == 0:
                await self._sample()
                await to_thread.run_sync(process.collect_forgotten)
            await self._touch()
            await anyio.sleep(WATCH_S)
        raise AssertionError("counting does not end")

    async def _is_ours_and_well(self, child: process.Child) -> bool:
        if await child.owns_port() is False:
            return False
        return (await self._healthy(self._running(child.record), self._spec.upstream_model)).ready

    async def _healthy(
        self, running: base.Running, model: str | None, timeout_s: float | None = None
    ) -> health.Health:
        timeout_s = LOOK_TIMEOUT_S if timeout_s is None else timeout_s
        seen = await health.look(
            running.base_url, running.headers, self._recipe.ready, model, timeout_s
        )
        self._context = seen.context_tokens or self._context
        return seen

    def _running(self, record: base.ProcessRecord) -> base.Running:
        headers = {
            name: launch.fill(value, {"key": record.nonce})
            for name, value in self._recipe.headers.items()
        }
        return base.Running(
            f"http://127.0.0.1:{record.port}", record, headers, context_tokens=self._context
        )

    async def _sample(self) -> None:
        if self._child is not None:
            pids = [member.pid for member in await self._child.tree(by_mark=False)]
            self._used = await to_thread.run_sync(self._measure, pids) or self._used
            # The pool may be a GPU, and a load moves in the host's memory first.
            self._resident = await to_thread.run_sync(process_tree.resident_bytes, pids)

    async def _touch(self) -> None:
        heartbeat = self._how.heartbeat()
        if heartbeat is not None:
            await anyio.Path(heartbeat).touch()

    async def _end(self, grace_s: float) -> None:
        child = self._child
        if child is None:
            return
        with anyio.CancelScope(shield=True):
            await child.stop(grace_s)
            await self._log.finish()
            heartbeat = self._how.heartbeat()
            if heartbeat is not None:
                await anyio.Path(heartbeat).unlink(missing_ok=True)
        if self._child is child:
            self._child, self._used = None, None


class _Load:
    """How far a load is: by what the engine says, else by the memory that it has taken."""

    def __init__(self, spec: base.RuntimeSpec) -> None:
        self._expected, self._patience_s = spec.memory_bytes, spec.load_timeout_s
        self._shown = self._told = 0.0
        self._most_taken = 0
        self._shapes: set[str] = set()
        self._moved_at = time.monotonic()

    def further(
        self, lines: Sequence[str], told: base.LoadProgress | None, used: int | None
    ) -> base.LoadProgress | None:
        """What to report of this look, if it shows anything new."""
        fraction = (told.fraction if told else None) or 0.0
        if self._says_something_new(lines) or self._takes_more(used) or fraction > self._told:
            self._moved_at = time.monotonic()
        self._told = max(self._told, fraction)
        if told is not None:
            # A bar that goes back is worse than one that waits for the engine's own count to catch up.
            shown = None if told.fraction is None else max(fraction, self._shown)
            return base.LoadProgress(told.phase, shown)
        if self._told or not self._expected or not used:
            return None
        # It cannot be more than nearly there: only a health check says that it is.
        share = min(0.99, used / self._expected)
        if share - self._shown < 0.01:
            return None
        self._shown = share
        return base.LoadProgress("weights", share)

    def stalled(self) -> bool:
        """Whether nothing has moved for as long as is allowed."""
        return time.monotonic() - self._moved_at > self._patience_s

    def _says_something_new(self, lines: Sequence[str]) -> bool:
        """Not the same line with other numbers: engines log each of our own health checks."""
        shapes = {DIGITS.sub("", line) for line in lines} - self._shapes
        self._shapes |= shapes
        return bool(shapes)

    def _takes_more(self, used: int | None) -> bool:
        more = (used or 0) >= self._most_taken + MOVED_BYTES
        self._most_taken = max(self._most_taken, used or 0) if more else self._most_taken
        return more
