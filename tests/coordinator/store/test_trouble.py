"""A full disk, a foreign lock, a read-only file: what is refused, what goes on, and how it ends."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import anyio
import pytest

from coordinator import changes, connection, errors, journal, settings, store
from runtimes import base
from tests.coordinator.store import making
from tests.coordinator.store.making import Runtime, Work

TMPFS_BYTES = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A file system of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "tmpfs", str(disk)], check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs more rights; the file-size limit test stands in")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


async def fill(store_: store.Store) -> list[str]:
    """Submit until the disk is full; the acknowledged ones."""
    acknowledged = []
    for size in (64 * 1024, 1024, 1):
        for _ in range(200):
            one = making.job()
            try:
                await store_.commit(changes.Enqueued(one, os.urandom(size), "h"))
            except errors.StorageUnavailable:
                break
            acknowledged.append(one.id)
        else:
            raise AssertionError("the disk never became full")
    return acknowledged


async def until_healthy(store_: store.Store) -> None:
    """The store looks again by itself."""
    while not store_.healthy:
        await anyio.sleep(0.02)


async def test_a_full_disk_refuses_loses_nothing_and_heals_without_a_restart(
    small_disk: Path,
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (TMPFS_BYTES // 2))
    with anyio.fail_after(50):
        async with making.owned_store(small_disk) as store_:
            acknowledged = await fill(store_)
            assert not store_.healthy
            assert "full" in str(store_.problem)
            running = making.item()
            store_.note(changes.Enqueued(running), making.granted(running))
            with pytest.raises(errors.StorageUnavailable):
                await store_.commit(changes.Enqueued(making.job(), b"x" * 200_000, "h"))
            # Reading goes on, and does not wait for what cannot be written.
            assert await store_.item(acknowledged[-1]) is not None
            assert await store_.body(acknowledged[0]) is not None

            ballast.unlink()
            await until_healthy(store_)
            assert store_.problem is None
            store_.note(making.ended(running))
            late = making.job()
            await store_.commit(changes.Enqueued(late, b"{}", "h"))
            row = await store_.item(running.id)
            assert row is not None
            assert row.state is Work.SUCCEEDED

        async with making.owned_store(small_disk) as store_:
            kept = {one.id for one in (await store_.take_over()).queued}
    assert kept == {*acknowledged, late.id}


async def test_a_disk_that_heals_unobserved_is_found_healed(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (TMPFS_BYTES // 2))
    with anyio.fail_after(50):
        async with making.owned_store(small_disk) as store_:
            await fill(store_)
            ballast.unlink()
            await until_healthy(store_)


async def test_of_too_many_notes_on_a_full_disk_only_the_unborn_are_dropped(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "BACKLOG_LIMIT", 100)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (TMPFS_BYTES // 2))
    running = making.item()
    engine = changes.RuntimeMoved(
        "r",
        Runtime.STOPPED,
        Runtime.STARTING,
        time.time(),
        "start",
        base.ProcessRecord(1, 2, 3, "n"),
    )
    with anyio.fail_after(50):
        async with making.owned_store(small_disk) as store_:
            await store_.commit(changes.Enqueued(running), making.granted(running))
            await fill(store_)
            unborn = [making.item(alias="y" * 4000) for _ in range(150)]
            for one in unborn:
                store_.note(changes.Enqueued(one), making.granted(one))
            store_.note(making.ended(running), engine)
            with pytest.raises(errors.StorageUnavailable):
                await store_.commit(changes.Enqueued(making.job(), b"x" * 200_000, "h"))
            ballast.unlink()
            await until_healthy(store_)
            # Their ends come too late, and that is nobody's trouble.
            for one in unborn:
                store_.note(making.ended(one))
            await store_.commit(changes.Setting("still", "here"))
            found = [await store_.item(one.id) for one in (unborn[0], unborn[-1], running)]
            assert store_.healthy
            recovered = await store_.take_over()
    assert found[:2] == [None, None]
    assert found[2] is not None
    assert found[2].state is Work.SUCCEEDED
    assert recovered.processes == {"r": engine.process}


async def test_a_foreign_lock_delays_and_does_not_fail(tmp_path: Path) -> None:
    with anyio.fail_after(30):
        async with making.owned_store(tmp_path) as store_:
            foreign = await anyio.to_thread.run_sync(hold_write_lock, tmp_path)
            one = making.job()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store_.commit, changes.Enqueued(one))
                await anyio.sleep(0.3)
                assert await store_.item(one.id) is None
                await anyio.to_thread.run_sync(foreign.rollback)
            assert await store_.item(one.id) is not None
            await anyio.to_thread.run_sync(foreign.close)


async def test_a_lock_that_is_never_given_back_is_unavailable_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_S", 0.2)
    with anyio.fail_after(30):
        async with making.owned_store(tmp_path) as store_:
            foreign = await anyio.to_thread.run_sync(hold_write_lock, tmp_path)
            noted = making.item()
            store_.note(changes.Enqueued(noted))
            with pytest.raises(errors.StorageUnavailable, match="locked"):
                await store_.commit(changes.Enqueued(making.job()))
            assert not store_.healthy
            await anyio.to_thread.run_sync(foreign.rollback)
            await until_healthy(store_)
            assert await store_.item(noted.id) is not None
            await anyio.to_thread.run_sync(foreign.close)


def hold_write_lock(state_dir: Path) -> sqlite3.Connection:
    foreign = sqlite3.connect(state_dir / "queue.db", isolation_level=None, check_same_thread=False)
    foreign.execute("BEGIN IMMEDIATE")
    return foreign


LIMITED = """
import resource, sys, anyio
from pathlib import Path
from coordinator import changes, errors
from tests.coordinator.store import making

async def main():
    async with making.owned_store(Path(sys.argv[1])) as store_:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
        refused = None
        for _ in range(100):
            one = making.job()
            try:
                await store_.commit(changes.Enqueued(one, b"x" * 20_000, "h"))
            except errors.StorageUnavailable as error:
                refused = error
                break
            print(one.id)
        assert refused is not None, "the limit was never met"
        assert not store_.healthy
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        one = making.job()
        await store_.commit(changes.Enqueued(one, b"{}", "h"))
        print(one.id)
        assert store_.healthy

anyio.run(main)
"""


async def test_a_file_that_may_not_grow_is_a_full_disk(tmp_path: Path) -> None:
    with anyio.fail_after(50):
        ran = await anyio.run_process(
            [sys.executable, "-c", LIMITED, str(tmp_path)],
            cwd=Path(__file__).parents[3],
        )
        acknowledged = set(ran.stdout.decode().split())
        async with making.owned_store(tmp_path) as store_:
            kept = {one.id for one in (await store_.take_over()).queued}
    assert kept == acknowledged
    assert len(kept) > 1


async def test_waiting_time_is_not_measured_by_a_clock_that_can_be_set(tmp_path: Path) -> None:
    """The wall clock jumps a year ahead while the gateway runs: no history is lost by that."""
    jump = 0.0

    def wall() -> float:
        return time.time() + jump

    async with store.Store.open(tmp_path, settings.CoordinatorSettings(), wall) as store_:
        await store_.take_over()
        one = making.item()
        await store_.commit(*making.lived(one))
        jump = 365 * 86400.0
        assert await store_.prune() == 0
        assert await store_.item(one.id) is not None


async def test_a_file_that_breaks_under_us_is_unavailable_storage(tmp_path: Path) -> None:
    jobs = [making.job(alias="a" * 1000) for _ in range(300)]
    async with making.owned_store(tmp_path) as store_:
        for one in jobs:
            store_.note(changes.Enqueued(one))
    content = (tmp_path / "queue.db").read_bytes()
    async with store.Store.open(tmp_path, settings.CoordinatorSettings()) as store_:
        (tmp_path / "queue.db").write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
        with pytest.raises(errors.StorageUnavailable, match="malformed"):
            await store_.items(None, None, 1000)
        with pytest.raises(errors.StorageUnavailable):
            await store_.take_over()
        assert not store_.healthy
        (tmp_path / "queue.db").write_bytes(content)
