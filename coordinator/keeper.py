"""The keeper: the only task that changes the state of work and of runtimes.

Everybody else sends it a message. After each batch of messages it asks `plan.decide` once and
carries the answer out; what takes time runs as a task that sends a message when it is done.
"""

import logging
import math
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import anyio.abc

from coordinator import errors, messages, plan, settings, state, store, work
from coordinator.entry import Entry
from coordinator.fleet import Fleet
from coordinator.learning import Lessons
from coordinator.ledger import Ledger
from coordinator.residency import Event, Resident, State, Tasks

log = logging.getLogger(__name__)

LOST_ENGINE_GRACE_S = 1.0
"""A relay sees the closed socket of a dead engine by itself, and says it better than we could."""


SERVING = frozenset({State.READY, State.DRAINING})


class Keeper:
    """Owns the ledger and the fleet. All but `tell` runs in the task of `run`."""

    def __init__(
        self,
        residents: dict[str, Resident],
        store_: store.Store,
        tasks: Tasks,
        lessons: Lessons,
        limits: settings.CoordinatorSettings,
        start_job: Callable[[Entry], Coroutine[Any, Any, None]],
    ) -> None:
        self.ledger = Ledger(store_, lessons, limits)
        self.fleet = Fleet(residents, store_, tasks, lessons, limits, self.tell, self.spawn)
        self.stopping = False
        self.paused = False
        self.version = 0
        """Grows with every pass: whoever shows a picture knows when it is a new one."""
        self.changed = anyio.Event()
        """Set, and replaced, at the end of every pass."""
        self._limits, self._start_job = limits, start_job
        self._inbox, self._outbox = anyio.create_memory_object_stream[messages.Message](math.inf)
        self._group: anyio.abc.TaskGroup | None = None

    def tell(self, message: messages.Message) -> None:
        """Send a message; never waits, so it is safe in a task that is being cancelled."""
        self._inbox.send_nowait(message)

    def spawn(self, run: Callable[..., Coroutine[Any, Any, None]], *arguments: object) -> None:
        """Run something that takes time as a task of the coordinator."""
        if self._group is None:
            raise RuntimeError("the keeper is not running")
        self._group.start_soon(run, *arguments)

    async def run(self, group: anyio.abc.TaskGroup) -> None:
        """The loop. It lives until it is cancelled: one bad message must not end the queue."""
        self._group = group
        look_again_at: float | None = None
        with self._inbox, self._outbox:
            while True:
                with anyio.move_on_at(math.inf if look_again_at is None else look_again_at):
                    self._take(await self._outbox.receive())
                while self._outbox.statistics().current_buffer_used:
                    self._take(self._outbox.receive_nowait())
                look_again_at = self._pass()

    def _pass(self) -> float | None:
        """Between messages: end what waited too long, decide, and say when time alone matters."""
        now = anyio.current_time()
        for entry in self.ledger.line.expired(now):
            error = errors.QueueTimeout(now - entry.place.enqueued_at, self._behind(entry))
            self.ledger.refuse(entry, error, "queue_timeout")
        times = [None if self.stopping else self._decide(now), self.ledger.line.next_deadline()]
        self.version += 1
        self.changed.set()
        self.changed = anyio.Event()
        return min((at for at in times if at is not None), default=None)

    def _behind(self, entry: Entry) -> str:
        if self.paused:
            return "while the queue was paused"
        busy = [resident.name for resident in self.fleet.residents.values() if resident.leases]
        return f"behind {', '.join(busy)}" if busy else f"for {entry.item.runtime} to load"

    def _take(self, message: messages.Message) -> None:
        try:
            self._handle(message)
        except Exception:  # the loop must live: this message is lost, the queue is not
            log.exception("a message could not be handled: %s", type(message).__name__)

    def _handle(self, message: messages.Message) -> None:  # noqa: C901, PLR0912 - a flat table
        match message:
            case messages.Admit(request, reply, body_hash):
                try:
                    reply.give(self._admit(request, body_hash))
                except errors.CoordinatorError as error:
                    reply.refuse(error)
            case messages.Committed(entry, kept):
                self.ledger.committed(entry, kept)
            case messages.Left(entry, outcome):
                resident = entry.resident
                self.ledger.left(entry, outcome)
                if outcome.engine_lost and resident is not None:
                    self.leave(resident, now=False, by="a lost engine")
            case messages.Progress(resident, progress):
                self.fleet.progressed(resident, progress)
            case messages.Looked(resident, running):
                self.fleet.looked(resident, running)
            case messages.Loaded(resident, running, footprint):
                self.fleet.loaded(resident, running, footprint)
            case messages.LoadFailed(resident, exit_):
                self.ledger.refuse_all_of(resident.name, self.fleet.load_failed(resident, exit_))
            case messages.Died(resident, exit_):
                lost = self.fleet.died(resident, exit_)
                for entry in resident.leases if lost is not None else ():
                    self.spawn(self._evict_later, entry, lost)
            case messages.Gone(resident):
                self.fleet.gone(resident)
            case messages.Settled(resident, missing):
                self.fleet.settled(resident, missing)
            case messages.Do(action):
                action()

    def _admit(self, request: work.WorkRequest, body_hash: str | None) -> messages.Placed:
        known = self.ledger.known(request, body_hash)
        if known is not None:
            return messages.Placed(known, joined=True)
        if self.stopping:
            raise errors.ShuttingDown
        resident = self.fleet.residents.get(request.runtime)
        if resident is None:  # the configuration changed since the alias was resolved
            raise errors.RuntimeRemoved(request.runtime)
        if request.durability is work.Durability.CONNECTION:
            self.fleet.check_breaker(resident)
        return messages.Placed(self.ledger.admit(request, resident, body_hash), joined=False)

    async def _evict_later(self, entry: Entry, error: errors.CoordinatorError) -> None:
        with anyio.move_on_after(LOST_ENGINE_GRACE_S):
            await entry.ended.wait()
        self.tell(messages.Do(lambda: self.ledger.evict(entry, error)))

    def _decide(self, now: float) -> float | None:
        answer = plan.decide(
            self.ledger.line.places(),
            [resident.view() for resident in self.fleet.residents.values()],
            self._limits.pool_bytes,
            self._limits.knobs,
            now,
            self.paused,
        )
        for action in answer.actions:
            self._carry_out(action, now)
        self._finish_leaving()
        return answer.look_again_at

    def _carry_out(self, action: plan.Action, now: float) -> None:
        match action:
            case plan.Grant(item, runtime):
                entry = self.ledger.line.get(item)
                if entry is not None:
                    self.ledger.grant(entry, self.fleet.residents[runtime], now)
                    if entry.stored:
                        self.spawn(self._start_job, entry)
            case plan.Start(runtime):
                self.fleet.start(self.fleet.residents[runtime])
            case plan.Drain(runtime, target):
                resident = self.fleet.residents[runtime]
                resident.target = target
                self.fleet.move(resident, Event.DRAIN, f"drain_for:{target}")
            case plan.Stop(runtime, reason, target):
                self.fleet.residents[runtime].target = target
                why = reason if target is None else f"{reason}_to:{target}"
                self.fleet.stop(self.fleet.residents[runtime], why)
            case plan.Keep(runtime):
                resident = self.fleet.residents[runtime]
                resident.target = None
                self.fleet.move(resident, Event.KEEP, "kept")

    def _finish_leaving(self) -> None:
        """A runtime that was told to go by hand stops when its last lease ends."""
        for resident in self.fleet.residents.values():
            if resident.leaving and not resident.leases and resident.state in SERVING:
                self.fleet.stop(resident, "unload")

    def leave(self, resident: Resident, now: bool, by: str) -> int:
        """Unload by hand; the number of leases that it still waits for."""
        if resident.state is State.STARTING:
            self.fleet.stop(resident, "unload")
        elif resident.state in SERVING:
            resident.leaving, resident.keep_until = True, None
            if resident.state is State.READY and resident.leases:
                self.fleet.move(resident, Event.DRAIN, "unload")
            for entry in list(resident.leases) if now else ():
                self.ledger.evict(entry, errors.WorkCancelled(entry.id, by))
            self._finish_leaving()
        return len(resident.leases)

    def replace(self, resident: Resident, successor: Resident | None) -> None:
        """Other settings, or none, for a configured runtime: it drains first, if it must."""
        if successor is None:
            error = errors.RuntimeRemoved(resident.name)
            self.ledger.refuse_waiting_for(resident.name, error)
        if not self.fleet.replace(resident, successor):
            self.leave(resident, now=False, by="a changed configuration")

    def cancel(self, entry: Entry, by: str) -> bool:
        """Cancel live work; whether it was running."""
        error = errors.WorkCancelled(entry.id, by)
        if entry.item.state is state.WorkState.RUNNING:
            self.ledger.evict(entry, error)
            return True
        self.ledger.refuse(entry, error, "cancelled")
        return False
