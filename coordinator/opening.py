"""Opening the database of a state directory: what is refused, and in what order it is made ready."""

import errno
import os
import sqlite3
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio import to_thread

from coordinator import connection, failpoints, migrate, ownership, refusals

DATABASE_NAME = "queue.db"
# Says that there was a database here, so that an empty or missing file is a loss and not a beginning:
# SQLite itself takes a file that was cut to zero for a new database, silently.
MARKER_NAME = "queue.db.created"


@dataclass(frozen=True, slots=True)
class Opened:
    """The two connections to one database."""

    writing: connection.Database
    reading: connection.Database
    path: Path


@asynccontextmanager
async def open_state(state_dir: Path) -> AsyncGenerator[Opened]:
    """Own the directory and open its database at the schema of this release, or raise and change nothing."""
    try:
        async with _owned(state_dir) as path:
            steps = await to_thread.run_sync(migrate.known)
            if await to_thread.run_sync(_is_there, path):
                await _inspect(path, steps)
            async with (
                _open_writing(path, steps) as writing,
                connection.connect(path, "ro") as reading,
            ):
                await connection.prepare_reader(reading)
                await to_thread.run_sync(_create, path.with_name(MARKER_NAME))
                yield Opened(writing, reading, path)
    except PermissionError as error:
        raise refusals.StateReadOnly(state_dir, error.strerror or str(error)) from error


@asynccontextmanager
async def _owned(state_dir: Path) -> AsyncGenerator[Path]:
    # Shielded: it takes no time, and a lock whose descriptor nobody received would never be let go.
    with anyio.CancelScope(shield=True):
        path, lock = await to_thread.run_sync(_own, state_dir)
    try:
        yield path
    finally:
        os.close(lock)


def _own(state_dir: Path) -> tuple[Path, int]:
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return state_dir.absolute() / DATABASE_NAME, ownership.take(state_dir)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        raise refusals.StateReadOnly(state_dir, "the file system is read-only") from error


def _create(path: Path) -> None:
    # Made before SQLite would make it, so that nobody else can read it; -wal and -shm get the same mode.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600))


def _is_there(path: Path) -> bool:
    """Whether to open what is there (true) or to begin anew."""
    if path.is_symlink():
        raise refusals.StateDamaged(path, "it is a symbolic link", "put the file itself there")
    exists = path.exists()
    if exists and path.stat().st_size > 0:
        return True
    marker = path.with_name(MARKER_NAME)
    if marker.exists():
        raise refusals.StateDamaged(
            path,
            "it is empty" if exists else "it is missing",
            f"restore a backup, or remove {marker} to begin with an empty queue",
        )
    return False


async def _inspect(path: Path, steps: tuple[migrate.Migration, ...]) -> None:
    """Look without writing: a damaged or a newer database stays as it is."""
    with _translated(path):
        async with connection.connect(path, "ro") as database:
            await migrate.refuse_newer(database, path, steps)
            found = await database.value("PRAGMA quick_check(1)")
            if found != "ok":
                # "*** in database main ***", and on the next line what is wrong.
                raise _damaged(path, found.splitlines()[-1])


@asynccontextmanager
async def _open_writing(
    path: Path, steps: tuple[migrate.Migration, ...]
) -> AsyncGenerator[connection.Database]:
    await to_thread.run_sync(_create, path)
    async with connection.connect(path, "rw") as database:
        with _translated(path):
            await connection.prepare_writer(database)
            failpoints.reach("open_before_migrations")
            await migrate.migrate(database, path, steps)
            # A file that cannot be written is opened all the same, for reading only: ask now.
            await database.begin()
            await database.rollback()
        yield database


@contextmanager
def _translated(path: Path) -> Generator[None]:
    try:
        yield
    except sqlite3.Error as error:
        name = connection.name_of(error)
        if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            raise _damaged(path, str(error)) from error
        if name.startswith("SQLITE_READONLY"):
            raise refusals.StateReadOnly(path, str(error)) from error
        raise refusals.StateNotOpened(path, f"{error}, {name}") from error


def _damaged(path: Path, found: str) -> refusals.StateDamaged:
    return refusals.StateDamaged(
        path,
        found,
        f"restore a backup, or move it and its -wal away together and remove {MARKER_NAME}",
    )
