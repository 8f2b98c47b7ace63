"""A state directory with a long past, written straight into the tables; triggers and checks included."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from coordinator import migrate, opening

AGE_S = 14 * 86400.0
OWNERS = 20

_INSERT = """
INSERT INTO gpu_work_items
    (id, node, runtime, alias, path, owner, surface, durability, priority, state, reason, changed_at,
     created_at, max_attempts, idempotency_key, body_hash)
VALUES (?, 'local', ?, 'alias', '/v1/chat/completions', ?, 'openai', ?, 50, 'queued', 'admitted', ?, ?, 1, ?, ?)
"""
_GRANT = """
UPDATE gpu_work_items
SET state = 'running', reason = 'granted', changed_at = :at, started_at = :at, lease = '0.1', attempts = 1
WHERE seq BETWEEN :first AND :last
"""
_END = """
UPDATE gpu_work_items
SET state = CASE seq % 50 WHEN 0 THEN 'failed' WHEN 1 THEN 'cancelled' ELSE 'succeeded' END,
    reason = 'ended', code = CASE seq % 50 WHEN 0 THEN 'upstream_error' END,
    changed_at = created_at + 5, ended_at = created_at + 5, lease = NULL
WHERE seq BETWEEN :first AND :last
"""
_CHUNK = 20_000


def write(state_dir: Path, ended: int, live: int) -> None:
    """Ended work evenly over the last `AGE_S`, one in ten of it stored, and some that waits."""
    now = time.time()
    with closing(sqlite3.connect(state_dir / opening.DATABASE_NAME, isolation_level=None)) as raw:
        raw.executescript(
            "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;"
        )
        for step in migrate.known():
            raw.executescript(f"{step.sql}; PRAGMA user_version = {step.version};")
        for first in range(1, ended + 1, _CHUNK):
            last = min(first + _CHUNK - 1, ended)
            raw.execute("BEGIN")
            raw.executemany(_INSERT, _rows(first, last, now - AGE_S, AGE_S / ended))
            raw.execute(_GRANT, {"at": now - AGE_S, "first": first, "last": last})
            raw.execute(_END, {"first": first, "last": last})
            raw.execute("COMMIT")
        raw.execute("BEGIN")
        raw.executemany(_INSERT, _rows(ended + 1, ended + live, now, 0))
        raw.execute("COMMIT")
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (state_dir / opening.MARKER_NAME).touch()


def _rows(first: int, last: int, start: float, apart_s: float) -> Iterator[tuple[object, ...]]:
    for seq in range(first, last + 1):
        at = start + seq * apart_s
        stored = seq % 10 == 0
        yield (
            f"work_of_the_past_{seq:012d}",
            f"runtime-{seq % 4}",
            f"owner-{seq % OWNERS}",
            "stored" if stored else "connection",
            at,
            at,
            f"key {seq}" if stored and seq % 20 == 0 else None,
            "hash" if stored else None,
        )
