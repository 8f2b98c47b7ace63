"""Engines that go silent: the client is told within its time, and the next request for another model works."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.fake_engine import witness
from tests.support.gateway import Gateway, fake, gateway

WITHIN_S = 40


def two_models(folder: Path, **chosen: Any) -> dict[str, Any]:
    runtimes = {"a": fake("a", folder, **chosen), "b": fake("b", folder)}
    runtimes["a"].update({"health_every": "200ms", "health_timeout": "500ms"})
    queue = {"stall_timeout": "1s", "first_byte_timeout": "30s"}
    scheduling = {"min_residency": "0s", "max_wait": "100ms"}
    return {"runtimes": runtimes, "queue": queue, "scheduling": scheduling}


async def ask(here: Gateway, model: str, prompt: str, stream: bool = False) -> tuple[int, str]:
    """Status and everything that came, also of an answer that was cut."""
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": prompt}]}
    came = b""
    with anyio.fail_after(WITHIN_S):
        async with (
            here.client() as client,
            client.stream("POST", "/v1/chat/completions", json=body) as answer,
        ):
            try:
                async for block in answer.aiter_bytes():
                    came += block
            except Exception as error:  # noqa: BLE001 - how the client library says "cut"
                came += f" [{type(error).__name__}]".encode()
            return answer.status_code, came.decode()


async def why(here: Gateway, name: str) -> str | None:
    """The class of a runtime's last failure, as the status shows it."""
    async with here.client() as client:
        runtimes = (await client.get("/status")).json()["runtimes"]
    last = next(one["last_error"] for one in runtimes if one["name"] == name)
    return None if last is None else str(last["class"])


@pytest.mark.requirement("dead-engine-is-no-answer")
async def test_a_stream_that_stalls_ends_in_an_error_and_a_cut(tmp_path: Path) -> None:
    async with gateway(two_models(tmp_path), tmp_path) as here:
        await here.start()
        status, text = await ask(here, "a", "x [[tokens:9]] [[stall]]", stream=True)
        assert status == 200
        assert '"upstream_error"' in text
        assert "[DONE]" not in text
        assert "RemoteProtocolError" in text  # never a clean end
        assert (await ask(here, "b", "[[tokens:2]]"))[0] == 200


async def test_a_whole_answer_that_stalls_is_a_502(tmp_path: Path) -> None:
    async with gateway(two_models(tmp_path), tmp_path) as here:
        await here.start()
        status, text = await ask(here, "a", "x [[tokens:9]] [[stall]]")
        assert (status, json.loads(text)["error"]["code"]) == (502, "upstream_error")
        assert (await ask(here, "b", "[[tokens:2]]"))[0] == 200


@pytest.mark.requirement("dead-engine-is-no-answer")
@pytest.mark.parametrize("stream", [True, False])
async def test_an_engine_that_goes_deaf_is_ended_and_its_client_told(
    tmp_path: Path, stream: bool
) -> None:
    async with gateway(two_models(tmp_path), tmp_path) as here:
        await here.start()
        told: list[tuple[int, str]] = []

        async def wait_for_nothing() -> None:
            told.append(await ask(here, "a", "x [[stall-first]]", stream))

        async with anyio.create_task_group() as group:
            group.start_soon(wait_for_nothing)
            with anyio.fail_after(WITHIN_S):
                while not witness.named(here.witness, "begin"):
                    await anyio.sleep(0.02)
            os.kill(witness.named(here.witness, "begin")[0].pid, signal.SIGUSR1)
        status, text = told[0]
        # The engine is ended as soon as it is found deaf, and that is what its client is told.
        assert '"broke_before_first_byte"' in text, told
        assert "[DONE]" not in text
        assert stream or status == 502
        with anyio.fail_after(WITHIN_S):
            while (await why(here, "a")) != "unresponsive":
                await anyio.sleep(0.05)
        assert (await ask(here, "b", "[[tokens:2]]"))[0] == 200
        assert await here.stop() == 0
        assert here.left_behind() == []
        assert witness.overlaps(here.witness) == []
