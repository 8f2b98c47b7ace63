"""Three different real engines behind one queue: llama.cpp, MLX and transformers.

Installed and run by `make test-engines`; skipped where they are not installed.
"""

import random
from pathlib import Path
from typing import Any

import anyio
import pytest

from benchmarks import scheduling
from tests.real_engines import fleet, install
from tests.real_engines.fleet import Models

pytestmark = [pytest.mark.engines, pytest.mark.timeout(420)]

GIB = 1 << 30
REQUESTS = 200
NAMES = ("llama", "mlx", "torch")


async def sections(models: Models) -> dict[str, dict[str, Any]]:
    """One runtime for each engine, each as large as the pool."""
    folder = str(await models.hf())
    return {
        "llama": {
            "engine": "embedded",
            "model": str(await models.gguf()),
            "memory": "1GiB",
            "args": ["--threads", "1"],
        },
        "mlx": {
            "engine": "mlx-lm",
            "model": folder,
            "memory": "1GiB",
            "executable": str(install.program("mlx-lm", "mlx_lm.server")),
        },
        "torch": {
            "engine": "transformers",
            "model": folder,
            "memory": "1GiB",
            "executable": str(install.program("transformers", "transformers")),
            "args": ["--device", "cpu"],
        },
    }


def predicted_swaps(asked: list[str], loads_s: dict[str, float]) -> int:
    """What the simulator makes of the same requests, with the loads as long as they really took."""
    calls = tuple((name, 0.05) for name in asked)
    trace = scheduling.Trace(
        "real",
        "everything asked at once",
        1.0,
        tuple(scheduling.Model(name, 1.0, 1, loads_s[name], 1.0) for name in loads_s),
        (scheduling.Agent(0.0, 50, 0.0, (calls,)),),
    )
    return scheduling.Replay(trace, scheduling.OURS).run().swaps


async def test_two_hundred_mixed_requests_are_answered_exactly_with_the_predicted_swaps(
    tmp_path: Path, models: Models
) -> None:
    for engine in install.WANTED:
        fleet.wanted(engine)
    dice = random.Random(4)
    asked = [dice.choice(NAMES) for _ in range(REQUESTS)]
    wrong: list[str] = []
    with anyio.fail_after(400):
        async with fleet.opened(tmp_path, await sections(models), pool_bytes=GIB) as here:

            async def ask(runtime: str, length: int) -> None:
                said = await here.ask(runtime, "count" if length else "hi", max_tokens=length or 60)
                expected = fleet.counted(length) if length else fleet.SENTENCE
                if said.strip() != expected.strip():
                    wrong.append(f"{runtime} said {said!r}")

            async with anyio.create_task_group() as group:
                for runtime in asked:
                    group.start_soon(ask, runtime, dice.choice((0, 0, 3, 12)))
        loads_s = {name: one.loads_s[0] for name, one in here.recorded.items()}
    assert not wrong
    assert not here.overlaps()
    swaps = len(here.spans) - 1  # the last stop is the gateway's own end
    assert swaps == predicted_swaps(asked, loads_s)
    assert not fleet.engines_left(tmp_path)
    print({name: round(load, 1) for name, load in loads_s.items()}, "swaps", swaps)


@pytest.mark.parametrize("name", ["mlx", "torch"])
async def test_a_client_that_leaves_stops_another_engines_work_too(
    tmp_path: Path, models: Models, name: str
) -> None:
    fleet.wanted("mlx-lm" if name == "mlx" else "transformers")
    one = {name: (await sections(models))[name]}
    with anyio.fail_after(120):
        async with fleet.opened(tmp_path, one, pool_bytes=GIB) as here:
            await here.ask(name, "hi", max_tokens=60)
            with anyio.move_on_after(1.0):
                await here.ask(name, "count", max_tokens=100_000)
            # The slot is free at once, and the engine takes the next one at once.
            with anyio.fail_after(30):
                assert (await here.ask(name, "hi", max_tokens=60)).strip() == fleet.SENTENCE


@pytest.mark.parametrize("name", ["mlx", "torch"])
async def test_an_engine_is_adopted_by_the_next_gateway(
    tmp_path: Path, models: Models, name: str
) -> None:
    fleet.wanted("mlx-lm" if name == "mlx" else "transformers")
    one = {name: (await sections(models))[name]}
    with anyio.fail_after(120):
        async with fleet.opened(tmp_path, one, pool_bytes=GIB) as here:
            await here.ask(name, "hi", max_tokens=60)
            record = here.recorded[name].record()
            async with fleet.opened(tmp_path / "next", one, pool_bytes=GIB) as after:
                lifecycle = after.recorded[name]
                adopted = await lifecycle.look(record)
                assert adopted is not None
                assert adopted.process == record
                assert not lifecycle.loads_s
