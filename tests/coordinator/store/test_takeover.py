"""What a new owner makes of the rows of the last one."""

import time
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from coordinator import changes, errors, settings, store, takeover, work
from runtimes import base
from tests.coordinator.store import making
from tests.coordinator.store.making import Runtime, Work


async def states_of(
    store_: store.Store, items: Sequence[work.WorkItem]
) -> list[tuple[Work, str | None]]:
    """Where each item is, and why."""
    found = [await store_.item(one.id) for one in items]
    return [(one.state, one.code) for one in found if one is not None]


async def test_work_of_clients_is_interrupted_and_stored_work_goes_on(tmp_path: Path) -> None:
    waiting, running = making.item(), making.item()
    queued, attempted, used_up, done = (making.job(max_attempts=n) for n in (1, 3, 1, 1))
    async with making.owned_store(tmp_path) as store_:
        for one in (waiting, running, queued, attempted, used_up, done):
            store_.note(changes.Enqueued(one))
        for one in (running, attempted, used_up, done):
            store_.note(making.granted(one))
        await store_.commit(making.ended(done))

        recovered = await store_.take_over()
        found = await states_of(store_, (waiting, running, queued, attempted, used_up, done))
        again = await store_.item(attempted.id)
        events = await store_.events(attempted.id)

    assert found == [
        (Work.FAILED, "interrupted"),
        (Work.FAILED, "interrupted"),
        (Work.QUEUED, None),
        (Work.QUEUED, None),
        (Work.FAILED, "interrupted"),
        (Work.SUCCEEDED, None),
    ]
    assert [one.id for one in recovered.queued] == [queued.id, attempted.id]
    assert (recovered.interrupted, recovered.given_back) == (3, 1)
    assert again is not None
    assert (again.attempts, again.started_at, again.seq) == (1, None, attempted.seq)
    assert [(event.after, event.reason) for event in events][-1] == (Work.QUEUED, "interrupted")


async def test_what_was_being_cancelled_is_cancelled(tmp_path: Path) -> None:
    waiting, running, of_client = making.job(), making.job(max_attempts=3), making.item()
    async with making.owned_store(tmp_path) as store_:
        for one in (waiting, running, of_client):
            store_.note(changes.Enqueued(one), changes.CancelRequested(one.id, 1.0))
        await store_.commit(making.granted(running))
        assert (await store_.take_over()).queued == ()
        found = await states_of(store_, (waiting, running, of_client))
    assert found == [(Work.CANCELLED, None), (Work.CANCELLED, None), (Work.FAILED, "interrupted")]


async def test_places_in_line_go_on_where_they_ended(tmp_path: Path) -> None:
    async with making.owned_store(tmp_path) as store_:
        await store_.commit(*making.lived(making.item(seq=41), at=1.0))
        first = await store_.take_over()
        assert first.next_seq == 42
        assert await store_.prune() == 1
        assert (await store_.take_over()).next_seq == 42


async def test_the_line_keeps_its_order_over_restarts(tmp_path: Path) -> None:
    jobs = [making.job(priority=n % 3 * 10) for n in range(30)]
    async with making.owned_store(tmp_path) as store_:
        for one in jobs:
            store_.note(changes.Enqueued(one))
        store_.note(changes.Reprioritised(jobs[3].id, 99, time.time()))
    async with making.owned_store(tmp_path) as store_:
        recovered = await store_.take_over()
    assert [one.seq for one in recovered.queued] == [one.seq for one in jobs]
    assert recovered.queued[3].priority == 99


async def test_engines_are_to_be_looked_for(tmp_path: Path) -> None:
    process = base.ProcessRecord(5, 6, 7, "n")
    async with making.owned_store(tmp_path) as store_:
        await store_.commit(
            changes.RuntimeMoved(
                "r", Runtime.STOPPED, Runtime.STARTING, time.time(), "start", process
            )
        )
        recovered = await store_.take_over()
        event, *_ = await store_.runtime_events(1)
    assert recovered.processes == {"r": process}
    assert (event.before, event.after) == (Runtime.STARTING, Runtime.UNKNOWN)


async def test_each_takeover_is_a_new_epoch(tmp_path: Path) -> None:
    epochs = []
    for _ in range(3):
        async with store.Store.open(tmp_path, settings.CoordinatorSettings()) as store_:
            epochs.append((await store_.take_over()).epoch)
    assert epochs == [1, 2, 3]


async def test_a_takeover_that_fails_halfway_has_taken_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = making.item()
    async with making.owned_store(tmp_path) as store_:
        await store_.commit(changes.Enqueued(one), making.granted(one))
        with monkeypatch.context() as broken:
            broken.setattr(takeover, "FORGET_STATES", "UPDATE no_such_table SET a = 1")
            with pytest.raises(errors.StorageUnavailable):
                await store_.take_over()
        # Still the owner of its old epoch.
        await store_.commit(making.ended(one))
        assert await states_of(store_, [one]) == [(Work.SUCCEEDED, None)]
        assert (await store_.take_over()).epoch == 2


@pytest.mark.parametrize("first", ["commit", "note", "prune"])
async def test_an_owner_that_slept_through_a_takeover_writes_nothing(
    tmp_path: Path, first: str
) -> None:
    """The lock file was removed under it, which is how a stuck owner is pushed aside."""
    mine, late = making.job(), making.job()
    with anyio.fail_after(30):
        async with making.owned_store(tmp_path) as old:
            await old.commit(changes.Enqueued(mine, b"{}", "h"))
            (tmp_path / "queue.lock").unlink()
            async with making.owned_store(tmp_path) as new:
                match first:
                    case "note":
                        old.note(making.granted(mine), changes.Enqueued(late))
                        await old.ownership_lost()
                    case "prune":
                        await new.commit(making.granted(mine), making.ended(mine))
                        with pytest.raises(errors.OwnershipLost):
                            await old.prune()
                    case _:
                        with pytest.raises(errors.OwnershipLost):
                            await old.commit(making.granted(mine))
                assert not old.healthy
                assert "took over" in str(old.problem)
                for change in (changes.Setting("a", "b"), changes.Enqueued(late)):
                    old.note(change)
                    with pytest.raises(errors.OwnershipLost):
                        await old.commit(change)
                assert (await old.ownership_lost()).epoch == 1
                assert await new.item(late.id) is None
                assert await new.body(mine.id) == b"{}"
                await new.commit(changes.Setting("a", "new"))


async def test_a_slept_through_takeover_is_noticed_by_every_kind_of_change(tmp_path: Path) -> None:
    one = making.job()
    every: list[changes.Change] = [
        changes.Enqueued(making.item()),
        making.granted(one),
        changes.CancelRequested(one.id, 1.0),
        changes.Reprioritised(one.id, 1, 1.0),
        changes.ResultKept(one.id, b"", "text/plain", truncated=False),
        changes.RuntimeMoved("r", Runtime.STOPPED, Runtime.STARTING, 1.0, "start"),
        changes.Learned("r", 1.0, load_s=1.0),
        changes.Setting("a", "b"),
    ]
    assert {type(change) for change in every} == set(changes.Change.__args__)
    for n, change in enumerate(every):
        state_dir = tmp_path / str(n)
        async with making.owned_store(state_dir) as old:
            await old.commit(changes.Enqueued(one))
            (state_dir / "queue.lock").unlink()
            async with making.owned_store(state_dir) as new:
                with pytest.raises(errors.OwnershipLost):
                    await old.commit(change)
                assert [row.state for row in await new.items(None, None, 9)] == [Work.QUEUED]
                assert (await new.take_over()).settings == {}
