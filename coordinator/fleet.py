"""The runtime side of the keeper: which runtimes hold memory, and what became of each start and stop."""

import time
from collections.abc import Callable, Mapping

import anyio

from coordinator import changes, errors, failpoints, messages, settings, store
from coordinator.learning import Lessons
from coordinator.residency import Event, Resident, State, Tasks
from runtimes import base
from runtimes import state as runtime_state

Spawn = Callable[..., None]
"""Runs an async function with its arguments as a task of the coordinator."""


class Fleet:
    """Every method runs in the keeper's task; what takes time is spawned and tells the keeper."""

    def __init__(
        self,
        residents: dict[str, Resident],
        store_: store.Store,
        tasks: Tasks,
        lessons: Lessons,
        limits: settings.CoordinatorSettings,
        tell: Callable[[messages.Message], None],
        spawn: Spawn,
    ) -> None:
        self.residents = residents
        self._store, self._tasks, self._lessons, self._limits = store_, tasks, lessons, limits
        self._tell, self._spawn = tell, spawn

    def look(self, known: Mapping[str, base.ProcessRecord]) -> None:
        """After a restart: see what an earlier gateway left, before anything else is decided."""
        for resident in self.residents.values():
            self._spawn(self._tasks.look, resident, known.get(resident.name), self._tell_looked)

    def _tell_looked(self, resident: Resident, running: base.Running | None) -> None:
        self._tell(messages.Looked(resident, running))

    def looked(self, resident: Resident, running: base.Running | None) -> None:
        """An unknown runtime was looked at."""
        if running is None:
            resident.recorded = None
            self.move(resident, Event.NOT_FOUND, "not_found")
            self._make_way(resident)
            return
        resident.running, resident.recorded = running, running.process
        resident.ready_since = resident.last_used_at = anyio.current_time()
        self.move(resident, Event.FOUND, "adopted")
        self._watch(resident)

    def check_breaker(self, resident: Resident) -> None:
        """While a runtime backs off, its clients are told at once instead of waiting for nothing."""
        now = anyio.current_time()
        if resident.last_exit and resident.retry_at is not None and resident.retry_at > now:
            raise self._failure(resident, resident.last_exit, now)

    def start(self, resident: Resident) -> None:
        """Begin a load; all that had to go first is gone and settled."""
        resident.starting_since, resident.ready_since = anyio.current_time(), None
        resident.progress = base.LoadProgress("starting")
        resident.tasks, resident.watched = anyio.CancelScope(), anyio.Event()
        resident.watched.set()  # nobody watches yet
        self.move(resident, Event.START, "start")
        failpoints.reach("runtime_starting")
        self._spawn(
            self._tasks.load,
            resident,
            lambda progress: self._tell(messages.Progress(resident, progress)),
            lambda running, used: self._tell(messages.Loaded(resident, running, used)),
            lambda exit_: self._tell(messages.LoadFailed(resident, exit_)),
            lambda: self._tell(messages.Gone(resident)),
        )

    def progressed(self, resident: Resident, progress: base.LoadProgress) -> None:
        """A load got further. What identifies the child goes to disk as soon as it exists."""
        if resident.state is not State.STARTING:
            return
        resident.progress = progress
        record = resident.lifecycle.record()
        if record is not None and record != resident.recorded:
            resident.recorded = record
            self._note(resident, resident.state, "process_known")

    def loaded(self, resident: Resident, running: base.Running, footprint: int | None) -> None:
        """A start ended well."""
        now = anyio.current_time()
        if resident.state is not State.STARTING:
            # Told to stop in the same instant: the load was over, so there is an engine to stop.
            self._spawn(self._tasks.unload, resident, lambda: self._tell(messages.Gone(resident)))
            return
        resident.running, resident.ready_since, resident.last_used_at = running, now, now
        resident.recorded, resident.progress, resident.retry_at = running.process, None, None
        if footprint is not None:
            resident.footprint_bytes = max(footprint, resident.spec.memory_bytes or 0)
        load_s = now - (resident.starting_since or now)
        self._lessons.loaded(resident.name, load_s, resident.footprint_bytes)
        self.move(resident, Event.BECAME_READY, "ready")
        failpoints.reach("runtime_ready")
        self._watch(resident)

    def load_failed(self, resident: Resident, exit_: base.Exit) -> errors.RuntimeFailed:
        """A start ended badly; says what its waiters are to be told."""
        error = self._failed(resident, exit_)
        if resident.state is State.STARTING:
            self.move(resident, Event.LOAD_FAILED, "load_failed")
        else:  # told to stop while it was failing by itself
            self.move(resident, Event.GONE, "load_failed")
        self._settle(resident)
        return error

    def died(self, resident: Resident, exit_: base.Exit) -> errors.RuntimeFailed | None:
        """A ready engine ended by itself; says what its holders are to be told."""
        if resident.state not in {State.READY, State.DRAINING}:
            return None
        error = self._failed(resident, exit_)
        if resident.failures == 1:
            resident.retry_at = None  # may have been bad luck: whoever waits may have it at once
        self.move(resident, Event.DIED, "died")
        self._settle(resident)
        return error

    def stop(self, resident: Resident, reason: str) -> None:
        """Stop a runtime that runs nothing, or is still loading."""
        loading = resident.state is State.STARTING
        self.move(resident, Event.STOP, reason)
        resident.running = None
        resident.tasks.cancel()  # the watch of a ready engine, or the load itself
        failpoints.reach("runtime_stopping")
        if not loading:
            self._spawn(self._tasks.unload, resident, lambda: self._tell(messages.Gone(resident)))

    def gone(self, resident: Resident) -> None:
        """No process is left of a stopped runtime."""
        self.move(resident, Event.GONE, "gone")
        self._settle(resident)

    def settled(self, resident: Resident, missing_bytes: int) -> None:
        """Its memory is back, or as much of it as will come."""
        resident.missing_bytes, resident.target, resident.recorded = missing_bytes, None, None
        self.move(resident, Event.SETTLED, "settled")
        self._make_way(resident)

    def add(self, resident: Resident) -> None:
        """A runtime that was not configured before."""
        resident.state = State.STOPPED
        self.residents[resident.name] = resident

    def _make_way(self, resident: Resident) -> None:
        """A stopped runtime whose settings changed, or that is gone from them, is done."""
        if resident.successor is not None:
            self.add(resident.successor)
        elif resident.retired:
            del self.residents[resident.name]

    def replace(self, resident: Resident, successor: Resident | None) -> bool:
        """Let another take its place, or nobody; whether it was stopped already."""
        resident.successor, resident.retired = successor, successor is None
        stopped = resident.state is State.STOPPED
        if stopped:
            self._make_way(resident)
        return stopped

    def move(self, resident: Resident, event: Event, reason: str) -> None:
        """The only place where a runtime changes state."""
        before = resident.state
        resident.state = runtime_state.after(before, event)
        resident.since = anyio.current_time()
        self._note(resident, before, reason)

    def _note(self, resident: Resident, before: State, reason: str) -> None:
        exit_ = resident.last_exit if reason in {"load_failed", "died"} else None
        self._store.note(
            changes.RuntimeMoved(
                resident.name,
                before,
                resident.state,
                time.time(),
                reason,
                process=resident.recorded,
                exit_code=None if exit_ is None else exit_.exit_code,
                failure_class=None if exit_ is None else exit_.failure_class.value,
            )
        )

    def _failed(self, resident: Resident, exit_: base.Exit) -> errors.RuntimeFailed:
        now = anyio.current_time()
        resident.failures += 1
        resident.last_exit, resident.running, resident.progress = exit_, None, None
        wait_s = self._limits.backoff_first_s * 2 ** min(resident.failures - 1, 16)
        resident.retry_at = now + min(self._limits.backoff_cap_s, wait_s)
        return self._failure(resident, exit_, now)

    def _failure(self, resident: Resident, exit_: base.Exit, now: float) -> errors.RuntimeFailed:
        left = max(0.0, (resident.retry_at or now) - now)
        return errors.RuntimeFailed(
            resident.name, exit_.failure_class.value, exit_.exit_code, exit_.log_tail, left
        )

    def _settle(self, resident: Resident) -> None:
        resident.ready_since, resident.leaving = None, False
        self._spawn(
            self._tasks.settle, resident, lambda left: self._tell(messages.Settled(resident, left))
        )

    def _watch(self, resident: Resident) -> None:
        resident.tasks, resident.watched = anyio.CancelScope(), anyio.Event()
        self._spawn(
            self._tasks.watch, resident, lambda exit_: self._tell(messages.Died(resident, exit_))
        )
