"""The coordinator: what surfaces ask of the queue. State itself is changed by the keeper alone."""

import contextlib
import enum
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import anyio

from coordinator import (
    changes,
    errors,
    failpoints,
    forecast,
    lease,
    messages,
    rows,
    settings,
    state,
    status,
    store,
    work,
)
from coordinator.entry import Entry
from coordinator.jobs import Engine, Job, Jobs, Submitted
from coordinator.keeper import Keeper
from coordinator.learning import Lessons
from coordinator.residency import Memory, Resident, State, Tasks
from runtimes.registry import Registry

T = TypeVar("T")

STOP_MARGIN_S = 10.0
TIDY_EVERY_S = 1800.0
FEW, FORESEEN_S = 20, 0.25
"""With more waiting than a few, one look ahead (some milliseconds) serves all who ask within a quarter second."""


class CancelOutcome(enum.StrEnum):
    """What a cancel did, told apart because callers act differently on each."""

    DEQUEUED = "dequeued"
    STOPPED = "stopped"
    ALREADY_ENDED = "already_ended"


@dataclass(frozen=True, slots=True)
class Unloaded:
    """An unload by hand was taken; it ends when these leases end."""

    runtime: str
    waits_for_leases: int


class Coordinator:
    """One queue in front of every runtime. Use `Coordinator.open`."""

    def __init__(
        self,
        registry: Registry,
        store_: store.Store,
        engine: Engine,
        memory: Memory,
        limits: settings.CoordinatorSettings,
    ) -> None:
        self.registry, self.store, self.limits = registry, store_, limits
        self.lessons = Lessons(store_)
        residents = {
            name: Resident(one.spec, one.lifecycle, footprint_bytes=one.spec.memory_bytes)
            for name, one in registry.runtimes.items()
        }
        tasks = Tasks(
            memory,
            limits.settle_cap_s,
            lambda: sum(resident.missing_bytes for resident in residents.values()),
        )
        self.stored = Jobs(self, store_, engine, limits)
        self.keeper = Keeper(residents, store_, tasks, self.lessons, limits, self.stored.run)
        self._patience = anyio.CancelScope()
        self._foreseen: tuple[int, float, forecast.Forecast | None] = (-1, 0.0, None)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        registry: Registry,
        store_: store.Store,
        engine: Engine,
        memory: Memory,
        limits: settings.CoordinatorSettings,
        reap: Callable[[Collection[str]], Awaitable[int]] | None = None,
    ) -> AsyncGenerator["Coordinator"]:
        """Recover what an earlier gateway left, run the queue, and stop every engine at the end.

        `reap` ends engines of ours whose marks are not among those given: nobody could adopt them.
        """
        self = cls(registry, store_, engine, memory, limits)
        recovered = await store_.take_over()
        failpoints.reach("recovered_rows")
        if reap is not None:
            residents = self.keeper.fleet.residents
            await reap(
                [one.nonce for name, one in recovered.processes.items() if name in residents]
            )
        async with anyio.create_task_group() as group:
            self._restore(recovered)
            group.start_soon(self.keeper.run, group)
            group.start_soon(self._tidy)
            self.keeper.tell(messages.Do(lambda: self.keeper.fleet.look(recovered.processes)))
            try:
                yield self
            finally:
                with anyio.CancelScope(shield=True):
                    await self.shutdown(0.0)
                group.cancel_scope.cancel()

    async def _tidy(self) -> None:
        """Old history goes in small batches, off everybody's way."""
        while True:
            await anyio.sleep(TIDY_EVERY_S)
            with contextlib.suppress(errors.StorageUnavailable, errors.OwnershipLost):
                await self.store.prune()

    def _restore(self, recovered: rows.Recovered) -> None:
        """Before the loop runs: nobody else is here yet."""
        keeper = self.keeper
        keeper.ledger.next_seq = recovered.next_seq
        keeper.paused = recovered.settings.get("paused") == "true"
        self.lessons.recall(recovered.learned)
        for resident in keeper.fleet.residents.values():
            learned = self.lessons.footprint_bytes(resident.name)
            if learned is not None:
                resident.footprint_bytes = max(learned, resident.spec.memory_bytes or 0)
        for item in recovered.queued:
            keeper.ledger.restore(item, keeper.fleet.residents.get(item.runtime))

    def lease(self, request: work.WorkRequest) -> lease.Lease:
        """A place in line, then a slot of the runtime; see `lease.Lease`."""
        return lease.Lease(self, request)

    async def admit(self, request: work.WorkRequest) -> Entry:
        """For leases: a place in line that is given back if the caller does not live to see it."""
        return (await self.place(request, None)).entry

    async def place(self, request: work.WorkRequest, body_hash: str | None) -> messages.Placed:
        """For jobs: as `admit`; stored work is held until the keeper is told that it is committed."""
        reply: messages.Reply[messages.Placed] = messages.Reply()
        self.keeper.tell(messages.Admit(request, reply, body_hash))
        try:
            await reply.done.wait()
        except anyio.get_cancelled_exc_class():
            self.keeper.tell(messages.Do(lambda: self._abandon(reply)))
            raise
        if reply.error is not None:
            raise reply.error
        if reply.value is None:
            raise RuntimeError("an admission was answered with nothing")
        return reply.value

    def _abandon(self, reply: messages.Reply[messages.Placed]) -> None:
        """The caller was cancelled before it saw its place."""
        placed = reply.value
        if placed is None or placed.joined:
            return
        if placed.entry.stored:
            self.keeper.ledger.committed(placed.entry, kept=False)
        else:
            self.keeper.ledger.left(placed.entry, messages.Outcome("client_left", "client_left"))

    async def submit(self, request: work.WorkRequest) -> Submitted:
        """Stored work: on disk when this returns."""
        item, joined = await self.stored.submit(request)
        return Submitted(item, self.outlook(item.id), joined)

    async def job(self, work_id: str, owner: str | None) -> Job:
        """One's own work item; unknown and foreign ones are answered alike. No owner: an admin."""
        entry = self.keeper.ledger.get(work_id)
        item = entry.item if entry is not None else await self.store.item(work_id)
        if item is None or (owner is not None and item.owner != owner):
            raise errors.NoSuchWork(work_id)
        ended = item.state in state.TERMINAL
        result = await self.store.result(work_id) if ended else None
        return Job(item, None if ended else self.outlook(work_id), result)

    async def jobs(
        self,
        owner: str | None,
        states: Collection[state.WorkState] | None = None,
        limit: int = 50,
        before_seq: int | None = None,
    ) -> tuple[work.WorkItem, ...]:
        """Newest first."""
        return await self.store.items(owner, states, limit, before_seq)

    async def wait_for(self, work_id: str, owner: str | None, timeout_s: float) -> Job:
        """Its end, or `timeout_s`, whichever comes first. Cancelling the wait leaves the job alone."""
        entry = self.keeper.ledger.get(work_id)
        if entry is not None and (owner is None or entry.item.owner == owner):
            with anyio.move_on_after(timeout_s):
                await entry.ended.wait()
        return await self.job(work_id, owner)

    async def cancel(self, work_id: str, owner: str | None, by: str) -> CancelOutcome:
        """Cancel one's own work; the three outcomes are told apart. No owner: an admin."""
        entry = self.keeper.ledger.get(work_id)
        if entry is None or (owner is not None and entry.item.owner != owner):
            await self.job(work_id, owner)  # raises for unknown and foreign ones
            return CancelOutcome.ALREADY_ENDED
        outcome = await self._ask(lambda: self._cancel(entry, by))
        if entry.stored:
            with anyio.CancelScope(shield=True):
                await self.store.commit(changes.CancelRequested(work_id, time.time()))
        return outcome

    def _cancel(self, entry: Entry, by: str) -> CancelOutcome:
        if entry.item.state in state.TERMINAL:
            return CancelOutcome.ALREADY_ENDED
        running = self.keeper.cancel(entry, by)
        return CancelOutcome.STOPPED if running else CancelOutcome.DEQUEUED

    async def cancel_all_of(self, owner: str, by: str) -> tuple[str, ...]:
        """End everything that this owner has waiting or running, and nobody else's."""

        def cancel_each() -> tuple[str, ...]:
            mine = [entry for entry in self.keeper.ledger.live() if entry.item.owner == owner]
            for entry in mine:
                self.keeper.cancel(entry, by)
            return tuple(entry.id for entry in mine)

        return await self._ask(cancel_each)

    async def reprioritise(self, work_id: str, priority: int) -> None:
        """Another rank for work that still waits."""

        def change() -> None:
            entry = self.keeper.ledger.line.get(work_id)
            if entry is None:
                raise errors.NoSuchWork(work_id)
            self.keeper.ledger.reprioritise(entry, priority)

        await self._ask(change)

    async def load(self, runtime: str, keep_s: float | None = None) -> None:
        """Bring a runtime up through the queue like any other work, and keep it for a while."""
        request = work.WorkRequest(
            runtime,
            runtime,
            "(load)",
            "admin",
            "admin",
            max_queue_wait_s=self.limits.max_queue_wait_s,
        )
        async with self.lease(request) as held:
            await held.granted()
            resident = self.keeper.fleet.residents[runtime]
            if keep_s is not None:
                resident.keep_until = anyio.current_time() + keep_s

    async def unload(self, runtime: str, now: bool = False, by: str = "an admin") -> Unloaded:
        """Drain and stop a runtime; `now` cancels what it runs first."""
        resident = self.keeper.fleet.residents[runtime]
        left = await self._ask(lambda: self.keeper.leave(resident, now, by))
        return Unloaded(runtime, left)

    async def reconfigure(self, wanted: Registry) -> None:
        """Another set of runtimes. One that is the very same object is untouched; the others drain first."""

        def change() -> None:
            residents = self.keeper.fleet.residents
            for name, one in wanted.runtimes.items():
                now = residents.get(name)
                if now is not None and now.lifecycle is one.lifecycle:
                    continue
                made = Resident(one.spec, one.lifecycle, footprint_bytes=one.spec.memory_bytes)
                if now is None:
                    self.keeper.fleet.add(made)
                else:
                    self.keeper.replace(now, made)
            for name in [name for name in residents if name not in wanted.runtimes]:
                self.keeper.replace(residents[name], None)
            self.registry = wanted

        await self._ask(change)

    async def pause(self, paused: bool) -> None:
        """Hold the queue (running work goes on), durably, until it is resumed."""

        def switch() -> None:
            self.keeper.paused = paused
            self.store.note(changes.Setting("paused", "true" if paused else "false"))

        await self._ask(switch)

    @property
    def ready(self) -> bool:
        """Whether everything that an earlier gateway left has been looked at."""
        residents = self.keeper.fleet.residents.values()
        return not self.stopping and all(one.state is not State.UNKNOWN for one in residents)

    @property
    def stopping(self) -> bool:
        """Whether new work is refused because the gateway is going down."""
        return self.keeper.stopping

    def outlook(self, work_id: str) -> forecast.Outlook | None:
        """When and why this item's turn comes."""
        known = self.foresee().outlooks.get(work_id)
        line = self.keeper.ledger.line
        if known is None and work_id in line.ids():
            return forecast.Outlook(len(line), None, forecast.WaitsFor.SLOT, None)
        return known

    def foresee(self) -> forecast.Forecast:
        """The decision played forward; a picture is good for a moment, however many ask for it."""
        version, until, picture = self._foreseen
        now = anyio.current_time()
        if picture is None or (version != self.keeper.version and now >= until):
            picture = status.foresee(self.keeper, self.lessons, self.limits)
            good_for_s = FORESEEN_S if len(self.keeper.ledger.line) > FEW else 0.0
            self._foreseen = (self.keeper.version, now + good_for_s, picture)
        return picture

    def snapshot(self) -> status.Snapshot:
        """Everything there is to see, as plain data."""
        return status.snapshot(self)

    def log_tail(self, runtime: str, lines: int) -> tuple[str, ...]:
        """The newest lines of a runtime's log."""
        return self.keeper.fleet.residents[runtime].lifecycle.log_tail(lines)

    async def changed(self) -> None:
        """Wait for the next pass of the loop."""
        await self.keeper.changed.wait()

    def tell(self, message: messages.Message) -> None:
        """For leases and jobs: send the keeper a message."""
        self.keeper.tell(message)

    async def _ask(self, question: Callable[[], T]) -> T:
        """Run a small function between two decisions, in the keeper's task."""
        reply: messages.Reply[T] = messages.Reply()

        def answer() -> None:
            try:
                reply.give(question())
            except errors.CoordinatorError as error:
                reply.refuse(error)

        self.keeper.tell(messages.Do(answer))
        await reply.done.wait()
        if reply.error is not None:
            raise reply.error
        return reply.value  # type: ignore[return-value]  # T may itself be None

    def hurry(self) -> None:
        """Whoever still drains in `shutdown` is cut off now."""
        self._patience.cancel()

    async def shutdown(self, drain_s: float) -> None:
        """Refuse new work, let running work end within `drain_s`, cut the rest, stop every engine."""
        await self._ask(self._refuse_waiting)
        with self._patience:
            await self._until(lambda: not self.keeper.ledger.running, drain_s)
        self._patience = anyio.CancelScope()
        await self._ask(self._cut_running)
        await self._until(lambda: not self.keeper.ledger.running, STOP_MARGIN_S)
        await self._ask(self._stop_all)
        longest_s = max((one.stop_timeout_s for one in self.registry.specs()), default=0.0)
        await self._until(self._all_gone, longest_s + STOP_MARGIN_S)

    def _refuse_waiting(self) -> None:
        """Clients are told; stored work keeps its place for the next gateway."""
        self.keeper.stopping = True
        for entry in self.keeper.ledger.line.entries():
            if not entry.stored:
                self.keeper.ledger.refuse(entry, errors.ShuttingDown(), "shutting_down")

    def _cut_running(self) -> None:
        for entry in list(self.keeper.ledger.running.values()):
            self.keeper.ledger.evict(entry, errors.ShuttingDown())

    def _stop_all(self) -> None:
        for resident in self.keeper.fleet.residents.values():
            if resident.state in {State.STARTING, State.READY, State.DRAINING}:
                self.keeper.fleet.stop(resident, "shutdown")

    def _all_gone(self) -> bool:
        gone = {State.STOPPED, State.SETTLING, State.UNKNOWN}
        return all(one.state in gone for one in self.keeper.fleet.residents.values())

    async def _until(self, done: Callable[[], bool], timeout_s: float) -> None:
        with anyio.move_on_after(timeout_s):
            while not done():
                await self.keeper.changed.wait()
