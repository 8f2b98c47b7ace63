"""The one task that writes to the database: it takes all that is waiting and makes one transaction of it.

What is *noted* waits a moment for company and is written without waiting for the disk; what is
*committed* is written at once, with everything noted before it, and is on the disk on return. Nobody
else's cancellation can reach a transaction, because nobody else is inside one.

When a group cannot be written (the disk is full, somebody holds the lock for too long), its commits fail
with `StorageUnavailable`. Its notes stay, in order, and are tried again with the next group, or after
`RETRY_S`. If more than `BACKLOG_LIMIT` of them pile up, items that were not admitted yet are dropped whole,
which die with their clients anyway, and what was learned; what is left is as much as runs at once.
"""

import logging
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar, cast

import anyio

from coordinator import changes, connection, errors, failpoints, refusals, writing
from coordinator.backlog import Backlog, Commit, Entry, Errand, Group, Note

# Noted rows wait this long for company: at hundreds of requests a second, one transaction for many of
# them costs a fraction of one each. Nobody waits for the result, so nobody is delayed.
LINGER_S = 0.05
# A transaction that is longer than this makes those wait who need theirs on the disk.
GROUP_LIMIT = 2000
RETRY_S = 1.0
BACKLOG_LIMIT = 20_000
# A lock that is held elsewhere is waited for by the groups before ours and by our own.
COMMIT_DEADLINE_S = 6 * connection.BUSY_TIMEOUT_S
CLOSE_DEADLINE_S = 3 * connection.BUSY_TIMEOUT_S

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Journal:
    """Owns the writing connection while `run` runs."""

    def __init__(
        self,
        database: connection.Database,
        applied: Callable[[tuple[changes.Change, ...]], None],
    ) -> None:
        self.healthy = True
        self.problem: str | None = None
        self.lost: errors.OwnershipLost | None = None
        self.on_lost = anyio.Event()
        self._database = database
        self._applied = applied
        self._encoder: writing.Encoder | None = None
        self._backlog = Backlog()
        self._arrived = anyio.Event()
        self._urgent = anyio.Event()
        self._tried = anyio.Event()
        self._in_flight: anyio.Event | None = None
        self._full_sync = True
        self._closing = False
        self._scope = anyio.CancelScope(shield=True)
        self._ended = anyio.Event()

    def own(self, encoder: writing.Encoder) -> None:
        """Write under this encoder's epoch from now on."""
        self._encoder = encoder

    def note(self, noted: tuple[changes.Change, ...]) -> None:
        """Write these soon; never blocks, never fails."""
        if self.lost or self._closing:
            return
        self._put(Note(noted), urgent=False)

    async def commit(self, committed: tuple[changes.Change, ...]) -> None:
        """Write these now, with all that was noted before."""
        entry = Commit(committed)
        await self._wait_for(entry)
        if entry.error is not None:
            raise entry.error

    async def errand(
        self,
        work: Callable[[connection.Database], Awaitable[_T]],
        afterwards: Callable[[connection.Database], Awaitable[object]] | None = None,
        durable: bool = True,
    ) -> _T:
        """Run `work` inside a transaction of its own, then `afterwards`; returns what `work` returns."""
        entry = Errand(work, afterwards, durable)
        await self._wait_for(entry)
        if entry.error is not None:
            raise entry.error
        return cast(_T, entry.result)

    async def flush(self) -> None:
        """Wait until all that was noted so far was tried once; at once while nothing can be written."""
        if self._in_flight is not None:
            await self._in_flight.wait()
        if self._backlog.noted and self.healthy and not self._closing:
            self._arrived.set()
            self._urgent.set()
            await self._tried.wait()

    async def _wait_for(self, entry: Commit | Errand) -> None:
        if self.lost is not None:
            raise self.lost
        if self._closing:
            raise errors.ShuttingDown
        self._put(entry, urgent=True)
        with anyio.move_on_after(COMMIT_DEADLINE_S, shield=True):
            await entry.done.wait()
        if not entry.done.is_set():
            self._backlog.withdraw(entry)
            raise errors.StorageUnavailable(f"no answer from the disk in {COMMIT_DEADLINE_S:.0f} s")

    def _put(self, entry: Entry, urgent: bool) -> None:
        self._backlog.add(entry)
        self._arrived.set()
        if urgent:
            self._urgent.set()

    async def run(self) -> None:
        """Write until `close`. Shielded as a whole: a transaction is several awaits long."""
        try:
            with self._scope:
                while not (self._closing and not self._backlog):
                    await self._until_due()
                    await self._write_waiting()
                    if self._closing and not self.healthy:
                        break
        finally:
            self._fail(self._backlog.clear(), errors.ShuttingDown())
            self._tried.set()
            self._ended.set()

    async def close(self) -> None:
        """Write what is waiting, once, and end the task."""
        self._closing = True
        self._arrived.set()
        self._urgent.set()
        with anyio.move_on_after(CLOSE_DEADLINE_S, shield=True):
            await self._ended.wait()
        self._scope.cancel()

    async def _until_due(self) -> None:
        if not self.healthy:
            # Not sooner, unless somebody waits: each try on a full disk costs it real work.
            with anyio.move_on_after(RETRY_S):
                await self._urgent.wait()
            return
        await self._arrived.wait()
        if self._backlog.noted < GROUP_LIMIT:
            with anyio.move_on_after(LINGER_S):
                await self._urgent.wait()

    async def _write_waiting(self) -> None:
        """Take the next group or errand and write it; what does not fit waits for the next turn."""
        taken = self._take()
        if isinstance(taken, Errand):
            await self._run_errand(taken)
        elif any(isinstance(entry, Note) for entry in taken):
            self._tried, self._in_flight = anyio.Event(), self._tried
            await self._write_group(taken)
            self._in_flight.set()
            self._in_flight = None
        else:
            # Questions wait for notes only: an unacknowledged commit need not be seen yet.
            await self._write_group(taken)
        if not self.healthy and self._backlog.noted > BACKLOG_LIMIT:
            _log.error("%d noted changes were dropped unwritten", self._backlog.shorten())

    def _take(self) -> Errand | Group:
        taken = self._backlog.take(GROUP_LIMIT)
        self._arrived, self._urgent = anyio.Event(), anyio.Event()
        if self._backlog or self._closing:
            self._arrived.set()
            self._urgent.set()
        return taken

    async def _run_errand(self, errand: Errand) -> None:
        try:
            await self._set_sync(full=errand.durable)
            await self._database.begin()
            errand.result = await errand.work(self._database)
            failpoints.reach("store_errand_before_commit")
            await self._database.commit()
            failpoints.reach("store_errand_after_commit")
            if errand.afterwards is not None:
                await errand.afterwards(self._database)
            self._set_health(None)
        except Exception as error:  # noqa: BLE001 - handed to the caller, whatever it is
            await self._undo()
            errand.error = self._translated(error)
            if isinstance(error, errors.OwnershipLost):
                self._lose(error)
        errand.done.set()

    async def _write_group(self, group: Group) -> None:
        """One transaction for all of it; entry by entry only if one of them cannot be applied."""
        if self._encoder is None:
            if group:
                _log.error("changes came before take_over() and were not written")
            self._fail(group, RuntimeError("take_over() comes before the first change"))
            return
        try:
            await self._transaction(self._encoder, group)
        except Exception as error:  # noqa: BLE001 - told apart below; this task must live
            if _is_about_one_change(error):
                await self._write_one_by_one(self._encoder, group)
            else:
                self._put_back(group, error)
        else:
            self._succeed(group)

    async def _transaction(self, encoder: writing.Encoder, group: Group) -> None:
        batch = encoder.batch(change for entry in group for change in entry.changes)
        failpoints.reach("store_before_begin")
        try:
            await self._set_sync(full=any(isinstance(entry, Commit) for entry in group))
            await self._database.begin()
            if not group:
                # Nothing to write: find out whether writing works again.
                await writing.touch(self._database, encoder.epoch)
            await writing.apply(self._database, batch)
            failpoints.reach("store_before_commit")
            await self._database.commit()
            failpoints.reach("store_after_commit")
        except Exception:
            await self._undo()
            raise

    async def _write_one_by_one(self, encoder: writing.Encoder, group: Group) -> None:
        """A change of the group does not fit its row: write the others, and tell that one's caller."""
        try:
            held = await writing.held_epoch(self._database)
        except sqlite3.Error as error:
            self._put_back(group, error)
            return
        if held != encoder.epoch:
            lost = errors.OwnershipLost(encoder.epoch)
            self._fail(group, lost)
            self._lose(lost)
            return
        for place, entry in enumerate(group):
            try:
                await self._transaction(encoder, [entry])
            except Exception as error:  # noqa: BLE001 - told apart below; this task must live
                if not _is_about_one_change(error):
                    self._put_back(group[place:], error)
                    return
                self._refuse(entry, error)
            else:
                self._succeed([entry])

    def _refuse(self, entry: Note | Commit, error: Exception) -> None:
        refusal = _refusal(entry, error)
        if isinstance(entry, Note):
            # Of work whose admission was dropped or refused before: nobody is left to be told.
            _log.warning("a noted change was dropped: %s", refusal)
        self._fail([entry], refusal)

    def _succeed(self, group: Group) -> None:
        self._set_health(None)
        for entry in group:
            self._applied(entry.changes)
            if isinstance(entry, Commit):
                entry.done.set()

    def _put_back(self, group: Group, error: Exception) -> None:
        """Nothing of the group was written: fail its commits, keep its notes for later."""
        self._fail(group, self._translated(error))
        self._backlog.put_back([entry for entry in group if isinstance(entry, Note)])

    def _fail(self, group: Sequence[Entry], error: Exception) -> None:
        for entry in group:
            if not isinstance(entry, Note):
                entry.error = error
                entry.done.set()

    def _translated(self, error: Exception) -> Exception:
        if _is_about_one_change(error):
            return error
        unavailable = errors.StorageUnavailable(f"{error}, {connection.name_of(error)}")
        self._set_health(unavailable.reason)
        return unavailable

    def _set_health(self, problem: str | None) -> None:
        if self.lost is not None:
            return
        if problem is not None and self.healthy:
            _log.error("the queue cannot be written: %s", problem)
        elif problem is None and not self.healthy:
            _log.warning("the queue can be written again")
        self.healthy, self.problem = problem is None, problem

    def _lose(self, lost: errors.OwnershipLost) -> None:
        _log.critical("%s", lost)
        self.lost, self.healthy, self.problem = lost, False, str(lost)
        self._fail(self._backlog.clear(), lost)
        self.on_lost.set()

    async def _set_sync(self, full: bool) -> None:
        if full is not self._full_sync:
            await self._database.set_sync(full)
            self._full_sync = full

    async def _undo(self) -> None:
        try:
            await self._database.rollback()
        except sqlite3.Error:
            # SQLite has rolled back by itself on the worse errors.
            _log.exception("rolling back failed")


def _is_about_one_change(error: Exception) -> bool:
    """Whether this is the fault of a change, and not of the disk, a lock or the file.

    Text that is no UTF-8 and integers of more than 64 bits never reach SQLite: Python refuses them.
    """
    if not isinstance(error, sqlite3.Error):
        return True
    if isinstance(
        error, sqlite3.IntegrityError | sqlite3.ProgrammingError | sqlite3.InterfaceError
    ):
        return True
    return connection.name_of(error) in {"SQLITE_TOOBIG", "SQLITE_MISMATCH"}


def _refusal(entry: Note | Commit, error: Exception) -> refusals.ChangeRefused:
    if "idempotency_key" in str(error):
        for change in entry.changes:
            if isinstance(change, changes.Enqueued) and change.item.idempotency_key is not None:
                return refusals.KeyTaken(change.item.idempotency_key)
    what = ", ".join(type(change).__name__ for change in entry.changes)
    why = str(error) or "an item is not where the change starts from"
    return refusals.ChangeRefused(f"{what}: {why}")
