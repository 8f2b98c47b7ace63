"""A configuration that changes under a running gateway: all of it, or nothing and a word about why."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.fake_engine import witness
from tests.support.gateway import Gateway, fake, gateway

WITHIN_S = 30


async def status(here: Gateway) -> dict[str, Any]:
    async with here.client() as client:
        found: dict[str, Any] = (await client.get("/status")).json()
        return found


async def ask(here: Gateway, model: str) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "[[tokens:2]]"}]}
    async with here.client() as client:
        return (await client.post("/v1/chat/completions", json=body)).status_code


async def until_status(here: Gateway, holds: Any) -> dict[str, Any]:
    with anyio.fail_after(WITHIN_S):
        while True:
            seen = await status(here)
            if holds(seen):
                return seen
            await anyio.sleep(0.05)


def states(seen: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["state"] for one in seen["runtimes"]}


@pytest.mark.requirement("reload-is-whole")
async def test_untouched_runtimes_stay_and_others_come_go_or_change(tmp_path: Path) -> None:
    runtimes = {
        name: fake(name, tmp_path, memory="1GiB", gpu=tmp_path / f"gpu-{name}") for name in "abc"
    }
    async with gateway({"runtimes": runtimes}, tmp_path) as here:
        await here.start()
        for name in "abc":
            assert await ask(here, name) == 200
        changed = {**runtimes["b"], "max_concurrency": 3}
        here.write(
            {"runtimes": {"a": runtimes["a"], "b": changed, "d": {**runtimes["c"], "model": "d"}}}
        )
        seen = await until_status(here, lambda seen: set(states(seen)) == {"a", "b", "d"})
        seen = await until_status(
            here, lambda seen: [r["slots"] for r in seen["runtimes"] if r["name"] == "b"] == [3]
        )
        assert states(seen)["a"] == "ready"
        assert await ask(here, "b") == 200
        assert await ask(here, "c") == 404
        lives = [life.engine for life in witness.lives(witness.read(here.witness))]
        assert sorted(lives) == ["a", "b", "b", "c"]


@pytest.mark.requirement("reload-is-whole")
async def test_a_bad_configuration_leaves_the_running_one_and_says_so(tmp_path: Path) -> None:
    async with gateway({"runtimes": {"a": fake("a", tmp_path)}}, tmp_path) as here:
        await here.start()
        assert await ask(here, "a") == 200
        here.write({"runtimes": {"a": {"engine": "llama-server", "modle": "x"}}})
        seen = await until_status(here, lambda seen: seen["config"]["problem"])
        assert "modle" in seen["config"]["problem"]
        assert "did you mean 'model'" in seen["config"]["problem"]
        assert states(seen) == {"a": "ready"}
        assert await ask(here, "a") == 200
        here.write({"runtimes": {"a": fake("a", tmp_path)}, "queue": {"max_queue": 7}})
        seen = await until_status(here, lambda seen: not seen["config"]["problem"])
        assert seen["config"]["changed_for_the_next_start"] == ["queue"]
        assert states(seen) == {"a": "ready"}
