"""Every way an engine misbehaves, at every moment, seen by a client of the whole gateway.

Each case ends the same: the client was told what the contract says, and the next request for another
model works.
"""

import contextlib
import json
import os
import signal
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from tests.support.fake_engine import answers, witness
from tests.support.gateway import Gateway, fake, gateway

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@dataclass(frozen=True)
class Said:
    """What a client got."""

    status: int
    text: str = ""
    error: dict[str, Any] | None = None
    broken: bool = False
    done: bool = False


async def chat(here: Gateway, model: str, prompt: str, *, stream: bool) -> Said:
    """One request, read to its end, whatever end that is."""
    body = {
        "model": model,
        "stream": stream,
        "messages": [{"role": "user", "content": prompt}],
    }
    async with here.client() as client:
        if not stream:
            answer = await client.post("/v1/chat/completions", json=body)
            said = answer.json()
            if answer.status_code != 200:
                return Said(answer.status_code, error=said["error"])
            return Said(200, said["choices"][0]["message"]["content"], done=True)
        return await streamed(client, body)


async def streamed(client: httpx2.AsyncClient, body: dict[str, Any]) -> Said:
    text, error, done = "", None, False
    async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        if answer.status_code != 200:
            return Said(answer.status_code, error=json.loads(await answer.aread())["error"])
        try:
            async for line in answer.aiter_lines():
                if line == "data: [DONE]":
                    done = True
                elif line.startswith("data: "):
                    said = json.loads(line[6:])
                    error = said.get("error") or error
                    for choice in said.get("choices", []):
                        text += choice["delta"].get("content") or ""
        except httpx2.TransportError:
            return Said(200, text, error, broken=True, done=done)
    return Said(200, text, error, done=done)


@contextlib.asynccontextmanager
async def pair(
    folder: Path, *, section: dict[str, Any] | None = None, **bad: Any
) -> AsyncGenerator[Gateway]:
    """A gateway with a runtime that misbehaves and one that does not; they never fit together."""
    runtimes = {
        "bad": {**fake("bad", folder, **bad), **(section or {})},
        "good": fake("good", folder),
    }
    async with gateway({"runtimes": runtimes}, folder) as here:
        await here.start()
        yield here
        assert await works(here)
        assert witness.overlaps(here.witness) == []
        assert await here.stop() == 0
        assert here.left_behind() == []


async def works(here: Gateway) -> bool:
    """The other model, afterwards."""
    with anyio.fail_after(60):
        said = await chat(here, "good", "are you there?", stream=False)
    return said.text == answers.text("good", "are you there?", 8)


LOAD_FAULTS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "crash at start": ({"crash": "start", "exit_code": 3}, {}, "unknown"),
    "out of memory in load": (
        {"crash": "load", "crash_text": "CUDA error: out of memory", "load_s": 0.2},
        {},
        "oom",
    ),
    "hang in load": ({"load_hang": True}, {"load_timeout": "1s"}, "load_stalled"),
    "silent health": ({"empty_health": True}, {"load_timeout": "1s"}, "load_stalled"),
    "no program": ({}, {"cmd": ["/nowhere/llama-server"]}, "not_installed"),
}


@pytest.mark.parametrize("fault", LOAD_FAULTS)
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_a_load_that_fails_is_told_to_its_client(
    tmp_path: Path, fault: str, stream: bool
) -> None:
    knobs, section, failure = LOAD_FAULTS[fault]
    async with pair(tmp_path, section=section, **knobs) as here:
        with anyio.fail_after(60):
            said = await chat(here, "bad", "hello", stream=stream)
        check_load_failure(said, failure)


@pytest.mark.requirement("load-failure-is-told")
@pytest.mark.parametrize("fault", LOAD_FAULTS)
async def test_a_load_that_fails_is_told_to_everybody_who_waited_behind_another_model(
    tmp_path: Path, fault: str
) -> None:
    knobs, section, failure = LOAD_FAULTS[fault]
    async with pair(tmp_path, section=section, **knobs) as here:
        waiting: list[Said] = []

        async def wait() -> None:
            waiting.append(await chat(here, "bad", "hello", stream=True))

        with anyio.fail_after(90):
            async with anyio.create_task_group() as group:
                group.start_soon(finish_slowly, here)
                await begun(here)
                for _ in range(3):
                    group.start_soon(wait)
        for said in waiting:
            check_load_failure(said, failure)


async def finish_slowly(here: Gateway) -> None:
    """A long answer of the other model, which nobody may cut off."""
    prompt = "[[tokens:20]] [[delay-ms:50]]"
    said = await chat(here, "good", prompt, stream=True)
    assert said == Said(200, answers.text("good", prompt, 20), done=True)


async def begun(here: Gateway, count: int = 1) -> None:
    """Wait until an engine has begun so many answers."""
    while len(witness.named(here.witness, "begin")) < count:
        await anyio.sleep(0.02)


def check_load_failure(said: Said, failure: str) -> None:
    """503 `engine_load_failed`, or the same as an event when the 200 had gone out."""
    assert said.error is not None
    assert said.error["code"] == "engine_load_failed"
    assert said.error["src"] == "gateway"
    assert failure in json.dumps(said.error)
    assert said.status == 503 or (said.status == 200 and said.broken)
    assert not said.done
    assert not said.text


BROKEN = ["[[die]]", "[[cut]]", "[[garbage]]"]


@pytest.mark.requirement("dead-engine-is-no-answer")
@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_an_answer_that_breaks_off_is_an_error_and_never_a_short_answer(
    tmp_path: Path, fault: str, stream: bool
) -> None:
    async with pair(tmp_path) as here:
        with anyio.fail_after(60):
            said = await chat(here, "bad", f"[[tokens:8]] {fault}", stream=stream)
        assert said.error is not None
        assert said.error["code"] in ("upstream_error", "engine_load_failed")
        assert not said.done
        assert said.broken if stream else said.status in (502, 503)


@pytest.mark.parametrize("fault", ["[[die-first]]", "[[cut-first]]"])
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_an_engine_that_breaks_before_the_first_byte_is_a_bad_gateway(
    tmp_path: Path, fault: str, stream: bool
) -> None:
    async with pair(tmp_path) as here:
        with anyio.fail_after(60):
            said = await chat(here, "bad", fault, stream=stream)
        assert said.error is not None
        assert said.error["code"] in ("upstream_error", "engine_load_failed")
        assert said.status in (502, 503) or said.broken


@pytest.mark.parametrize(("fault", "status"), [("[[http500]]", 500), ("[[http400]]", 400)])
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_what_an_engine_refuses_is_passed_on(
    tmp_path: Path, fault: str, status: int, stream: bool
) -> None:
    async with pair(tmp_path) as here:
        with anyio.fail_after(60):
            said = await chat(here, "bad", fault, stream=stream)
        assert said.error is not None
        assert said.status in ((status,) if status < 500 else (500, 502))


async def test_a_missing_last_line_is_put_back(tmp_path: Path) -> None:
    async with pair(tmp_path) as here:
        for stream in (True, False):
            with anyio.fail_after(60):
                said = await chat(here, "bad", "[[nodone]] [[tokens:3]]", stream=stream)
            assert said == Said(200, answers.text("bad", "[[nodone]] [[tokens:3]]", 3), done=True)


async def test_who_waits_for_a_slot_of_an_engine_that_dies_is_answered_or_told(
    tmp_path: Path,
) -> None:
    async with pair(tmp_path) as here:
        said: list[Said] = []

        async def wait() -> None:
            said.append(await chat(here, "bad", "second", stream=True))

        with anyio.fail_after(90):
            async with anyio.create_task_group() as group:
                group.start_soon(
                    lambda: chat(here, "bad", "[[tokens:9]] [[delay-ms:80]] [[die]]", stream=True)
                )
                await begun(here)
                group.start_soon(wait)
        # Its next life answers; or it was granted the slot in the moment before the death was seen.
        assert said[0].text == answers.text("bad", "second", 8) or (
            said[0].error is not None
            and said[0].error["code"] in ("engine_load_failed", "upstream_error")
        )


@pytest.mark.parametrize("workers", [False, True], ids=["alone", "with workers"])
async def test_an_engine_that_dies_while_idle_is_started_again(
    tmp_path: Path, workers: bool
) -> None:
    async with pair(tmp_path, fork_detached=workers, fork_ignores_term=workers) as here:
        with anyio.fail_after(90):
            await chat(here, "bad", "first", stream=False)
            engine = witness.named(here.witness, "ready")[-1].pid
            os.kill(engine, signal.SIGKILL)
            said = await chat(here, "bad", "second", stream=False)
            while said.status != 200:  # asked before its end was seen, or while it backs off
                assert said.error is not None
                assert said.error["code"] in ("engine_load_failed", "upstream_error")
                await anyio.sleep(0.3)
                said = await chat(here, "bad", "second", stream=False)
        assert said.text == answers.text("bad", "second", 8)


async def test_a_client_that_leaves_in_a_load_frees_the_way(tmp_path: Path) -> None:
    async with pair(tmp_path, load_s=60) as here:
        with anyio.fail_after(60):
            with anyio.move_on_after(1.5):
                await chat(here, "bad", "hello", stream=True)
            assert await works(here)


@pytest.mark.requirement("one-breaker")
async def test_a_crash_loop_is_told_at_once_and_not_tried_for_each_request(tmp_path: Path) -> None:
    async with pair(tmp_path, crash="start") as here:
        with anyio.fail_after(90):
            for _ in range(6):
                said = await chat(here, "bad", "hello", stream=False)
                assert said.error is not None
                assert said.error["code"] == "engine_load_failed"
        assert len([e for e in witness.named(here.witness, "started") if e.engine == "bad"]) <= 3
