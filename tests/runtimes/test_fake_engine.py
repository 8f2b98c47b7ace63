"""The fake engine itself: a test double that lies unasked would make every other test lie."""

import json
import signal
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from tests.support.fake_engine import answers, spawn, witness


def chat(prompt: str, **more: object) -> dict[str, Any]:
    return {"model": "fake-model", "messages": [{"role": "user", "content": prompt}], **more}


async def post(engine: spawn.Spawned, body: dict[str, Any]) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=engine.base_url, timeout=20) as client:
        return await client.post("/v1/chat/completions", json=body)


async def streamed(engine: spawn.Spawned, prompt: str, **more: object) -> list[Any]:
    answer = await post(engine, chat(prompt, stream=True, **more))
    lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


async def until(path: Path, event: str) -> witness.Event:
    with anyio.fail_after(20):
        while not (found := witness.named(path, event)):
            await anyio.sleep(0.02)
    return found[-1]


async def test_an_answer_is_a_function_of_model_and_prompt() -> None:
    async with spawn.running() as engine:
        answer = (await post(engine, chat("hello there [[tokens:5]]"))).json()
    expected = answers.text("fake-model", "hello there [[tokens:5]]", 5)
    assert answer["choices"][0]["message"]["content"] == expected
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}


async def test_a_stream_says_the_same_and_ends_with_usage_and_done() -> None:
    async with spawn.running() as engine:
        events = await streamed(engine, "hi", stream_options={"include_usage": True})
    assert events[-1] == "[DONE]"
    assert events[-2]["usage"]["completion_tokens"] == 8
    deltas = [choice["delta"] for event in events[:-1] for choice in event["choices"]]
    text = "".join(delta.get("content") or "" for delta in deltas)
    assert text == answers.text("fake-model", "hi", 8)


@pytest.mark.parametrize(("prompt", "status"), [("[[http500]]", 500), ("[[http400]]", 400)])
async def test_a_trigger_makes_an_http_error(prompt: str, status: int) -> None:
    async with spawn.running() as engine:
        assert (await post(engine, chat(prompt))).status_code == status


@pytest.mark.parametrize("trigger", ["[[cut]]", "[[die]]", "[[cut-first]]", "[[die-first]]"])
async def test_a_broken_stream_does_not_end_cleanly(trigger: str) -> None:
    async with spawn.running() as engine:
        with pytest.raises(httpx2.TransportError):
            await streamed(engine, trigger)


async def test_a_missing_done_is_the_only_thing_missing() -> None:
    async with spawn.running() as engine:
        events = await streamed(engine, "[[nodone]]")
    assert "[DONE]" not in events
    assert events[-1]["choices"][0]["finish_reason"] == "stop"


async def test_garbage_is_not_json(tmp_path: Path) -> None:
    async with spawn.running() as engine:
        answer = await post(engine, chat("[[garbage]]"))
    with pytest.raises(json.JSONDecodeError):
        answer.json()


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_is_noticed(tmp_path: Path, stream: bool) -> None:
    log = tmp_path / "witness"
    async with spawn.running(witness=log) as engine:
        with anyio.move_on_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(
                    post, engine, chat("[[tokens:9000]] [[delay-ms:20]]", stream=stream)
                )
                await until(log, "begin")
                group.cancel_scope.cancel()
        assert (await until(log, "cancelled")).data["tokens"] < 9000


async def test_loading_answers_503_until_it_is_done(tmp_path: Path) -> None:
    log = tmp_path / "witness"
    async with (
        spawn.running(witness=log, load_s=0.5) as engine,
        httpx2.AsyncClient(base_url=engine.base_url) as client,
    ):
        assert (await client.get("/health")).status_code == 503
        await until(log, "ready")
        assert (await client.get("/health")).json() == {"status": "ok"}


async def test_a_deaf_engine_accepts_but_does_not_answer(tmp_path: Path) -> None:
    log = tmp_path / "witness"
    async with spawn.running(witness=log) as engine:
        engine.send(signal.SIGUSR1)
        await until(log, "deaf")
        async with httpx2.AsyncClient(base_url=engine.base_url, timeout=0.3) as client:
            with pytest.raises(httpx2.ReadTimeout):
                await client.get("/health")


async def test_two_holders_of_one_gpu_are_seen(tmp_path: Path) -> None:
    log, gpu = tmp_path / "witness", tmp_path / "gpu"
    async with spawn.running(model="one", witness=log, gpu=gpu):
        await until(log, "ready")
        assert witness.overlaps(log) == []
        async with spawn.running(model="two", witness=log, gpu=gpu):
            await until(log, "overlap")
    assert "two found the GPU held" in witness.overlaps(log)


async def test_the_lock_of_a_killed_holder_is_free(tmp_path: Path) -> None:
    log, gpu = tmp_path / "witness", tmp_path / "gpu"
    async with spawn.running(model="one", witness=log, gpu=gpu):
        await until(log, "ready")
    async with spawn.running(model="two", witness=log, gpu=gpu):
        with anyio.fail_after(20):
            while len(witness.named(log, "ready")) < 2:
                await anyio.sleep(0.02)
    assert witness.overlaps(log) == []


async def test_a_crash_in_load_says_its_last_words_and_exits_as_told(tmp_path: Path) -> None:
    log = tmp_path / "witness"
    async with spawn.running(witness=log, crash="load", exit_code=7, load_s=0.2) as engine:
        with anyio.fail_after(20):
            assert await engine.process.wait() == 7
    assert witness.named(log, "exit")[0].data["crash"] is True


async def test_sigterm_can_be_ignored(tmp_path: Path) -> None:
    log = tmp_path / "witness"
    async with spawn.running(witness=log, ignore_term=True) as engine:
        await until(log, "ready")
        engine.send(signal.SIGTERM)
        await until(log, "term")
        assert (await post(engine, chat("still here"))).status_code == 200


async def test_more_requests_than_slots_are_put_on_record(tmp_path: Path) -> None:
    log = tmp_path / "witness"
    async with spawn.running(witness=log, slots=1) as engine, anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(post, engine, chat("[[tokens:10]] [[delay-ms:20]]"))
    assert len(witness.named(log, "over_slots")) == 1
    assert witness.most_at_once(log, "fake-model") == 1
