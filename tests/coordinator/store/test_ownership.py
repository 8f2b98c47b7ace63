"""Two processes and one state directory."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc
import pytest

from coordinator import changes, errors, ownership
from tests.coordinator.store import making
from tests.coordinator.store.making import Work

ROOT = Path(__file__).parents[3]

# Says `owner`, then commits one job for each line it is sent, until one is refused.
OWNER = """
import sys, anyio
from pathlib import Path
from coordinator import changes, errors
from tests.coordinator.store import making

async def main():
    async with making.owned_store(Path(sys.argv[1])) as store_:
        print("owner", flush=True)
        while await anyio.to_thread.run_sync(sys.stdin.readline):
            try:
                one = making.job(seq=int(sys.argv[2]))
                await store_.commit(changes.Enqueued(one))
                print(one.id, flush=True)
            except errors.OwnershipLost as error:
                print(error.code, flush=True)
                sys.exit(9)

anyio.run(main)
"""


class Other:
    """Another process that owns the directory."""

    def __init__(self, process: anyio.abc.Process) -> None:
        self.process = process

    async def line(self) -> str:
        """The next line that it says."""
        assert self.process.stdout is not None
        said = b""
        while not said.endswith(b"\n"):
            said += await self.process.stdout.receive(1)
        return said.decode().strip()

    async def ask(self) -> None:
        """Have it commit a job."""
        assert self.process.stdin is not None
        await self.process.stdin.send(b"\n")


@asynccontextmanager
async def another_owner(state_dir: Path, seq: int = 1000) -> AsyncGenerator[Other]:
    """Start it and wait until it owns the directory; killed at the end of the block."""
    command = [sys.executable, "-c", OWNER, str(state_dir), str(seq)]
    async with await anyio.open_process(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        other = Other(process)
        try:
            assert await other.line() == "owner"
            yield other
        finally:
            if process.returncode is None:
                process.kill()


async def test_a_second_gateway_is_refused_and_told_the_pid_of_the_first(tmp_path: Path) -> None:
    with anyio.fail_after(30):
        async with another_owner(tmp_path) as other:
            with pytest.raises(errors.OwnedElsewhere, match=f"pid {other.process.pid}") as caught:
                async with making.owned_store(tmp_path):
                    pass
            assert caught.value.pid == other.process.pid
            await other.ask()
            assert (await other.line()).startswith("work_")


async def test_the_same_process_may_not_open_it_twice(tmp_path: Path) -> None:
    async with making.owned_store(tmp_path):
        with pytest.raises(errors.OwnedElsewhere, match=f"pid {os.getpid()}"):
            async with making.owned_store(tmp_path):
                pass
    async with making.owned_store(tmp_path):
        pass


async def test_a_killed_owner_leaves_the_directory_free(tmp_path: Path) -> None:
    with anyio.fail_after(30):
        async with another_owner(tmp_path) as other:
            await other.ask()
            made = await other.line()
            other.process.kill()
            await other.process.wait()
            async with making.owned_store(tmp_path) as store_:
                assert [one.id for one in (await store_.take_over()).queued] == [made]


async def test_a_stopped_owner_that_wakes_after_a_takeover_writes_nothing_and_knows(
    tmp_path: Path,
) -> None:
    with anyio.fail_after(30):
        async with another_owner(tmp_path) as other:
            other.process.send_signal(signal.SIGSTOP)
            (tmp_path / "queue.lock").unlink()
            async with making.owned_store(tmp_path) as store_:
                mine = making.job()
                await store_.commit(changes.Enqueued(mine))
                await other.ask()
                other.process.send_signal(signal.SIGCONT)
                assert await other.line() == "ownership_lost"
                assert await other.process.wait() == 9
                assert [one.id for one in await store_.items(None, {Work.QUEUED}, 9)] == [mine.id]


async def test_a_child_of_the_owner_does_not_keep_the_directory(tmp_path: Path) -> None:
    """An engine outlives a killed gateway; the lock must not."""
    lock = await anyio.to_thread.run_sync(ownership.take, tmp_path)
    async with await anyio.open_process(["sleep", "60"], stdout=subprocess.DEVNULL) as engine:
        os.close(lock)
        os.close(await anyio.to_thread.run_sync(ownership.take, tmp_path))
        engine.kill()


def test_a_lock_file_that_is_replaced_while_it_is_taken_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ownership.LOCK_NAME
    flock = fcntl.flock
    replaced: list[bool] = []

    def replace_then_lock(descriptor: int, how: int) -> None:
        if not replaced:
            path.unlink()
            path.touch()
            replaced.append(True)
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", replace_then_lock)
    lock = ownership.take(tmp_path)
    assert os.path.samestat(os.fstat(lock), path.stat())
    os.close(lock)


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("keep me")
    (tmp_path / ownership.LOCK_NAME).symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic links"):
        ownership.take(tmp_path)
    assert elsewhere.read_text() == "keep me"
