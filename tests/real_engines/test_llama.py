"""llama.cpp for real: swaps, cancellation, crashes and memory, on models made here."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import anyio
import httpx2
import psutil
import pytest

from coordinator import errors
from runtimes import base, http_relay
from tests.real_engines import fleet
from tests.real_engines.fleet import Models
from tests.support.gateway import gateway

GIB = 1 << 30
LOST = (errors.RuntimeFailed, http_relay.UpstreamError)
"""Whoever notices first says it: the relay by its socket, or the one who watches the process."""


def one_at_a_time(**models: Path) -> dict[str, dict[str, Any]]:
    """llama.cpp runtimes of which each needs the whole pool."""
    return {
        name: {
            "engine": "embedded",
            "model": str(path),
            "memory": "1GiB",
            "args": ["--threads", "1"],
        }
        for name, path in models.items()
    }


async def test_two_models_take_turns_and_every_answer_is_exact(
    tmp_path: Path, models: Models
) -> None:
    sections = one_at_a_time(small=await models.gguf(), large=await models.gguf(52))
    wrong: list[str] = []
    with anyio.fail_after(55):
        async with fleet.opened(tmp_path, sections, pool_bytes=GIB) as here:

            async def ask(number: int) -> None:
                runtime = ("small", "large")[number % 2]
                length = 5 + number % 20
                expected = fleet.counted(length) if number % 3 else fleet.SENTENCE
                prompt = "count" if number % 3 else "hello"
                said = await here.ask(runtime, prompt, max_tokens=length if number % 3 else 60)
                if said != expected:
                    wrong.append(f"{runtime}: {said!r}")

            async with anyio.create_task_group() as group:
                for number in range(60):
                    group.start_soon(ask, number)
        assert not wrong
        assert not here.overlaps()
        assert [name for name, _, _ in here.spans] in (["small", "large"], ["large", "small"])
    assert not fleet.engines_left(tmp_path)


async def test_two_models_that_fit_stay_together(tmp_path: Path, models: Models) -> None:
    sections = one_at_a_time(small=await models.gguf(), large=await models.gguf(52))
    with anyio.fail_after(55):
        async with fleet.opened(tmp_path, sections, pool_bytes=4 * GIB) as here:
            for name in ("small", "large", "small", "large"):
                assert await here.ask(name, "hello", max_tokens=60) == fleet.SENTENCE
            assert all(one.record() for one in here.recorded.values())
        assert [len(one.loads_s) for one in here.recorded.values()] == [1, 1]


async def test_a_cancelled_answer_stops_the_engines_work(tmp_path: Path, models: Models) -> None:
    sections = one_at_a_time(large=await models.gguf(52))
    with anyio.fail_after(55):
        async with fleet.opened(tmp_path, sections, pool_bytes=GIB) as here:
            await here.ask("large", "hello", max_tokens=1)
            record = here.recorded["large"].record()
            assert record is not None
            async with anyio.create_task_group() as group:
                group.start_soon(lambda: here.ask("large", "count", max_tokens=4000))
                await anyio.sleep(0.5)
                assert await slots_busy(record) == 1
                group.cancel_scope.cancel()
            with anyio.fail_after(5):
                while await slots_busy(record):
                    await anyio.sleep(0.05)


async def slots_busy(record: base.ProcessRecord) -> int:
    """How many answers llama.cpp itself says that it is working on."""
    async with httpx2.AsyncClient(timeout=10) as client:
        answer = await client.get(
            f"http://127.0.0.1:{record.port}/slots",
            headers={"authorization": f"Bearer {record.nonce}"},
        )
    rows = json.loads(answer.text)
    return sum(bool(row["is_processing"]) for row in rows)


async def test_an_engine_killed_in_mid_answer_is_told_and_the_next_request_works(
    tmp_path: Path, models: Models
) -> None:
    sections = one_at_a_time(large=await models.gguf(52))
    with anyio.fail_after(55):
        async with fleet.opened(tmp_path, sections, pool_bytes=GIB) as here:
            await here.ask("large", "hello", max_tokens=1)
            record = here.recorded["large"].record()
            assert record is not None

            async def kill() -> None:
                await eventually_async(lambda: slots_busy(record))
                os.kill(record.pid, signal.SIGKILL)

            async with anyio.create_task_group() as group:
                group.start_soon(kill)
                with pytest.raises(LOST):
                    await here.ask("large", "count", max_tokens=4000)
            with anyio.fail_after(40):
                while True:
                    try:
                        said = await here.ask("large", "hello", max_tokens=60)
                    except LOST:
                        await anyio.sleep(0.2)
                        continue
                    break
            assert said == fleet.SENTENCE


async def eventually_async(condition: Any) -> None:
    with anyio.fail_after(20):
        while not await condition():
            await anyio.sleep(0.02)


async def test_a_load_without_mapping_shows_its_progress(tmp_path: Path, models: Models) -> None:
    sections = one_at_a_time(large=await models.gguf(200))
    sections["large"]["args"] = ["--no-mmap", "--threads", "1"]
    seen: list[base.LoadProgress] = []
    with anyio.fail_after(55):
        async with fleet.opened(tmp_path, sections, pool_bytes=GIB) as here:
            lifecycle = here.recorded["large"].inner
            await lifecycle.start(seen.append)
            used = lifecycle.memory_used() or 0
            await lifecycle.stop()
    fractions = [one.fraction for one in seen if one.fraction is not None]
    assert fractions, "llama.cpp said nothing of its load"
    assert fractions == sorted(fractions)
    assert 200 << 20 < used < 1 << 30


def engines_below(folder: Path) -> set[int]:
    """The pids of our llama.cpp children that serve from this folder."""
    return {
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in word for word in process.info["cmdline"] or [])
        and any(word.endswith("embedded_child.py") for word in process.info["cmdline"] or [])
    }


@pytest.mark.requirement("no-orphans")
async def test_the_engine_of_a_killed_gateway_is_adopted_by_the_next_without_a_reload(
    tmp_path: Path,
) -> None:
    body = {
        "model": "tiny",
        "temperature": 0,
        "messages": [{"role": "user", "content": "hello"}],
    }
    config = {"runtimes": {"tiny": {"engine": "embedded"}}}
    with anyio.fail_after(58):
        async with gateway(config, tmp_path) as here:
            await here.start()
            async with here.client() as client:
                first = await client.post("/v1/chat/completions", json=body)
            engines = engines_below(tmp_path)
            await here.kill()
            await here.start()
            async with here.client() as client:
                second = await client.post("/v1/chat/completions", json=body)
            assert engines_below(tmp_path) == engines
            assert len(engines) == 1
            await here.stop()
    for answer in (first, second):
        assert answer.json()["choices"][0]["message"]["content"] == fleet.SENTENCE
    assert not engines_below(tmp_path)
