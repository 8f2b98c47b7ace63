"""The questions that the store answers, each one or a few statements on the reading connection."""

import operator
from collections.abc import Collection, Mapping
from typing import Any, cast

from coordinator import changes, connection, rows, state, work, writing
from runtimes import base
from runtimes import state as runtime_state

_COLUMNS = ", ".join(writing.ITEM_COLUMNS)
_LIVE = frozenset(state.WorkState) - state.TERMINAL

ITEM = f"SELECT {_COLUMNS} FROM gpu_work_items WHERE id = :work_id"  # noqa: S608
BY_KEY = f"""
SELECT {_COLUMNS}, body_hash FROM gpu_work_items
WHERE owner = :owner AND idempotency_key = :key AND idempotency_key IS NOT NULL AND durability = 'stored'
"""  # noqa: S608

# A finished and a live item are never in one index, so each list is asked for in parts that are. A plain
# `WHERE state IN (...)` over the whole table would walk the history.
LIVE = f"""
SELECT {_COLUMNS} FROM gpu_work_items
WHERE ended_at IS NULL AND seq < :before_seq AND state IN (:state, :other_state)
    AND (:owner IS NULL OR owner = :owner)
ORDER BY seq DESC LIMIT :limit
"""  # noqa: S608
QUEUED = f"""
SELECT {_COLUMNS} FROM gpu_work_items WHERE ended_at IS NULL AND state = 'queued' ORDER BY seq
"""  # noqa: S608
ENDED = f"""
SELECT {_COLUMNS} FROM gpu_work_items
WHERE ended_at IS NOT NULL AND state = :state AND seq < :before_seq ORDER BY seq DESC LIMIT :limit
"""  # noqa: S608
ENDED_OF_OWNER = f"""
SELECT {_COLUMNS} FROM gpu_work_items
WHERE ended_at IS NOT NULL AND owner = :owner AND state = :state AND seq < :before_seq
ORDER BY seq DESC LIMIT :limit
"""  # noqa: S608

_OF_WORK = "work_seq = (SELECT seq FROM gpu_work_items WHERE id = :work_id)"
BODY = f"SELECT content FROM bodies WHERE {_OF_WORK}"  # noqa: S608
RESULT = f"SELECT content, content_type, truncated FROM results WHERE {_OF_WORK}"  # noqa: S608
EVENTS = f"SELECT n, at, before, after, reason, code FROM work_events WHERE {_OF_WORK} ORDER BY n"  # noqa: S608
RUNTIME_EVENTS = """
SELECT n, runtime, at, before, after, reason, exit_code, failure_class
FROM runtime_events ORDER BY n DESC LIMIT :limit
"""
PROCESSES = "SELECT runtime, pid, start_ticks, port, nonce FROM runtimes WHERE pid IS NOT NULL"
LEARNED = "SELECT runtime, kind, device, value FROM learned ORDER BY n"
SAMPLES = "SELECT runtime, kind, device, max(n) FROM learned GROUP BY runtime, kind, device"
SETTINGS = "SELECT key, value FROM settings"
TALLIES_EVER = "SELECT kind, sum(n) FROM tallies GROUP BY kind"
TALLIES_OF_DAY = "SELECT kind, n FROM tallies WHERE day = :day"

_LAST_SEQ = 2**63 - 1
_seq_of = operator.itemgetter(writing.ITEM_COLUMNS.index("seq"))


def to_item(row: connection.Row) -> work.WorkItem:
    """The work item that a row of `ITEM_COLUMNS` stands for."""
    values: dict[str, Any] = dict(zip(writing.ITEM_COLUMNS, row, strict=False))  # Any: see `Row`
    values["durability"] = work.Durability(values["durability"])
    values["state"] = state.WorkState(values["state"])
    return work.WorkItem(**values)


async def item(database: connection.Database, work_id: str) -> work.WorkItem | None:
    """One work item."""
    found = await database.rows(ITEM, {"work_id": work_id})
    return to_item(found[0]) if found else None


async def by_key(
    database: connection.Database, owner: str, key: str
) -> tuple[work.WorkItem, str] | None:
    """The stored item that this owner submitted under this key, with the hash of its body."""
    found = await database.rows(BY_KEY, {"owner": owner, "key": key})
    return (to_item(found[0]), found[0][-1] or "") if found else None


async def items(
    database: connection.Database,
    owner: str | None,
    states: Collection[state.WorkState] | None,
    limit: int,
    before_seq: int | None,
) -> tuple[work.WorkItem, ...]:
    """The newest items first, at most `limit` of them, older than `before_seq`."""
    wanted = frozenset(state.WorkState if states is None else states)
    parameters = {
        "owner": owner,
        "limit": limit,
        "before_seq": _LAST_SEQ if before_seq is None else before_seq,
    }
    found: list[connection.Row] = []
    if live := sorted(wanted & _LIVE):
        states_ = {"state": live[0], "other_state": live[-1]}
        found += await database.rows(LIVE, {**parameters, **states_})
    sql = ENDED if owner is None else ENDED_OF_OWNER
    for ended in sorted(wanted & state.TERMINAL):
        found += await database.rows(sql, {**parameters, "state": ended})
    found.sort(key=_seq_of, reverse=True)
    return tuple(map(to_item, found[:limit]))


async def queued(database: connection.Database) -> tuple[work.WorkItem, ...]:
    """All that waits, in the order of places in line."""
    return tuple(to_item(row) for row in await database.rows(QUEUED))


async def body(database: connection.Database, work_id: str) -> bytes | None:
    """The request that stored work will send, while it is kept."""
    return cast(bytes | None, await database.value(BODY, {"work_id": work_id}))


async def result(database: connection.Database, work_id: str) -> changes.ResultKept | None:
    """The answer of stored work, while it is kept."""
    found = await database.rows(RESULT, {"work_id": work_id})
    if not found:
        return None
    content, content_type, truncated = found[0]
    return changes.ResultKept(work_id, content, content_type, bool(truncated))


async def events(database: connection.Database, work_id: str) -> tuple[rows.EventRow, ...]:
    """Each transition of one item, oldest first."""
    return tuple(
        rows.EventRow(
            n, at, before and state.WorkState(before), state.WorkState(after), reason, code
        )
        for n, at, before, after, reason, code in await database.rows(EVENTS, {"work_id": work_id})
    )


async def runtime_events(
    database: connection.Database, limit: int
) -> tuple[rows.RuntimeEventRow, ...]:
    """The newest transitions of all runtimes, newest first."""
    of = runtime_state.RuntimeState
    return tuple(
        rows.RuntimeEventRow(n, runtime, at, of(before), of(after), *rest)
        for n, runtime, at, before, after, *rest in await database.rows(
            RUNTIME_EVENTS, {"limit": limit}
        )
    )


async def processes(database: connection.Database) -> Mapping[str, base.ProcessRecord]:
    """The engines that were there when this was last written, by runtime."""
    return {
        runtime: base.ProcessRecord(*record) for runtime, *record in await database.rows(PROCESSES)
    }


async def learned(database: connection.Database) -> Mapping[str, rows.LearnedRow]:
    """The samples that are kept, by runtime."""
    samples: dict[str, dict[str, list[float]]] = {}
    footprints: dict[str, dict[str, int]] = {}
    for runtime, kind, device, value in await database.rows(LEARNED):
        of_runtime = samples.setdefault(runtime, {})
        if kind == "footprint_bytes":
            footprints.setdefault(runtime, {})[device] = int(value)
        else:
            of_runtime.setdefault(kind, []).append(value)
    return {
        runtime: rows.LearnedRow(
            footprint_bytes=footprints.get(runtime, {}),
            **{kind: tuple(values) for kind, values in kinds.items()},
        )
        for runtime, kinds in samples.items()
    }


async def samples(database: connection.Database) -> Mapping[tuple[str, str, str], int]:
    """How many samples there have been, by runtime, kind and device."""
    return {(runtime, kind, device): n for runtime, kind, device, n in await database.rows(SAMPLES)}


async def settings(database: connection.Database) -> Mapping[str, str]:
    """The durable switches."""
    return dict(cast(list[tuple[str, str]], await database.rows(SETTINGS)))


async def counts(database: connection.Database, day: str) -> tuple[dict[str, int], dict[str, int]]:
    """What ended and was swapped on this day, and ever."""
    today = dict(cast(list[tuple[str, int]], await database.rows(TALLIES_OF_DAY, {"day": day})))
    ever = dict(cast(list[tuple[str, int]], await database.rows(TALLIES_EVER)))
    return today, ever
