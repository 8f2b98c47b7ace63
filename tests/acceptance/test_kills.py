"""kill -9 at every named step and at random moments: nothing acknowledged is lost, nothing runs twice."""

import random
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from tests.support.fake_engine import witness
from tests.support.gateway import Gateway, fake, gateway

STEPS = [
    "job_admitted",
    "job_committed",
    "job_granted",
    "job_running",
    "job_answered",
    "job_ended",
    "recovered_rows",
    "runtime_starting",
    "runtime_ready",
    "runtime_stopping",
    "store_before_begin",
    "store_before_commit",
    "store_after_commit",
    "store_errand_before_commit",
    "store_errand_after_commit",
    "takeover_after_epoch",
    "takeover_after_rows",
    "open_before_migrations",
    "migrate_before_step",
    "migrate_after_step",
]
JOBS = 6
READY_WITHIN_S = 3.0


def two_models(folder: Path) -> dict[str, Any]:
    runtimes = {name: fake(name, folder, load_s=0.2) for name in ("a", "b")}
    return {
        "runtimes": runtimes,
        "scheduling": {"max_wait": "100ms", "min_residency": "0s"},
    }


async def submit(here: Gateway, number: int, acknowledged: dict[int, str]) -> None:
    """Submit one job with a key, until it is acknowledged or the gateway is dead."""
    body = {
        "model": "ab"[number % 2],
        "messages": [{"role": "user", "content": f"job-{number}. [[tokens:4]] [[delay-ms:20]]"}],
        "idempotency_key": f"key-{number}",
        "max_attempts": 10,
    }
    async with here.client() as client:
        while here.process is not None and here.process.returncode is None:
            try:
                answer = await client.post("/v1/jobs", json=body)
            except httpx2.TransportError:
                await anyio.sleep(0.02)
                continue
            if answer.status_code in {200, 202}:
                acknowledged[number] = answer.json()["id"]
                return


async def everything_ends(here: Gateway, acknowledged: dict[int, str]) -> None:
    """Every acknowledged job ends, and ends well."""
    async with here.client() as client:
        for id_ in acknowledged.values():
            with anyio.fail_after(60):
                job = (await client.get(f"/v1/jobs/{id_}?wait=30")).json()
                while job["status"] in {"queued", "running"}:
                    job = (await client.get(f"/v1/jobs/{id_}?wait=30")).json()
            assert job["status"] == "succeeded", job


def never_twice_at_once(here: Gateway) -> None:
    """The engines' own log: no job began while the same job was running, no two engines at once."""
    assert witness.overlaps(here.witness) == []
    running: dict[str, tuple[int, str]] = {}
    alive = {life.pid: life.ended for life in witness.lives(witness.read(here.witness))}
    for event in witness.read(here.witness):
        request = (event.pid, str(event.data.get("id")))
        job = str(event.data.get("prompt", "")).partition(".")[0]
        if event.event == "begin" and job.startswith("job-"):
            before = running.get(job)
            assert before is None or alive[before[0]] < event.t, f"{job} ran twice at once"
            running[job] = request
        elif event.event in {"end", "cancelled"}:
            running = {name: its for name, its in running.items() if its != request}


async def keep_submitting(here: Gateway, acknowledged: dict[int, str], numbers: range) -> None:
    async with anyio.create_task_group() as group:
        for number in numbers:
            group.start_soon(submit, here, number, acknowledged)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.requirement("admitted-once")
@pytest.mark.requirement("never-twice-at-once")
@pytest.mark.requirement("no-orphans")
@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_a_step_nothing_acknowledged_is_lost(tmp_path: Path, step: str) -> None:
    acknowledged: dict[int, str] = {}
    async with gateway(two_models(tmp_path), tmp_path) as here:
        if not step.startswith(("migrate", "open")):
            await here.start()
            await keep_submitting(here, acknowledged, range(JOBS))
            await here.kill()
        await here.spawn(LMG_CRASH_AT=step)
        await keep_submitting(here, acknowledged, range(JOBS, 2 * JOBS))
        assert await here.died() == -9, f"{step} was never reached"
        await here.start()
        await everything_ends(here, acknowledged)
        assert await here.stop() == 0
        assert here.left_behind() == []
        never_twice_at_once(here)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.requirement("queue-survives-kill")
async def test_killed_at_fifty_random_moments_under_load(tmp_path: Path) -> None:
    acknowledged: dict[int, str] = {}
    chance = random.Random(20261121)
    async with gateway(two_models(tmp_path), tmp_path) as here:
        for round_ in range(50):
            await here.start()
            async with anyio.create_task_group() as group:
                numbers = range(round_ * 4, round_ * 4 + 4)
                group.start_soon(keep_submitting, here, acknowledged, numbers)
                await anyio.sleep(chance.uniform(0.0, 1.0))
                await here.kill()
        await here.start()
        await everything_ends(here, acknowledged)
        assert await here.stop() == 0
        assert here.left_behind() == []
        never_twice_at_once(here)
        assert len(acknowledged) > 50
