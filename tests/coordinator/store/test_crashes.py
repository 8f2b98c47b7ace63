"""Killing the owner anywhere loses nothing that was acknowledged, and tears nothing in two."""

import ast
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.abc
import pytest

ROOT = Path(__file__).parents[3]
# A few rounds for every run of the tests; `LMG_KILL_ROUNDS=50` for a night's worth.
ROUNDS = int(os.environ.get("LMG_KILL_ROUNDS", "6"))
STORE_FILES = ("journal", "opening", "migrate", "takeover", "retention")


def failpoints_of_the_store() -> list[str]:
    """Every step at which the files of the store can be told to die."""
    steps = []
    for name in STORE_FILES:
        for node in ast.walk(ast.parse((ROOT / "coordinator" / f"{name}.py").read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr="reach"), args=[ast.Constant(value=str(step))]
                ):
                    steps.append(step)
    return steps


STEPS = failpoints_of_the_store()


@dataclass
class Promises:
    """What all the killed processes said before they died."""

    acknowledged: set[str] = field(default_factory=set)
    granted: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)

    def hear(self, line: str) -> None:
        match line.split():
            case ["acknowledged", work_id]:
                self.acknowledged.add(work_id)
            case ["granted", work_id]:
                self.granted.append(work_id)
            case ["ended", work_id]:
                self.ended.append(work_id)


async def lines(process: anyio.abc.Process) -> AsyncIterator[str]:
    assert process.stdout is not None
    rest = b""
    async for said in process.stdout:
        *whole, rest = (rest + said).split(b"\n")
        for line in whole:
            yield line.decode()


async def run_until_killed(
    state_dir: Path, promises: Promises, *more: str, crash_at: str = "", after_lines: int = 10**9
) -> int:
    """One life of an owner; its return code."""
    process = await anyio.open_process(
        [sys.executable, "-m", "tests.coordinator.store.submitter", str(state_dir), *more],
        cwd=ROOT,
        env={**os.environ, "LMG_CRASH_AT": crash_at},
        stderr=subprocess.PIPE,
    )
    async with process:
        heard = 0
        async for line in lines(process):
            promises.hear(line)
            heard += 1
            if heard == after_lines:
                process.kill()
        code = await process.wait()
        if code != -signal.SIGKILL:
            assert process.stderr is not None
            raise AssertionError((await process.stderr.receive()).decode())
        return code


def audit(state_dir: Path, promises: Promises) -> None:
    """Compare what was promised with what is there, before anybody recovers it."""
    with closing(sqlite3.connect(state_dir / "queue.db")) as raw:
        if not raw.execute("PRAGMA user_version").fetchone()[0]:
            assert not promises.acknowledged
            return
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        states = dict(raw.execute("SELECT id, state FROM gpu_work_items"))
        events: dict[str, list[str]] = {}
        for work_id, after in raw.execute(
            "SELECT id, after FROM work_events JOIN gpu_work_items ON seq = work_seq "
            "ORDER BY work_seq, n"
        ):
            events.setdefault(work_id, []).append(after)
        answered = {
            row[0]
            for row in raw.execute("SELECT id FROM results JOIN gpu_work_items ON seq = work_seq")
        }
        succeeded = {
            row[0]
            for row in raw.execute(
                "SELECT id FROM gpu_work_items WHERE state = 'succeeded' AND durability = 'stored'"
            )
        }
    assert promises.acknowledged <= states.keys()
    assert all(states[work_id] != "queued" for work_id in promises.ended)
    assert {work_id: after[-1] for work_id, after in events.items()} == states
    ends = {"succeeded", "failed", "cancelled"}
    assert all(
        len(ends & set(after)) <= 1 and not ends & set(after[:-1]) for after in events.values()
    )
    assert answered == succeeded


def crashes() -> list[tuple[str, ...]]:
    """What to crash at, life after life: later arrivals find more to lose."""
    once_a_life = ("takeover", "open")
    return [
        *((step,) for step in STEPS),
        *((f"{step}:7",) for step in STEPS if step.startswith(("store", "prune"))),
        *((step, step) for step in STEPS if step.startswith(once_a_life)),
    ]


@pytest.mark.parametrize("lives", crashes(), ids="-".join)
async def test_a_crash_at_any_step_of_the_store_is_recovered_from(
    tmp_path: Path, lives: tuple[str, ...]
) -> None:
    promises = Promises()
    more = ["one-more-schema"] if lives[0] == "migrate_before_backup_named" else []
    with anyio.fail_after(55):
        if more or lives[0].startswith("takeover"):
            await run_until_killed(tmp_path, promises, after_lines=30)
        for crash_at in lives:
            await run_until_killed(tmp_path, promises, *more, crash_at=crash_at)
            await anyio.to_thread.run_sync(audit, tmp_path, promises)
        # The next owner, left alone, ends what it found.
        await run_until_killed(tmp_path, promises, *more, after_lines=60)
        await anyio.to_thread.run_sync(audit, tmp_path, promises)
    assert promises.acknowledged


@pytest.mark.timeout(60 + 5 * ROUNDS)
async def test_kills_at_any_moment_lose_no_acknowledged_job(tmp_path: Path) -> None:
    promises, rng = Promises(), random.Random()
    with anyio.fail_after(50 + 5 * ROUNDS):
        for _ in range(ROUNDS):
            await run_until_killed(tmp_path, promises, after_lines=rng.randrange(1, 300))
            await anyio.to_thread.run_sync(audit, tmp_path, promises)
    assert len(promises.ended) == len(set(promises.ended)), "a job ended twice"


def test_every_step_has_a_name_of_its_own() -> None:
    assert len(STEPS) == len(set(STEPS)) >= 10
