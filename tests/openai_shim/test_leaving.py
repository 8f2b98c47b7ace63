"""A client that leaves frees its place and stops the engine, in every phase and however it leaves."""

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest

from coordinator.state import WorkState
from runtimes import upstream
from tests.openai_shim import harness

WHOLE = "[[tokens:3000]] [[delay-ms:20]]"
PHASES = {
    "first-byte": "[[stall-first]]",
    "prefill": "[[prefill-ms:60000]]",
    "mid-stream": WHOLE,
}


@pytest.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[harness.Gateway]:
    patient = upstream.Patience()
    folder: Path = tmp_path_factory.mktemp("leaving")
    runtimes = {"tiny": {}, "narrow": {"max_concurrency": 1}}
    async with harness.gateway(folder, runtimes, patience=patient) as made:
        yield made


def raw(gateway: harness.Gateway, body: dict[str, Any], path: str = "chat/completions") -> bytes:
    payload = json.dumps(body).encode()
    head = (
        f"POST /v1/{path} HTTP/1.1\r\nhost: 127.0.0.1:{gateway.port}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload


async def connect(gateway: harness.Gateway) -> anyio.abc.SocketStream:
    return await anyio.connect_tcp("127.0.0.1", gateway.port)


async def begun(gateway: harness.Gateway, prompt: str) -> None:
    with anyio.fail_after(30):
        while not any(e.data["prompt"] == prompt for e in gateway.engine_events("begin")):
            await anyio.sleep(0.02)


async def ended_for(gateway: harness.Gateway, prompt: str) -> None:
    """The engine noticed, and no lease is held."""
    await gateway.until_idle()
    with anyio.fail_after(30):
        while True:
            mine = [
                e.data["id"] for e in gateway.engine_events("begin") if e.data["prompt"] == prompt
            ]
            over = {
                e.data["id"] for name in ("cancelled", "end") for e in gateway.engine_events(name)
            }
            if set(mine) <= over:
                return
            await anyio.sleep(0.02)


@pytest.mark.requirement("client-gone-frees-at-once")
@pytest.mark.parametrize("how", ["close", "half-close", "pipelined"])
@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("phase", PHASES)
async def test_leaving_a_running_request_stops_the_engine(
    gateway: harness.Gateway, phase: str, streamed: bool, how: str
) -> None:
    prompt = f"{PHASES[phase]} {phase} {streamed} {how}"
    asked = raw(gateway, harness.chat(prompt, stream=streamed))
    stream = await connect(gateway)
    await stream.send(asked + (asked if how == "pipelined" else b""))
    await begun(gateway, prompt)

    if how == "half-close":
        await stream.send_eof()
    else:
        await stream.aclose()

    await ended_for(gateway, prompt)
    assert gateway.coordinator.snapshot().queue == ()
    await stream.aclose()
    rows = await gateway.until_rows(WorkState.CANCELLED, WorkState.SUCCEEDED)
    assert {row.code for row in rows if row.state is WorkState.CANCELLED} == {"cancelled"}


@pytest.mark.requirement("client-gone-frees-at-once")
@pytest.mark.parametrize("streamed", [True, False])
async def test_leaving_the_queue_frees_the_place(
    gateway: harness.Gateway, streamed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    hog, waiting = await connect(gateway), await connect(gateway)
    await hog.send(raw(gateway, harness.chat(f"{WHOLE} hog {streamed}", "narrow", stream=True)))
    await begun(gateway, f"{WHOLE} hog {streamed}")
    await waiting.send(raw(gateway, harness.chat("never", "narrow", stream=streamed)))
    await gateway.until_queued(1)

    await waiting.aclose()

    await gateway.until_queued(0)
    await hog.aclose()
    await gateway.until_idle()
    assert not [e for e in gateway.engine_events("begin") if e.data["prompt"] == "never"]
    lines = [vars(record).get("fields", {}) for record in caplog.records]
    left = [line for line in lines if line.get("model") == "narrow"]
    assert [line["outcome"] for line in left] == ["client_gone", "client_gone"]


@pytest.mark.requirement("client-gone-frees-at-once")
@pytest.mark.parametrize("streamed", [True, False])
async def test_leaving_while_the_model_loads_frees_the_place(
    tmp_path: Path, streamed: bool
) -> None:
    async with harness.gateway(tmp_path, {"tiny": {"load_s": 3.0}}) as gateway:
        stream = await connect(gateway)
        await stream.send(raw(gateway, harness.chat("never", stream=streamed)))
        await gateway.until_engine("loading")

        await stream.aclose()

        await gateway.until_idle()
        rows = await gateway.until_rows(WorkState.CANCELLED)
        assert len(rows) == 1
        assert gateway.engine_events("begin") == []


@pytest.mark.parametrize("share", [0.0, 0.5])
async def test_leaving_in_the_middle_of_the_body_leaves_nothing_behind(
    gateway: harness.Gateway, share: float
) -> None:
    before = len(await gateway.rows())
    whole = raw(gateway, harness.chat("x" * 200_000))
    head = whole.index(b"\r\n\r\n") + 4
    stream = await connect(gateway)
    await stream.send(whole[: head + int((len(whole) - head) * share)])
    await stream.aclose()

    async with gateway.client() as client:
        answer = await client.post("/v1/chat/completions", json=harness.chat("still here"))
    await gateway.until_idle()

    assert answer.status_code == 200
    assert len(await gateway.rows()) == before + 1


async def test_an_embedding_is_left_too(gateway: harness.Gateway) -> None:
    stream = await connect(gateway)
    body = {"model": "tiny", "input": ["x"] * 50}
    await stream.send(raw(gateway, body, "embeddings"))
    await stream.aclose()

    await gateway.until_idle()


async def test_many_who_leave_at_random_leave_nothing_behind(gateway: harness.Gateway) -> None:
    async def one(number: int) -> None:
        stream = await connect(gateway)
        prompt = f"[[tokens:{number % 7 * 10}]] [[delay-ms:2]] storm {number}"
        await stream.send(raw(gateway, harness.chat(prompt, stream=number % 2 == 0)))
        with anyio.move_on_after(0.01 * (number % 13)):
            await stream.receive()
        await stream.aclose()

    with anyio.fail_after(50):
        async with anyio.create_task_group() as group:
            for number in range(120):
                group.start_soon(one, number)
        await gateway.until_idle()
        async with gateway.client() as client:
            answer = await client.post("/v1/chat/completions", json=harness.chat("still here"))

    assert answer.status_code == 200
