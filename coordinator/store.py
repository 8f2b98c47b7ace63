"""The durable queue as the rest of the coordinator sees it; each public method is one whole transaction."""

import time
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from coordinator import (
    changes,
    connection,
    errors,
    journal,
    opening,
    reading,
    retention,
    rows,
    settings,
    state,
    takeover,
    tally,
    work,
)

NODE = "local"
# A reader waits this long for what was noted to be written, and then answers without it.
FRESH_S = 0.25


class Store:
    """Open with `Store.open`, then `take_over`, then write.

    `commit` and `take_over` run to their end whatever happens to their caller: when they return it is
    done and on the disk, when they raise one of our errors nothing of it is; a cancellation that arrives
    meanwhile is delivered at the caller's next await. The reading methods can be cancelled at any time.
    """

    def __init__(
        self,
        opened: opening.Opened,
        settings_: settings.CoordinatorSettings,
        wall: Callable[[], float],
    ) -> None:
        self._opened = opened
        self._settings = settings_
        self._wall = wall
        # History ages by a clock that nobody sets: a jump of the wall clock must not empty it.
        self._opened_wall, self._opened_at = wall(), time.monotonic()
        self._tally = tally.Tally()
        self._journal = journal.Journal(opened.writing, self._tally.add)
        self._epoch: int | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        state_dir: Path,
        settings_: settings.CoordinatorSettings,
        wall: Callable[[], float] = time.time,
    ) -> AsyncGenerator["Store"]:
        """Own the directory, check and migrate its database, and write until the block ends.

        Raises `OwnedElsewhere` or a `refusals.StateUnusable`, and has changed nothing then.
        """
        failure: BaseException | None = None
        async with opening.open_state(state_dir) as opened:
            store = cls(opened, settings_, wall)
            await connection.answer_of(store._tally.load(opened.reading, wall()))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store._journal.run)
                try:
                    yield store
                except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001
                    # Raised again below, where the task group does not wrap it.
                    failure = error
                finally:
                    await store._journal.close()
        if failure is not None:
            raise failure

    @property
    def healthy(self) -> bool:
        """Whether the last write succeeded."""
        return self._journal.healthy

    @property
    def problem(self) -> str | None:
        """Why it did not."""
        return self._journal.problem

    async def ownership_lost(self) -> errors.OwnershipLost:
        """Wait until a write found that somebody else took over; this process must end then."""
        await self._journal.on_lost.wait()
        assert self._journal.lost is not None
        return self._journal.lost

    async def take_over(self) -> rows.Recovered:
        """Begin a new epoch and put the rows that the last owner left in order."""
        recovered, encoder = await self._journal.errand(takeover.TakeOver(NODE, self._wall()))
        self._journal.own(encoder)
        self._epoch = recovered.epoch
        await connection.answer_of(self._tally.load(self._opened.reading, self._wall()))
        return recovered

    def note(self, *noted: changes.Change) -> None:
        """Write these soon, in order; for what dies with its client anyway. Never blocks, never fails."""
        self._journal.note(noted)

    async def commit(self, *committed: changes.Change) -> None:
        """Have these on the disk, all or none, after everything noted before.

        Raises `StorageUnavailable`, `OwnershipLost`, or `refusals.ChangeRefused` (of which `KeyTaken`).
        """
        await self._journal.commit(committed)

    async def item(self, work_id: str) -> work.WorkItem | None:
        """One work item."""
        await self._fresh()
        return await connection.answer_of(reading.item(self._opened.reading, work_id))

    async def items(
        self,
        owner: str | None,
        states: Collection[state.WorkState] | None,
        limit: int,
        before_seq: int | None = None,
    ) -> tuple[work.WorkItem, ...]:
        """The newest items first, at most `limit`; `before_seq` is the last one's `seq` of the page before."""
        await self._fresh()
        return await connection.answer_of(
            reading.items(self._opened.reading, owner, states, limit, before_seq)
        )

    async def by_key(self, owner: str, idempotency_key: str) -> tuple[work.WorkItem, str] | None:
        """The stored item that this owner submitted under this key, with the hash of its body."""
        return await connection.answer_of(
            reading.by_key(self._opened.reading, owner, idempotency_key)
        )

    async def body(self, work_id: str) -> bytes | None:
        """The request of stored work; it is dropped some time after the work has ended."""
        return await connection.answer_of(reading.body(self._opened.reading, work_id))

    async def result(self, work_id: str) -> changes.ResultKept | None:
        """The answer of stored work."""
        return await connection.answer_of(reading.result(self._opened.reading, work_id))

    async def events(self, work_id: str) -> tuple[rows.EventRow, ...]:
        """Each transition of one item, oldest first."""
        await self._fresh()
        return await connection.answer_of(reading.events(self._opened.reading, work_id))

    async def runtime_events(self, limit: int) -> tuple[rows.RuntimeEventRow, ...]:
        """The newest transitions of all runtimes, newest first."""
        await self._fresh()
        return await connection.answer_of(reading.runtime_events(self._opened.reading, limit))

    def counts(self) -> rows.Counts:
        """What ended and was swapped, today and ever, from memory."""
        return self._tally.counts(self._wall())

    async def prune(self) -> int:
        """Drop what is older than the history that is kept; returns how many work items went."""
        if self._epoch is None:
            raise RuntimeError("take_over() comes before prune()")
        await self._fresh()
        now = self._opened_wall + (time.monotonic() - self._opened_at)
        pruner = retention.Pruner(self._journal, self._opened.reading, self._epoch)
        return await connection.answer_of(pruner.prune(now, self._settings.history_s))

    async def _fresh(self) -> None:
        with anyio.move_on_after(FRESH_S):
            await self._journal.flush()
