"""Opening the database of a state directory: what is refused, and in what order it is made ready."""

import errno
import os
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from coordinator import connection, failpoints, migrate, ownership, refusals

DATABASE_NAME = "queue.db"
# Says that there was a database here, so that an empty or missing file is a loss and not a beginning:
# SQLite itself takes a file that was cut to zero for a new database, silently.
MARKER_NAME = "queue.db.created"

_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@dataclass(frozen=True, slots=True)
class Opened:
    """The two connections to one database."""

    writing: connection.Database
    reading: connection.Database
    path: Path


@asynccontextmanager
async def open_state(state_dir: Path) -> AsyncGenerator[Opened]:
    """Own the directory and open its database at the schema of this release, or raise and change nothing."""
    path = _path_in(state_dir)
    try:
        _make_private(state_dir)
        with ownership.hold(state_dir):
            steps = migrate.known()
            if _is_there(path):
                await _inspect(path, steps)
            async with (
                _open_writing(path, steps) as writing,
                connection.connect(path, "ro") as reading,
            ):
                await connection.prepare_reader(reading)
                _mark(path)
                yield Opened(writing, reading, path)
    except OSError as error:
        if error.errno in _FORBIDDEN:
            raise refusals.StateReadOnly(state_dir, error.strerror or str(error)) from error
        raise


def _path_in(state_dir: Path) -> Path:
    return state_dir.absolute() / DATABASE_NAME


def _make_private(state_dir: Path) -> None:
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)


def _mark(path: Path) -> None:
    path.with_name(MARKER_NAME).touch(mode=0o600)


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
    try:
        async with connection.connect(path, "ro") as database:
            migrate.refuse_newer(path, int(await database.value("PRAGMA user_version")), steps)
            found = await database.value("PRAGMA quick_check(1)")
    except sqlite3.DatabaseError as error:
        if connection.name_of(error).startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            raise _damaged(path, str(error)) from error
        raise
    if found != "ok":
        raise _damaged(path, found)


def _damaged(path: Path, found: str) -> refusals.StateDamaged:
    return refusals.StateDamaged(
        path,
        found,
        f"restore a backup, or move it and its -wal away together and remove {MARKER_NAME}",
    )


@asynccontextmanager
async def _open_writing(
    path: Path, steps: tuple[migrate.Migration, ...]
) -> AsyncGenerator[connection.Database]:
    # Made before SQLite does it, so that nobody else can read it; -wal and -shm get the same mode.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600))
    async with connection.connect(path, "rw") as database:
        try:
            await connection.prepare_writer(database)
            failpoints.reach("open.before_migrations")
            await migrate.migrate(database, path, steps)
            # A file that cannot be written is opened all the same, for reading only: ask now.
            await database.begin()
            await database.rollback()
        except sqlite3.OperationalError as error:
            if connection.name_of(error).startswith("SQLITE_READONLY"):
                raise refusals.StateReadOnly(path, str(error)) from error
            raise
        yield database
