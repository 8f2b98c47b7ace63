"""A long history does not slow the queue down: each statement finds its rows by an index."""

import re
import sqlite3
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from coordinator import changes, migrate, reading, retention, settings, takeover, work, writing
from tests.coordinator.store import history, making
from tests.coordinator.store.making import Work

HISTORY = 100_000

# What each statement that touches a table with a history goes by.
PLANS = {
    reading.ITEM: ["SEARCH gpu_work_items USING INDEX sqlite_autoindex_gpu_work_items_1 (id=?)"],
    reading.BY_KEY: [
        "SEARCH gpu_work_items USING INDEX one_stored_item_a_key (owner=? AND idempotency_key=?)"
    ],
    reading.LIVE: ["SEARCH gpu_work_items USING INDEX live_work (seq<?)"],
    reading.QUEUED: ["SCAN gpu_work_items USING INDEX live_work"],
    reading.ENDED: ["SEARCH gpu_work_items USING INDEX ended_work (state=? AND seq<?)"],
    reading.ENDED_OF_OWNER: [
        "SEARCH gpu_work_items USING INDEX ended_work_of_owner (owner=? AND state=? AND seq<?)"
    ],
    reading.RUNTIME_EVENTS: ["SCAN runtime_events"],
    takeover.FINISH_CANCELS: ["SCAN gpu_work_items USING INDEX live_work"],
    takeover.INTERRUPT: ["SCAN gpu_work_items USING INDEX live_work"],
    takeover.GIVE_BACK: ["SCAN gpu_work_items USING INDEX live_work"],
    writing.MOVE: ["SEARCH gpu_work_items USING INDEX sqlite_autoindex_gpu_work_items_1 (id=?)"],
    writing.REQUEST_CANCEL: [
        "SEARCH gpu_work_items USING INDEX sqlite_autoindex_gpu_work_items_1 (id=?)"
    ],
    writing.REPRIORITISE: [
        "SEARCH gpu_work_items USING INDEX sqlite_autoindex_gpu_work_items_1 (id=?)"
    ],
    retention.OLD_WORK: [
        "SEARCH gpu_work_items USING INDEX ended_work_by_age (ended_at>? AND ended_at<?)"
    ],
    retention.OLD_RESULTS: [
        "SEARCH gpu_work_items USING COVERING INDEX ended_work_by_age (ended_at>? AND ended_at<?)",
        "SEARCH results USING INTEGER PRIMARY KEY (rowid=?)",
    ],
    retention.ENDED_BODIES: [
        "SCAN bodies",
        "SEARCH gpu_work_items USING INTEGER PRIMARY KEY (rowid=?)",
    ],
    retention.EXCESS_WORK: ["SEARCH gpu_work_items USING INTEGER PRIMARY KEY (rowid<?)"],
    retention.DROP_WORK: ["SEARCH gpu_work_items USING INTEGER PRIMARY KEY (rowid=?)"],
}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory with a long history and a little that lives."""
    state_dir = tmp_path_factory.mktemp("large")
    history.write(state_dir, HISTORY, live=40)
    return state_dir


@pytest.fixture
def raw(large: Path) -> Generator[sqlite3.Connection]:
    """The same database, for looking."""
    with closing(sqlite3.connect(large / "queue.db")) as raw:
        yield raw


NAMES = {
    sql: f"{module.__name__.rpartition('.')[2]}.{name}"
    for module in (reading, writing, takeover, retention)
    for name, sql in vars(module).items()
    if name.isupper() and isinstance(sql, str)
}


@pytest.mark.parametrize("sql", PLANS, ids=NAMES.get)
def test_each_statement_goes_by_its_index(raw: sqlite3.Connection, sql: str) -> None:
    parameters = dict.fromkeys(re.findall(r":(\w+)", sql), 1)
    plan = [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]
    for step in PLANS[sql]:
        assert step in plan, plan
    assert "SCAN gpu_work_items" not in plan
    assert not [step for step in plan if "TEMP B-TREE" in step]


def test_every_statement_with_a_history_is_looked_at() -> None:
    statements = {sql for sql in NAMES if " gpu_work_items" in sql}
    by_id_only = {reading.BODY, reading.RESULT, reading.EVENTS, writing.KEEP_RESULT}
    inserts = {writing.ENQUEUE}
    assert statements - by_id_only - inserts - {takeover.LAST_SEQ, reading._OF_WORK} <= PLANS.keys()


async def test_a_long_history_is_pruned_in_batches_while_others_write(large: Path) -> None:
    keep = settings.CoordinatorSettings(history_s=history.AGE_S * 0.95)
    pruned: list[int] = []
    written: list[work.WorkItem] = []

    async with making.owned_store(large, keep) as store_:
        before = store_.counts()

        async def prune() -> None:
            pruned.append(await store_.prune())

        with anyio.fail_after(55):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(prune)
                while not pruned:
                    one = making.job(seq=2 * HISTORY + len(written))
                    await store_.commit(changes.Enqueued(one, b"{}", "h"))
                    written.append(one)
                    assert await store_.items(None, {Work.SUCCEEDED}, 20)
        assert store_.counts() == before
        pruned.append(await store_.prune())

    # A twentieth is too old; what ends a moment after it was admitted is a moment younger.
    assert 0.99 * HISTORY / 20 < pruned[0] <= HISTORY / 20
    assert pruned[1] < HISTORY / 1000, "the first one left much behind"
    assert len(written) > pruned[0] / retention.BATCH_ROWS, "the writer waited for the pruner"
    with closing(sqlite3.connect(large / "queue.db")) as raw:
        ((ended,),) = raw.execute("SELECT count(*) FROM gpu_work_items WHERE ended_at IS NOT NULL")
        ((orphans,),) = raw.execute(
            "SELECT count(*) FROM work_events WHERE work_seq NOT IN (SELECT seq FROM gpu_work_items)"
        )
    assert (ended, orphans) == (sum(before.ever.values()) - sum(pruned), 0)


def test_the_history_is_written_at_the_schema_of_this_release(raw: sqlite3.Connection) -> None:
    assert raw.execute("PRAGMA user_version").fetchone() == (migrate.known()[-1].version,)
