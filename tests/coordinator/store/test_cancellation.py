"""Cancelling a caller at any moment leaves no open transaction and no doubt about the outcome."""

import inspect
import random
import sqlite3
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiosqlite
import anyio
import pytest

from coordinator import changes, errors, store, work
from tests.coordinator.store import making
from tests.coordinator.store.making import Work

CANCELS = 500

Outcome = str | None
Call = Callable[[store.Store, work.WorkItem], Awaitable[object]]


async def storm(call: Callable[[int], Awaitable[object]], rng: random.Random) -> list[Outcome]:
    """Start each call and cancel it some loop turns or moments later; how each one ended."""
    outcomes: list[Outcome] = [None] * CANCELS

    async def one(n: int, scope: anyio.CancelScope) -> None:
        with scope:
            try:
                await call(n)
                outcomes[n] = "returned"
            except anyio.get_cancelled_exc_class():
                outcomes[n] = "cancelled"
                raise
            except errors.CoordinatorError as error:
                outcomes[n] = error.code

    async def cancel_later(scope: anyio.CancelScope) -> None:
        if rng.random() < 0.5:
            for _ in range(rng.randrange(12)):
                await anyio.lowlevel.checkpoint()
        else:
            await anyio.sleep(rng.random() * 0.004)
        scope.cancel()

    async with anyio.create_task_group() as tasks:
        for n in range(CANCELS):
            scope = anyio.CancelScope()
            tasks.start_soon(one, n, scope)
            tasks.start_soon(cancel_later, scope)
            if rng.random() < 0.3:
                await anyio.lowlevel.checkpoint()
    return outcomes


async def writable_elsewhere(state_dir: Path) -> bool:
    """Whether the write lock is free: an open transaction of ours would hold it."""

    def take_the_lock() -> bool:
        with sqlite3.connect(state_dir / "queue.db", timeout=0) as raw:
            raw.execute("BEGIN IMMEDIATE")
        raw.close()
        return True

    return await anyio.to_thread.run_sync(take_the_lock)


@pytest.mark.parametrize("seed", range(3))
async def test_a_cancelled_commit_has_happened_if_and_only_if_it_returned(
    tmp_path: Path, seed: int
) -> None:
    items = [making.job() for _ in range(CANCELS)]
    with anyio.fail_after(50):
        async with making.owned_store(tmp_path) as store_:

            async def submit(n: int) -> None:
                store_.note(changes.Setting("noise", str(n)))
                await store_.commit(
                    changes.Enqueued(items[n], b"{}", "h"), making.granted(items[n])
                )

            outcomes = await storm(submit, random.Random(seed))
            written = {row.id for row in await store_.items(None, None, CANCELS)}
            assert await writable_elsewhere(tmp_path)
            await store_.commit(changes.Setting("after", "the storm"))
            events = [len(await store_.events(one.id)) for one in items]

    assert set(outcomes) <= {"returned", "cancelled"}
    returned = {
        one.id for one, outcome in zip(items, outcomes, strict=True) if outcome == "returned"
    }
    assert written == returned
    assert events == [2 if one.id in returned else 0 for one in items]
    assert returned, "the storm cancelled each call before it began: nothing was tested"


READS: dict[str, Call] = {
    "item": lambda store_, one: store_.item(one.id),
    "items": lambda store_, _: store_.items(None, None, 20),
    "by_key": lambda store_, _: store_.by_key("key-1", "k"),
    "body": lambda store_, one: store_.body(one.id),
    "result": lambda store_, one: store_.result(one.id),
    "events": lambda store_, one: store_.events(one.id),
    "runtime_events": lambda store_, _: store_.runtime_events(10),
    "prune": lambda store_, _: store_.prune(),
    "take_over": lambda store_, _: store_.take_over(),
}


def test_every_call_of_the_store_is_stormed() -> None:
    methods = {
        name
        for name, value in vars(store.Store).items()
        if not name.startswith("_") and inspect.isroutine(value)
    }
    not_awaited_or_not_a_transaction = {"open", "note", "counts", "ownership_lost"}
    assert methods - not_awaited_or_not_a_transaction == {*READS, "commit"}


@pytest.mark.parametrize("name", READS)
async def test_any_other_call_may_be_cancelled_while_others_write(
    tmp_path: Path, name: str
) -> None:
    rng = random.Random(name)
    with anyio.fail_after(50):
        async with making.owned_store(tmp_path) as store_:
            one = making.job(idempotency_key="k")
            await store_.commit(changes.Enqueued(one, b"{}", "h"))

            async def call(n: int) -> None:
                store_.note(*making.lived(making.item()))
                await READS[name](store_, one)

            await storm(call, rng)
            await store_.commit(changes.Setting("after", "the storm"))
            assert await writable_elsewhere(tmp_path)
            assert len(await store_.items(None, {Work.SUCCEEDED}, 2 * CANCELS)) >= CANCELS / 2
            assert (await store_.item(one.id)) is not None


async def test_closing_in_a_cancelled_scope_still_writes_what_was_noted(tmp_path: Path) -> None:
    one = making.item()
    with anyio.fail_after(20):
        with anyio.CancelScope() as scope:
            async with making.owned_store(tmp_path) as store_:
                store_.note(*making.lived(one))
                scope.cancel()
                await anyio.lowlevel.checkpoint()
        async with making.owned_store(tmp_path) as store_:
            row = await store_.item(one.id)
    assert row is not None
    assert row.state is Work.SUCCEEDED


async def test_an_error_in_the_block_arrives_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="mine"):
        async with making.owned_store(tmp_path):
            raise LookupError("mine")


async def test_the_bare_connection_does_not_survive_what_the_store_survives(tmp_path: Path) -> None:
    """Why the writer exists: the same storm on one shared connection leaves it inside a transaction."""
    rng = random.Random(0)
    async with aiosqlite.connect(tmp_path / "raw.db", isolation_level=None) as raw:
        await raw.execute("CREATE TABLE t (n INTEGER PRIMARY KEY)")
        await raw.execute("PRAGMA journal_mode = WAL")
        lock = anyio.Lock()

        async def submit(n: int) -> None:
            async with lock:
                await raw.execute("BEGIN IMMEDIATE")
                await raw.execute("INSERT INTO t VALUES (?)", (n,))
                await raw.commit()

        outcomes: list[Outcome] = []

        async def one(n: int) -> None:
            with anyio.move_on_after(rng.random() * 0.002) as scope:
                try:
                    await submit(n)
                except sqlite3.OperationalError as error:
                    outcomes.append(str(error))
            if scope.cancelled_caught:
                outcomes.append("cancelled")

        deadline = time.monotonic() + 20
        n = 0
        while not any("within a transaction" in str(outcome) for outcome in outcomes):
            assert time.monotonic() < deadline, (
                "the bare connection got better: is the writer needed?"
            )
            await one(n)
            n += 1
        await raw.rollback()
