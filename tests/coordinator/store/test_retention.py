"""What is dropped, what is not, and what comes back to the disk."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from coordinator import changes, retention, settings, store
from tests.coordinator.store import making
from tests.coordinator.store.making import Runtime, Work

DAY = 86400.0
HOUR_KEPT = settings.CoordinatorSettings(history_s=3600.0)
WEEK_KEPT = settings.CoordinatorSettings()


async def answered(store_: store.Store, ago_s: float, **given: str) -> str:
    """A job that ended some time ago, with its body and its answer."""
    one = making.job(**given)
    at = time.time() - ago_s
    await store_.commit(changes.Enqueued(one, b"{}", "hash"), making.granted(one))
    await store_.commit(
        changes.ResultKept(one.id, b"answer", "text/plain", truncated=False),
        making.ended(one, at=at),
    )
    return one.id


async def kept(store_: store.Store, work_id: str) -> tuple[bool, bool, bool]:
    """Whether its row, its body and its answer are there."""
    return (
        await store_.item(work_id) is not None,
        await store_.body(work_id) is not None,
        await store_.result(work_id) is not None,
    )


async def test_history_goes_by_age_and_bodies_go_first(tmp_path: Path) -> None:
    async with making.owned_store(tmp_path, WEEK_KEPT) as store_:
        old, young = await answered(store_, 8 * DAY), await answered(store_, 6 * DAY)
        waiting, running = making.job(created_at=1.0), making.job(created_at=1.0)
        await store_.commit(changes.Enqueued(waiting, b"{}"), changes.Enqueued(running, b"{}"))
        await store_.commit(making.granted(running))
        assert await kept(store_, young) == (True, True, True)

        assert await store_.prune() == 1
        assert await kept(store_, old) == (False, False, False)
        assert await store_.events(old) == ()
        assert await kept(store_, young) == (True, False, True)
        assert await kept(store_, waiting.id) == (True, True, False)
        assert await kept(store_, running.id) == (True, True, False)


async def test_a_key_is_known_for_a_day_however_short_the_history(tmp_path: Path) -> None:
    async with making.owned_store(tmp_path, HOUR_KEPT) as store_:
        keyed = await answered(store_, 2 * 3600, idempotency_key="k")
        bare = await answered(store_, 2 * 3600)
        yesterdays = await answered(store_, 25 * 3600, idempotency_key="old")
        assert await store_.prune() == 2
        # Its answer is history like any other.
        assert await kept(store_, keyed) == (True, False, False)
        assert await kept(store_, bare) == (False, False, False)
        assert await kept(store_, yesterdays) == (False, False, False)
        known = await store_.by_key("key-1", "k")
    assert known is not None
    assert known[1] == "hash"


async def test_rows_beyond_the_limit_go_whatever_their_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ROWS_KEPT", 5)
    monkeypatch.setattr(retention, "PAUSE_S", 0.0)
    items = [making.item() for _ in range(12)]
    async with making.owned_store(tmp_path) as store_:
        for one in items[1:]:
            store_.note(*making.lived(one))
        store_.note(changes.Enqueued(items[0]))
        assert await store_.prune() == 6
        left = await store_.items(None, None, 100)
    assert [row.seq for row in left] == [one.seq for one in reversed([items[0], *items[7:]])]


async def test_large_answers_go_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH_BYTES", 20)
    monkeypatch.setattr(retention, "PAUSE_S", 0.0)
    batches: list[list[int]] = []
    fitting = retention._fitting

    def seen(found: list[tuple[int, int]]) -> list[int]:
        batches.append(fitting(found))
        return batches[-1]

    monkeypatch.setattr(retention, "_fitting", seen)
    async with making.owned_store(tmp_path) as store_:
        ids = [await answered(store_, 8 * DAY) for _ in range(8)]
        assert await store_.prune() == 8
        assert {await kept(store_, work_id) for work_id in ids} == {(False, False, False)}
    # Bodies of 2 bytes in one batch; answers of 6 bytes by threes; rows in one.
    assert [len(batch) for batch in batches if batch] == [8, 3, 3, 2, 8]


async def test_pruned_space_goes_back_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PAUSE_S", 0.0)
    monkeypatch.setattr(retention, "FREE_PAGES_KEPT", 100)
    async with making.owned_store(tmp_path) as store_:
        for _ in range(40):
            one = making.job()
            await store_.commit(changes.Enqueued(one, b"x" * 50_000, "h"))
            await store_.commit(making.granted(one), making.ended(one))
    full = (tmp_path / "queue.db").stat().st_size
    async with making.owned_store(tmp_path) as store_:
        await store_.prune()
    # What is kept free for what comes next, and the tables themselves.
    assert 100 * 4096 < (tmp_path / "queue.db").stat().st_size < full / 3


async def test_pruning_ends_where_space_cannot_be_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "FREE_PAGES_KEPT", 0)
    async with making.owned_store(tmp_path) as store_:
        await answered(store_, 8 * DAY)
    with closing(sqlite3.connect(tmp_path / "queue.db", isolation_level=None)) as raw:
        raw.executescript("PRAGMA journal_mode = DELETE; PRAGMA auto_vacuum = NONE; VACUUM;")
    with anyio.fail_after(20):
        async with making.owned_store(tmp_path) as store_:
            assert await store_.prune() == 1


async def test_old_runtime_events_go_too(tmp_path: Path) -> None:
    async with making.owned_store(tmp_path) as store_:
        for ago_s in (9 * DAY, 8 * DAY, DAY):
            await store_.commit(
                changes.RuntimeMoved(
                    "r", Runtime.READY, Runtime.STOPPING, time.time() - ago_s, "swap_to:b"
                )
            )
        assert await store_.prune() == 0
        assert len(await store_.runtime_events(10)) == 1
        assert store_.counts().ever == {"swap": 3}


async def test_counts_do_not_forget_what_was_pruned(tmp_path: Path) -> None:
    async with making.owned_store(tmp_path) as store_:
        await answered(store_, 8 * DAY)
        await store_.prune()
    async with making.owned_store(tmp_path) as store_:
        assert store_.counts().ever == {str(Work.SUCCEEDED): 1}
        assert store_.counts().today == {}
