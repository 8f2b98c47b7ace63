"""The two connections to the database: one that writes, one that can only read.

Each call is one hop to the connection's own thread and back, whole or not at all. A transaction spans
several hops, so only a task that nobody can cancel in between may open one: that is the writer.
"""

import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite
import anyio

from coordinator import errors

# How long somebody else's lock (a backup tool, a shell) delays us before it is an error.
BUSY_TIMEOUT_S = 5.0
# A WAL that grew larger than this in a burst is cut back at the next checkpoint.
WAL_LIMIT_BYTES = 64 * 1024 * 1024

# Any: a column holds whatever its declared type allows, and STRICT tables hold it to that.
Parameters = Sequence[Any] | Mapping[str, Any]
Row = tuple[Any, ...]
_T = TypeVar("_T")


class Database:
    """One connection."""

    def __init__(self, raw: aiosqlite.Connection) -> None:
        self._raw = raw

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open on this connection."""
        return self._raw.in_transaction

    async def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Run one statement and take all its rows; no cursor stays open."""
        return [tuple(row) for row in await self._raw.execute_fetchall(sql, parameters)]

    async def value(self, sql: str, parameters: Parameters = ()) -> Any:  # Any: as in Row
        """The first column of the first row, or None."""
        rows = await self.rows(sql, parameters)
        return rows[0][0] if rows else None

    async def run_many(self, sql: str, parameters: Iterable[Parameters]) -> int:
        """Run one statement once for each set of parameters; returns how many rows it changed in all."""
        cursor = await self._raw.executemany(sql, parameters)
        return cursor.rowcount

    async def script(self, sql: str) -> None:
        """Run several statements in one hop; whatever transaction is open is committed first."""
        await self._raw.executescript(sql)

    async def begin(self) -> None:
        """Take the write lock now: a transaction that reads first and writes later can fail at its first write."""
        await self.rows("BEGIN IMMEDIATE")

    async def commit(self) -> None:
        """Commit the open transaction."""
        await self._raw.commit()

    async def rollback(self) -> None:
        """End the open transaction, if there is one, as if it had never been."""
        if self._raw.in_transaction:
            await self._raw.rollback()

    async def set_sync(self, full: bool) -> None:
        """Whether a commit waits for the disk (FULL), or leaves that to the next checkpoint (NORMAL)."""
        await self.rows(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")

    async def backup_to(self, target: "Database") -> None:
        """Copy everything, also what is only in the WAL; a copied file alone would lack that."""
        await self._raw.backup(target._raw)


@asynccontextmanager
async def connect(path: Path, mode: str) -> AsyncGenerator[Database]:
    """Open a connection to an absolute path; `mode` is SQLite's: `ro`, `rw` or `rwc`."""
    raw = aiosqlite.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        # Transactions are begun in words, never by the driver's guess.
        isolation_level=None,
    )
    # Shielded: a cancelled connect or close leaves the connection's thread behind.
    with anyio.CancelScope(shield=True):
        await raw
    try:
        yield Database(raw)
    finally:
        with anyio.CancelScope(shield=True):
            await raw.close()


async def prepare_writer(database: Database) -> None:
    """Set what the writing connection needs; the first statement is the first that reads the file."""
    await database.rows("PRAGMA auto_vacuum = INCREMENTAL")
    await database.rows("PRAGMA journal_mode = WAL")
    await database.rows(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
    await database.rows("PRAGMA foreign_keys = ON")
    # Zeroes what it frees where that costs no extra write.
    await database.rows("PRAGMA secure_delete = FAST")
    await database.rows("PRAGMA synchronous = FULL")
    # On macOS a plain fsync leaves the data in the drive's cache; elsewhere this changes nothing.
    await database.rows("PRAGMA fullfsync = ON")


async def prepare_reader(database: Database) -> None:
    """A reader that could write would be a second writer."""
    await database.rows("PRAGMA query_only = ON")


async def answer_of(question: Awaitable[_T]) -> _T:
    """What the question is answered with, or `StorageUnavailable`."""
    try:
        return await question
    except sqlite3.Error as error:
        raise errors.StorageUnavailable(f"{error}, {name_of(error)}") from error


def name_of(error: Exception) -> str:
    """SQLite's own name for what went wrong, e.g. `SQLITE_FULL`."""
    return getattr(error, "sqlite_errorname", None) or type(error).__name__
