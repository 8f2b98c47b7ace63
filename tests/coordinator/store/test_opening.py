"""What is opened, what is refused with everything left as it was, and how a schema grows."""

import hashlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from coordinator import changes, connection, migrate, refusals, settings, store
from tests.coordinator.store import making

ROOT = Path(__file__).parents[3]
KNOWN = migrate.known()
NEXT = migrate.Migration(
    KNOWN[-1].version + 1, "next.sql", "ALTER TABLE settings ADD COLUMN note TEXT;"
)


async def make(state_dir: Path, jobs: int = 200) -> list[str]:
    """A state directory with some jobs."""
    items = [making.job() for _ in range(jobs)]
    async with making.owned_store(state_dir) as store_:
        for one in items:
            store_.note(changes.Enqueued(one, b"x" * 500, "h"))
        await store_.commit(changes.Setting("paused", "false"))
    return [one.id for one in items]


async def open_once(state_dir: Path) -> list[str]:
    """What a gateway would find there."""
    async with making.owned_store(state_dir) as store_:
        return [one.id for one in (await store_.take_over()).queued]


def digest(state_dir: Path) -> dict[str, str]:
    """What the database files hold; SQLite may keep an empty WAL and its index beside them."""
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name in ("queue.db", "queue.db.created")
        if (path := state_dir / name).exists()
    }


def cut(path: Path) -> None:
    path.write_bytes(b"")


def garble_header(path: Path) -> None:
    path.write_bytes(b"not a database at all" + path.read_bytes()[21:])


def garble_pages(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for page in range(3, len(content) // 4096 - 3):
        content[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(content)


def garble_one_page(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 4096 // 2 * 4096
    content[middle : middle + 64] = b"\xff" * 64
    path.write_bytes(content)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: -4096 * 5])


@pytest.mark.parametrize(
    "damage", [cut, garble_header, garble_pages, garble_one_page, shorten, Path.unlink]
)
async def test_a_damaged_database_is_refused_and_left_as_it_is(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    await make(tmp_path)
    damage(tmp_path / "queue.db")
    before = digest(tmp_path)
    with anyio.fail_after(30):
        for _ in range(2):
            with pytest.raises(refusals.StateDamaged, match=r"queue\.db is damaged .+; .+"):
                await open_once(tmp_path)
    assert digest(tmp_path) == before


async def test_an_empty_file_is_a_beginning_where_no_database_ever_was(tmp_path: Path) -> None:
    (tmp_path / "queue.db").touch()
    assert await open_once(tmp_path) == []


async def test_removing_the_marker_too_begins_anew(tmp_path: Path) -> None:
    await make(tmp_path)
    (tmp_path / "queue.db").unlink()
    (tmp_path / "queue.db.created").unlink()
    assert await open_once(tmp_path) == []


async def test_a_torn_end_of_the_wal_costs_nothing_that_was_before_it(tmp_path: Path) -> None:
    """A crash of the machine in the middle of a write."""
    copied = tmp_path / "copy"
    copied.mkdir()
    async with making.owned_store(tmp_path) as store_:
        jobs = [making.job() for _ in range(20)]
        for one in jobs:
            await store_.commit(changes.Enqueued(one))
        for name in ("queue.db", "queue.db-wal"):
            shutil.copy(tmp_path / name, copied / name)
    with (copied / "queue.db-wal").open("ab") as wal:
        wal.write(os.urandom(3000))
    assert await open_once(copied) == [one.id for one in jobs]


async def test_files_are_for_their_user_only(tmp_path: Path) -> None:
    state_dir = tmp_path / "new"
    async with making.owned_store(state_dir) as store_:
        await store_.commit(changes.Setting("a", "b"))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in state_dir.iterdir()}
    assert stat.S_IMODE(state_dir.stat().st_mode) == 0o700
    assert set(modes) >= {"queue.db", "queue.db-wal", "queue.lock"}
    assert set(modes.values()) == {0o600}


async def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.db"
    elsewhere.touch()
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    (state_dir / "queue.db").symlink_to(elsewhere)
    with pytest.raises(refusals.StateDamaged, match="symbolic link"):
        await open_once(state_dir)
    assert elsewhere.stat().st_size == 0


READ_ONLY = """
import os, sys, anyio
from pathlib import Path
from coordinator import migrate, refusals
from tests.coordinator.store import making

async def main():
    try:
        async with making.owned_store(Path(sys.argv[1])):
            print("opened")
    except refusals.StateReadOnly as error:
        print("refused", error)

# What Python imports late, it could not read any more after this.
migrate.known()
anyio.run(anyio.sleep, 0)
os.setuid(65534)
anyio.run(main)
"""


@pytest.mark.parametrize("what", ["directory", "database"])
async def test_what_cannot_be_written_is_refused_at_the_start(tmp_path: Path, what: str) -> None:
    if os.getuid() != 0:
        pytest.skip("needs to become another user")
    await make(tmp_path)
    for parent in [tmp_path, *tmp_path.parents][:3]:
        parent.chmod(0o755)
    if what == "database":
        for path in tmp_path.iterdir():
            os.chown(path, 65534, 65534)
        os.chown(tmp_path, 65534, 65534)
        (tmp_path / "queue.db").chmod(0o400)
    with anyio.fail_after(30):
        ran = await anyio.run_process(
            [sys.executable, "-c", READ_ONLY, str(tmp_path)], cwd=ROOT, stderr=subprocess.PIPE
        )
    assert ran.stdout.decode().startswith("refused"), ran.stdout.decode()


@pytest.mark.parametrize("name", ["plain", "with space", "per%20cent", "quest?ion", "hash#tag"])
async def test_any_directory_name_will_do(tmp_path: Path, name: str) -> None:
    made = await make(tmp_path / name, jobs=2)
    assert await open_once(tmp_path / name) == made


async def test_a_newer_schema_is_refused_with_nothing_written(tmp_path: Path) -> None:
    await make(tmp_path)
    with closing(sqlite3.connect(tmp_path / "queue.db")) as raw:
        raw.execute("PRAGMA user_version = 999")
    before = digest(tmp_path)
    with pytest.raises(refusals.StateTooNew, match="schema 999"):
        await open_once(tmp_path)
    assert digest(tmp_path) == before


async def test_an_older_schema_is_migrated_after_a_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await make(tmp_path)
    monkeypatch.setattr(migrate, "known", lambda: (*KNOWN, NEXT))
    assert await open_once(tmp_path) == made

    backup = migrate.backup_path(tmp_path / "queue.db", KNOWN[-1].version)
    with closing(sqlite3.connect(backup)) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (KNOWN[-1].version,)
        assert raw.execute("SELECT count(*) FROM gpu_work_items").fetchone() == (len(made),)
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600

    monkeypatch.setattr(migrate, "known", lambda: KNOWN)
    with pytest.raises(refusals.StateTooNew, match=backup.name):
        await open_once(tmp_path)


async def test_a_migration_that_fails_leaves_the_schema_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await make(tmp_path)
    broken = migrate.Migration(NEXT.version, "broken.sql", f"{NEXT.sql} CREATE TABLE owner (x);")
    monkeypatch.setattr(migrate, "known", lambda: (*KNOWN, broken))
    with pytest.raises(refusals.StateNotOpened, match="already exists"):
        await open_once(tmp_path)
    monkeypatch.setattr(migrate, "known", lambda: KNOWN)
    assert await open_once(tmp_path) == made


async def test_only_the_last_backups_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(tmp_path, jobs=1)
    steps = list(KNOWN)
    for version in range(NEXT.version, NEXT.version + 11):
        steps.append(migrate.Migration(version, "more.sql", f"CREATE TABLE more_{version} (x);"))
        known = tuple(steps)
        monkeypatch.setattr(migrate, "known", lambda known=known: known)
        await open_once(tmp_path)
    kept = sorted(path.name for path in tmp_path.glob("*.schema-*"))
    assert kept == ["queue.db.schema-10", "queue.db.schema-11"]


def test_migrations_are_numbered_without_a_gap() -> None:
    steps = migrate.known()
    assert [step.version for step in steps] == list(range(1, len(steps) + 1))


async def test_a_cancelled_opening_leaves_the_directory_free(tmp_path: Path) -> None:
    with anyio.fail_after(30):
        for turns in range(0, 60, 2):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:

                    async def cancel(turns: int = turns) -> None:
                        for _ in range(turns):
                            await anyio.sleep(0.0002)
                        scope.cancel()

                    tasks.start_soon(cancel)
                    async with store.Store.open(tmp_path, settings.CoordinatorSettings()):
                        await anyio.sleep_forever()
            async with making.owned_store(tmp_path) as store_:
                await store_.commit(changes.Setting("round", str(turns)))


async def test_the_connection_is_set_up_as_the_promises_need_it(tmp_path: Path) -> None:
    async with making.owned_store(tmp_path) as store_:
        await store_.commit(changes.Setting("a", "b"))
        writing: connection.Database = store_._opened.writing
        assert await writing.value("PRAGMA journal_mode") == "wal"
        assert await writing.value("PRAGMA synchronous") == 2
        assert await writing.value("PRAGMA fullfsync") == 1
        assert await writing.value("PRAGMA foreign_keys") == 1
        assert await writing.value("PRAGMA auto_vacuum") == 2
        store_.note(changes.Setting("a", "c"))
        await store_.runtime_events(1)
        assert await writing.value("PRAGMA synchronous") == 1
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await store_._opened.reading.rows("DELETE FROM settings")
