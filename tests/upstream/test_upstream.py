"""Whole answers from a real child process, with each way of breaking."""

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx2
import pytest

from runtimes import base, event_stream, upstream
from tests.support.fake_engine import answers, spawn

MODEL = "fake-model"


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[base.Running]:
    async with spawn.running(model=MODEL) as engine, httpx2.AsyncClient() as client:
        with anyio.fail_after(30):
            while (await client.get(f"{engine.base_url}/health")).status_code != 200:
                await anyio.sleep(0.02)
        yield base.Running(engine.base_url, None)


def spec(**more: Any) -> base.RuntimeSpec:
    return base.RuntimeSpec("tiny", "fake", ("tiny",), MODEL, **more)


def chat(prompt: str, **more: Any) -> bytes:
    messages = [{"role": "user", "content": prompt}]
    return json.dumps({"model": "tiny", "messages": messages, **more}).encode()


async def complete(running: base.Running, body: bytes, path: str = "") -> upstream.Completion:
    patience = upstream.Patience(first_byte_s=0.3, between_s=0.3)
    with anyio.fail_after(20):
        async with upstream.Upstream(patience) as engines:
            path = path or "/v1/chat/completions"
            return await engines.complete(running, spec(), path, body)


async def test_a_chat_comes_back_whole_with_usage_and_the_alias(running: base.Running) -> None:
    answer = await complete(running, chat("hello there"))

    whole = json.loads(answer.body)
    assert whole["model"] == "tiny"
    assert whole["object"] == "chat.completion"
    assert whole["choices"][0]["message"]["content"] == answers.text(MODEL, "hello there", 8)
    assert (answer.status, answer.prompt_tokens, answer.output_tokens) == (200, 2, 8)
    assert answer.first_token_ms is not None


async def test_tokens_are_counted_by_pieces_when_the_engine_tells_no_usage(
    running: base.Running,
) -> None:
    answer = await complete(running, chat("[[no-usage]] hi"))

    assert answer.output_tokens == 8
    assert "usage" not in json.loads(answer.body)


async def test_a_completion_and_embeddings_come_back_whole(running: base.Running) -> None:
    body = json.dumps({"model": "tiny", "prompt": "hi"}).encode()
    text = json.loads((await complete(running, body, "/v1/completions")).body)
    body = json.dumps({"model": "tiny", "input": ["a", "b"]}).encode()
    vectors = json.loads((await complete(running, body, "/v1/embeddings")).body)

    assert text["choices"][0]["text"] == answers.text(MODEL, "hi", 8)
    assert vectors["model"] == "tiny"
    assert [row["embedding"] for row in vectors["data"]] == [
        answers.embedding(MODEL, "a"),
        answers.embedding(MODEL, "b"),
    ]


async def test_what_the_engine_refuses_comes_back_with_its_status(running: base.Running) -> None:
    answer = await complete(running, chat("[[http500]]"))

    assert answer.status == 500


async def test_a_generation_without_done_is_still_whole(running: base.Running) -> None:
    answer = await complete(running, chat("[[nodone]] hi"))

    assert json.loads(answer.body)["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("trigger", "kind"),
    [
        ("[[cut]]", "broke_mid_stream"),
        ("[[cut-first]]", "broke_before_first_byte"),
        ("[[garbage]]", "garbage"),
        ("[[stall]]", "stalled"),
        ("[[stall-first]]", "stalled"),
        ("[[deaf]]", "stalled"),
    ],
)
async def test_a_broken_generation_is_never_whole(
    running: base.Running, trigger: str, kind: str
) -> None:
    with pytest.raises(upstream.UpstreamError) as caught:
        await complete(running, chat(f"{trigger} hi"))

    assert caught.value.kind == kind


async def test_a_route_that_the_engine_lacks_is_said_before_anything_is_sent() -> None:
    lacking = spec(quirks=base.Quirks(embeddings_path=None))

    async with upstream.Upstream() as engines:
        with pytest.raises(upstream.NotOffered):
            engines.open(base.Running("http://127.0.0.1:9", None), lacking, "/v1/embeddings", b"{}")


async def test_a_stream_arrives_piece_by_piece(running: base.Running) -> None:
    cleaner = event_stream.Cleaner("tiny", event_stream.Wanted())
    blocks = 0
    body = chat("[[tokens:5]] [[delay-ms:20]] hi", stream=True)
    with anyio.fail_after(20):
        async with (
            upstream.Upstream() as engines,
            engines.open(running, spec(), "/v1/chat/completions", body) as response,
        ):
            out = b""
            async for block in response:
                blocks += 1
                out += cleaner.feed(block)
            out += cleaner.end()

    assert blocks >= 5
    assert out.endswith(event_stream.DONE)
    assert b"usage" not in out
    assert cleaner.told.output_tokens == 5
