"""Dropping what is old, a little at a time, so that nobody who writes meanwhile has to wait for it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import anyio

from coordinator import connection, errors, failpoints, journal, writing

BATCH_ROWS = 200
# Freed pages are written too: many large answers in one transaction would be as slow as many rows.
BATCH_BYTES = 16 * 1024 * 1024
# Between batches, so that what is waiting gets its turn and the disk its rest.
PAUSE_S = 0.05
# An idempotency key outlives a shorter history: a client may repeat itself for a day.
KEY_KEPT_S = 86400.0
# Whatever their age: beyond this the file is large for a history that nobody reads.
ROWS_KEPT = 1_000_000
# Room for what comes next, 4 KiB a page: to give that back and take it again would be work for nothing.
FREE_PAGES_KEPT = 4096
VACUUM_PAGES = 200
FREE_PAGES = "PRAGMA freelist_count"

# Never in the order of age over the whole table, always from an index's old end.
ENDED_BODIES = """
SELECT work_seq, length(content) FROM bodies
WHERE (SELECT ended_at FROM gpu_work_items WHERE seq = work_seq) IS NOT NULL LIMIT :limit
"""
OLD_RESULTS = """
SELECT work_seq, length(content) FROM gpu_work_items CROSS JOIN results ON work_seq = seq
WHERE ended_at IS NOT NULL AND ended_at < :cutoff ORDER BY ended_at LIMIT :limit
"""
OLD_WORK = """
SELECT seq, 0 FROM gpu_work_items
WHERE ended_at IS NOT NULL AND ended_at < :cutoff
    AND (idempotency_key IS NULL OR ended_at < :key_cutoff)
ORDER BY ended_at LIMIT :limit
"""
EXCESS_WORK = """
SELECT seq, 0 FROM gpu_work_items
WHERE seq <= (SELECT max(seq) FROM gpu_work_items) - :kept AND ended_at IS NOT NULL
    AND (idempotency_key IS NULL OR ended_at < :key_cutoff)
ORDER BY seq LIMIT :limit
"""
OLD_RUNTIME_EVENTS = """
SELECT n, 0 FROM (SELECT n, at FROM runtime_events ORDER BY n LIMIT :limit) WHERE at < :cutoff
"""

DROP_BODY = "DELETE FROM bodies WHERE work_seq = :key"
DROP_RESULT = "DELETE FROM results WHERE work_seq = :key"
DROP_WORK = "DELETE FROM gpu_work_items WHERE seq = :key AND ended_at IS NOT NULL"
DROP_RUNTIME_EVENT = "DELETE FROM runtime_events WHERE n = :key"


@dataclass(frozen=True, slots=True)
class _Sweep:
    find: str
    drop: str


SWEEPS = (
    _Sweep(ENDED_BODIES, DROP_BODY),
    _Sweep(OLD_RESULTS, DROP_RESULT),
    _Sweep(OLD_WORK, DROP_WORK),
    _Sweep(EXCESS_WORK, DROP_WORK),
    _Sweep(OLD_RUNTIME_EVENTS, DROP_RUNTIME_EVENT),
)


@dataclass(frozen=True, slots=True)
class Pruner:
    """Finds with the reading connection, which delays nobody, and drops in short transactions."""

    journal: journal.Journal
    reading: connection.Database
    epoch: int

    async def prune(self, now: float, history_s: float) -> int:
        """Drop bodies of ended work, then old results, then old rows; returns how many work items went."""
        values = {
            "cutoff": now - history_s,
            "key_cutoff": now - max(history_s, KEY_KEPT_S),
            "kept": ROWS_KEPT,
            "limit": BATCH_ROWS,
        }
        dropped = 0
        for sweep in SWEEPS:
            while batch := _fitting(await self.reading.rows(sweep.find, values)):
                gone = await self.journal.errand(
                    _Drop(sweep.drop, batch, self.epoch), durable=False
                )
                failpoints.reach("prune_after_batch")
                if sweep.drop == DROP_WORK:
                    dropped += gone
                await anyio.sleep(PAUSE_S)
        await self._give_back_pages()
        return dropped

    async def _give_back_pages(self) -> None:
        free, before = int(await self.reading.value(FREE_PAGES)), math.inf
        # Also ends where nothing is given back, as in a file that another tool has rebuilt without this.
        while FREE_PAGES_KEPT < free < before:
            await self.journal.errand(_StillOurs(self.epoch), _vacuum, durable=False)
            await anyio.sleep(PAUSE_S)
            free, before = int(await self.reading.value(FREE_PAGES)), free


@dataclass(frozen=True, slots=True)
class _StillOurs:
    epoch: int

    async def __call__(self, database: connection.Database) -> None:
        if await writing.held_epoch(database) != self.epoch:
            raise errors.OwnershipLost(self.epoch)


@dataclass(frozen=True, slots=True)
class _Drop:
    sql: str
    keys: Sequence[int]
    epoch: int

    async def __call__(self, database: connection.Database) -> int:
        await _StillOurs(self.epoch)(database)
        return await database.run_many(self.sql, [{"key": key} for key in self.keys])


async def _vacuum(database: connection.Database) -> None:
    # As a script: `execute` takes only the first step of this statement, which is one page.
    await database.script(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")


def _fitting(found: Sequence[connection.Row]) -> list[int]:
    keys: list[int] = []
    size = 0
    for key, size_bytes in found:
        if keys and size + size_bytes > BATCH_BYTES:
            break
        keys.append(key)
        size += size_bytes
    return keys
