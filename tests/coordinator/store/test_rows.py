"""What becomes of a row, from its admission to its end."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from coordinator import changes, refusals, settings, state, store, work
from runtimes import base
from tests.coordinator.store import making
from tests.coordinator.store.making import Runtime, Work


async def test_a_life_is_one_event_row_a_transition(tmp_path: Path) -> None:
    one = making.item()
    async with making.owned_store(tmp_path) as store_:
        for change in making.lived(one, output_tokens=7):
            store_.note(change)
        row = await store_.item(one.id)
        events = await store_.events(one.id)

    assert row is not None
    assert (row.state, row.attempts, row.output_tokens) == (Work.SUCCEEDED, 1, 7)
    assert row.started_at is not None
    assert row.ended_at is not None
    assert [(event.before, event.after, event.reason) for event in events] == [
        (None, Work.QUEUED, "admitted"),
        (Work.QUEUED, Work.RUNNING, "granted"),
        (Work.RUNNING, Work.SUCCEEDED, "succeeded"),
    ]


async def test_a_row_comes_back_as_it_was_admitted(tmp_path: Path) -> None:
    one = making.job(
        priority=80, max_queue_wait_s=3.5, run_timeout_s=9.0, max_attempts=3,
        idempotency_key="k", prompt_tokens=100,
    )  # fmt: skip
    async with making.owned_store(tmp_path) as store_:
        await store_.commit(changes.Enqueued(one, b"{}", "hash"))
        assert await store_.item(one.id) == one
        assert await store_.body(one.id) == b"{}"


async def test_a_commit_is_whole_or_not_at_all(tmp_path: Path) -> None:
    first, second = making.item(), making.item()
    async with making.owned_store(tmp_path) as store_:
        with pytest.raises(refusals.ChangeRefused, match="starts from"):
            await store_.commit(changes.Enqueued(first), making.ended(second))
        assert await store_.item(first.id) is None


async def test_a_refused_commit_harms_nobody_in_its_group(tmp_path: Path) -> None:
    good = [making.job() for _ in range(5)]
    bad = making.job(alias="\ud800")
    huge = making.job(prompt_tokens=2**70)
    refused: list[str] = []

    async with making.owned_store(tmp_path) as store_:

        async def submit(one: work.WorkItem) -> None:
            try:
                await store_.commit(changes.Enqueued(one))
            except refusals.ChangeRefused:
                refused.append(one.id)

        async with anyio.create_task_group() as tasks:
            for one in [*good[:2], bad, huge, *good[2:]]:
                tasks.start_soon(submit, one)
        found = {row.id for row in await store_.items(None, None, 10)}
        assert store_.healthy

    assert sorted(refused) == sorted([bad.id, huge.id])
    assert found == {one.id for one in good}


async def test_an_end_is_final(tmp_path: Path) -> None:
    one = making.item()
    async with making.owned_store(tmp_path) as store_:
        await store_.commit(*making.lived(one))
        for late in (
            making.granted(one),
            making.ended(one, Work.CANCELLED),
            making.moved(one, Work.SUCCEEDED, Work.FAILED),
        ):
            with pytest.raises(refusals.ChangeRefused):
                await store_.commit(late)
        row = await store_.item(one.id)
    assert row is not None
    assert row.state is Work.SUCCEEDED


async def test_the_database_allows_exactly_the_transitions_of_the_table(tmp_path: Path) -> None:
    legal = {(before, after) for (before, _), after in state.TRANSITIONS.items()}
    ways: dict[Work, tuple[Work, ...]] = {
        Work.QUEUED: (),
        Work.RUNNING: (Work.RUNNING,),
        **{end: (Work.RUNNING, end) for end in state.TERMINAL},
    }
    allowed: set[tuple[Work, Work]] = set()
    async with making.owned_store(tmp_path) as store_:
        for before, way in ways.items():
            for after in set(Work) - {before}:
                one = making.item()
                await store_.commit(changes.Enqueued(one))
                at = Work.QUEUED
                for step in way:
                    await store_.commit(making.moved(one, at, step))
                    at = step
                try:
                    await store_.commit(making.moved(one, before, after))
                except refusals.ChangeRefused:
                    continue
                allowed.add((before, after))
    assert allowed == legal


@pytest.mark.parametrize(
    ("assignment", "constraint"),
    [
        ("state = 'succeeded', lease = NULL", "terminal_has_an_end"),
        ("ended_at = 1.0", "terminal_has_an_end"),
        ("lease = NULL", "running_is_leased"),
        ("state = 'queued', started_at = NULL", "running_is_leased"),
        ("started_at = NULL", "running_has_started"),
        ("attempts = 0", "running_has_started"),
        ("state = 'queued', lease = NULL", "queued_has_not_started"),
        (
            "state = 'succeeded', lease = NULL, ended_at = 1.0, started_at = NULL",
            "succeeded_has_run",
        ),
        ("state = 'failed', lease = NULL, ended_at = 1.0", "failed_says_why"),
        ("state = 'waiting'", "CHECK constraint failed"),
    ],
)
async def test_the_database_itself_refuses_what_makes_no_sense(
    tmp_path: Path, assignment: str, constraint: str
) -> None:
    async with making.owned_store(tmp_path) as store_:
        one = making.item()
        await store_.commit(changes.Enqueued(one), making.granted(one))
    with (
        closing(sqlite3.connect(tmp_path / "queue.db")) as raw,
        pytest.raises(sqlite3.IntegrityError, match=constraint),
    ):
        raw.execute("UPDATE gpu_work_items SET " + assignment)  # noqa: S608 - the rows above


async def test_noted_and_committed_changes_of_one_item_keep_their_order(tmp_path: Path) -> None:
    one = making.job(max_attempts=9)
    async with making.owned_store(tmp_path) as store_:
        store_.note(changes.Enqueued(one, b"{}", "h"))
        for _ in range(5):
            store_.note(making.granted(one))
            await store_.commit(making.moved(one, Work.RUNNING, Work.QUEUED, reason="given_back"))
        store_.note(making.granted(one))
        store_.note(changes.CancelRequested(one.id, 5.0))
        await store_.commit(making.ended(one, Work.CANCELLED, code="cancelled"))
        row = await store_.item(one.id)
        events = await store_.events(one.id)

    assert row is not None
    assert (row.state, row.attempts, row.cancel_requested_at) == (Work.CANCELLED, 6, 5.0)
    assert [event.n for event in events] == list(range(1, 14))


async def test_one_key_of_one_owner_is_one_job(tmp_path: Path) -> None:
    jobs = [making.job(idempotency_key="again", owner="a") for _ in range(50)]
    taken = 0

    async with making.owned_store(tmp_path) as store_:

        async def submit(one: work.WorkItem) -> None:
            nonlocal taken
            try:
                await store_.commit(changes.Enqueued(one, b"{}", f"hash of {one.id}"))
            except refusals.KeyTaken:
                taken += 1

        async with anyio.create_task_group() as tasks:
            for one in jobs:
                tasks.start_soon(submit, one)
        known = await store_.by_key("a", "again")
        await store_.commit(changes.Enqueued(making.job(idempotency_key="again", owner="b")))
        rows = await store_.items("a", None, 100)

    assert taken == 49
    assert known is not None
    assert known[1] == f"hash of {known[0].id}"
    assert [row.id for row in rows] == [known[0].id]


async def test_connection_work_may_reuse_a_key(tmp_path: Path) -> None:
    async with making.owned_store(tmp_path) as store_:
        for _ in range(2):
            await store_.commit(*making.lived(making.item(idempotency_key="again")))
        assert len(await store_.items(None, {Work.SUCCEEDED}, 10)) == 2


async def test_an_answer_is_kept_with_its_end(tmp_path: Path) -> None:
    one = making.job()
    kept = changes.ResultKept(one.id, b"\x00answer", "application/json", truncated=True)
    async with making.owned_store(tmp_path) as store_:
        await store_.commit(changes.Enqueued(one), making.granted(one))
        assert await store_.result(one.id) is None
        await store_.commit(kept, making.ended(one))
        assert await store_.result(one.id) == kept


async def test_lists_are_newest_first_filtered_and_paged(tmp_path: Path) -> None:
    items = [making.item(owner="a" if n % 2 else "b") for n in range(20)]
    async with making.owned_store(tmp_path) as store_:
        for n, one in enumerate(items):
            store_.note(changes.Enqueued(one))
            if n >= 4:
                store_.note(making.granted(one))
            if n >= 8:
                store_.note(making.ended(one, (*state.TERMINAL,)[n % 3]))

        async def ids(*asked: object, **also: int) -> list[int]:
            return [row.seq for row in await store_.items(*asked, **also)]  # type: ignore[arg-type]

        seqs = [one.seq for one in items]
        assert await ids(None, None, 100) == seqs[::-1]
        assert await ids("a", None, 100) == seqs[1::2][::-1]
        assert await ids(None, {Work.QUEUED}, 100) == seqs[3::-1]
        assert await ids("a", {Work.QUEUED, Work.RUNNING}, 100) == [seqs[n] for n in (7, 5, 3, 1)]
        assert await ids(None, None, 3, before_seq=seqs[10]) == seqs[9:6:-1]
        assert await ids("nobody", None, 3) == []
        assert await ids(None, [], 3) == []


async def test_runtimes_keep_what_identifies_their_process_until_it_is_gone(tmp_path: Path) -> None:
    process = base.ProcessRecord(pid=77, start_ticks=123, port=4001, nonce="abc")
    steps = [
        (Runtime.STOPPED, Runtime.STARTING, None),
        (Runtime.STARTING, Runtime.STARTING, process),
        (Runtime.STARTING, Runtime.READY, None),
    ]

    async def move(store_: store.Store, *step: object, **also: object) -> None:
        before, after, record = step
        await store_.commit(
            changes.RuntimeMoved("r", before, after, time.time(), "why", record, **also)  # type: ignore[arg-type]
        )

    async with making.owned_store(tmp_path) as store_:
        for step in steps:
            await move(store_, *step)
    async with making.owned_store(tmp_path) as store_:
        assert (await store_.take_over()).processes == {"r": process}
        await move(
            store_, Runtime.UNKNOWN, Runtime.SETTLING, None, exit_code=1, failure_class="oom"
        )
        await move(store_, Runtime.SETTLING, Runtime.STOPPED, None)
        assert (await store_.take_over()).processes == {}
        newest, *_ = await store_.runtime_events(10)
        failed = [event for event in await store_.runtime_events(10) if event.failure_class]
    assert newest.reason == "takeover"
    assert [(event.after, event.exit_code) for event in failed] == [(Runtime.SETTLING, 1)]


async def test_what_was_learned_comes_back_and_does_not_grow(tmp_path: Path) -> None:
    async with making.owned_store(tmp_path) as store_:
        for n in range(100):
            store_.note(changes.Learned("r", time.time(), load_s=float(n), footprint_bytes=n))
        store_.note(changes.Learned("r", time.time(), footprint_bytes=7, device="cuda:1"))
        store_.note(changes.Learned("other", time.time(), run_s=2.5))
    async with making.owned_store(tmp_path) as store_:
        store_.note(changes.Learned("r", time.time(), load_s=100.0))
    async with making.owned_store(tmp_path) as store_:
        learned = (await store_.take_over()).learned
    assert learned["r"].load_s == tuple(float(n) for n in range(69, 101))
    assert learned["r"].footprint_bytes == {"pool": 99, "cuda:1": 7}
    assert learned["other"].run_s == (2.5,)
    assert learned["other"].load_s == ()


async def test_counts_agree_with_the_rows_and_outlive_the_process(tmp_path: Path) -> None:
    async with making.owned_store(tmp_path) as store_:
        for end in (Work.SUCCEEDED, Work.SUCCEEDED, Work.CANCELLED):
            one = making.item()
            store_.note(changes.Enqueued(one))
            store_.note(making.granted(one))
            store_.note(making.ended(one, end))
        last_week = making.item()
        long_ago = time.time() - 7 * 86400
        store_.note(changes.Enqueued(last_week))
        store_.note(making.granted(last_week))
        store_.note(making.ended(last_week, at=long_ago))
        swap = changes.RuntimeMoved("r", Runtime.READY, Runtime.STOPPING, time.time(), "swap_to:b")
        await store_.commit(swap)
        live = store_.counts()
    async with making.owned_store(tmp_path) as store_:
        stored = store_.counts()
    assert live == stored
    assert live.today == {"succeeded": 2, "cancelled": 1, "swap": 1}
    assert live.ever == {"succeeded": 3, "cancelled": 1, "swap": 1}


async def test_today_begins_anew_with_the_day(tmp_path: Path) -> None:
    now = time.time()
    async with store.Store.open(
        tmp_path, settings.CoordinatorSettings(), wall=lambda: now
    ) as store_:
        await store_.take_over()
        await store_.commit(*making.lived(making.item(), at=now))
        assert store_.counts().today == {"succeeded": 1}
        now += 86400
        assert store_.counts().today == {}
        await store_.commit(*making.lived(making.item(), at=now))
        assert (store_.counts().today, store_.counts().ever) == (
            {"succeeded": 1},
            {"succeeded": 2},
        )


async def test_switches_keep_their_last_value(tmp_path: Path) -> None:
    async with making.owned_store(tmp_path) as store_:
        for value in ("true", "false", "true"):
            store_.note(changes.Setting("paused", value))
    async with making.owned_store(tmp_path) as store_:
        assert (await store_.take_over()).settings == {"paused": "true"}


async def test_nothing_is_written_before_the_takeover(tmp_path: Path) -> None:
    async with store.Store.open(tmp_path, settings.CoordinatorSettings()) as store_:
        with pytest.raises(RuntimeError, match="take_over"):
            await store_.commit(changes.Setting("a", "b"))
        with pytest.raises(RuntimeError, match="take_over"):
            await store_.prune()
        store_.note(changes.Setting("a", "b"))
        assert (await store_.take_over()).settings == {}


async def test_opening_and_closing_says_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        async with store.Store.open(tmp_path, settings.CoordinatorSettings()):
            pass
        async with making.owned_store(tmp_path) as store_:
            await store_.commit(changes.Setting("a", "b"))
    assert caplog.records == []
