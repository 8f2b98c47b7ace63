"""One request from a client to an engine and back, streamed and whole."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from coordinator.state import WorkState
from tests.openai_shim import harness
from tests.support.fake_engine import answers


@pytest.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[harness.Gateway]:
    folder: Path = tmp_path_factory.mktemp("gateway")
    async with harness.gateway(folder) as made:
        yield made


async def test_a_chat_comes_back_whole(gateway: harness.Gateway) -> None:
    async with gateway.client() as client:
        answer = await client.post("/v1/chat/completions", json=harness.chat("hello"))

    whole = answer.json()
    assert answer.status_code == 200
    assert whole["model"] == "tiny"
    assert whole["choices"][0]["message"]["content"] == answers.text("tiny", "hello", 8)
    assert whole["usage"]["completion_tokens"] == 8


async def test_an_answer_says_who_gave_it_and_what_it_waited_for(gateway: harness.Gateway) -> None:
    async with gateway.client() as client:
        answer = await client.post("/v1/chat/completions", json=harness.chat("hello"))

    assert answer.headers["x-request-id"]
    assert answer.headers["x-lmg-runtime"] == "tiny"
    assert int(answer.headers["x-lmg-queue-ms"]) >= 0
    assert int(answer.headers["x-lmg-load-ms"]) >= 0
    assert len(answer.headers.get_list("x-request-id")) == 1


async def test_a_stream_arrives_with_done_and_without_what_was_not_asked_for(
    gateway: harness.Gateway,
) -> None:
    async with gateway.client() as client:
        answer = await client.post("/v1/chat/completions", json=harness.chat("hi", stream=True))

    found = harness.events(answer.text)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert harness.said(found) == answers.text("tiny", "hi", 8)
    assert found[-1] == "[DONE]"
    assert {event["model"] for event in found[:-1]} == {"tiny"}
    assert "usage" not in answer.text


async def test_usage_comes_when_it_was_asked_for(gateway: harness.Gateway) -> None:
    asked = harness.chat("hi", stream=True, stream_options={"include_usage": True})
    async with gateway.client() as client:
        answer = await client.post("/v1/chat/completions", json=asked)

    assert harness.events(answer.text)[-2]["usage"]["completion_tokens"] == 8


async def test_completions_and_embeddings_take_the_same_way(gateway: harness.Gateway) -> None:
    async with gateway.client() as client:
        text = await client.post("/v1/completions", json={"model": "tiny", "prompt": "hi"})
        asked = {"model": "tiny", "input": ["a", "b"]}
        vectors = await client.post("/v1/embeddings", json=asked)

    assert text.json()["choices"][0]["text"] == answers.text("tiny", "hi", 8)
    assert vectors.json()["data"][1]["embedding"] == answers.embedding("tiny", "b")


async def test_the_row_tells_tokens_and_the_time_to_the_first(gateway: harness.Gateway) -> None:
    async with gateway.client() as client:
        answer = await client.post("/v1/chat/completions", json=harness.chat("one two"))
    await gateway.until_idle()
    await gateway.until_rows(WorkState.SUCCEEDED)

    row = await gateway.coordinator.store.item(answer.headers["x-lmg-work-id"])
    assert row is not None
    assert (row.prompt_tokens, row.output_tokens) == (2, 8)
    assert row.first_token_ms is not None
    assert row.surface == "openai"


async def test_an_engine_never_sees_credentials_extras_or_foreign_headers(
    gateway: harness.Gateway,
) -> None:
    fields: dict[str, Any] = {
        "api_key": "sk-x",
        "api_base": "http://evil",
        "priority": 7,
        "lora": [1],
        "min_p": 0.1,
    }
    headers = {"authorization": "Bearer sk-secret", "cookie": "a=b", "x-forwarded-for": "1.2.3.4"}
    async with gateway.client() as client:
        prompt = "what did arrive"
        await client.post(
            "/v1/chat/completions", json=harness.chat(prompt, **fields), headers=headers
        )

    seen = next(e for e in gateway.engine_events("begin") if e.data["prompt"] == prompt)
    assert seen.data["fields"] == ["messages", "min_p", "model", "stream", "stream_options"]
    assert set(seen.data["headers"]) == {"host", "content-type", "content-length"}


@pytest.mark.requirement("unknown-model-is-404")
async def test_an_unknown_model_is_refused_with_the_nearest_names(
    gateway: harness.Gateway,
) -> None:
    async with gateway.client() as client:
        answer = await client.post("/v1/chat/completions", json=harness.chat("hi", "tinny"))

    error = answer.json()["error"]
    assert answer.status_code == 404
    assert (error["code"], error["param"], error["src"]) == ("model_not_found", "model", "gateway")
    assert error["details"]["nearest"] == ["tiny"]
    assert answer.headers["x-should-retry"] == "false"


async def test_models_are_listed_with_what_is_known_of_them(gateway: harness.Gateway) -> None:
    async with gateway.client() as client:
        listed = (await client.get("/v1/models")).json()
        one = (await client.get("/v1/models/tiny")).json()
        none = await client.get("/v1/models/none")

    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["tiny"]
    assert one == listed["data"][0]
    assert one["object"] == "model"
    assert {"state", "context_length", "notice", "aliases"} <= set(one)
    assert none.status_code == 404


async def test_what_the_engine_refuses_keeps_its_status_and_words(
    gateway: harness.Gateway,
) -> None:
    async with gateway.client() as client:
        for streamed in (False, True):
            asked = harness.chat("[[http400]] hi", stream=streamed)
            answer = await client.post("/v1/chat/completions", json=asked)

            assert answer.status_code == 400
            assert answer.json()["error"]["src"] == "engine"


async def test_a_stop_phrase_ends_that_clients_own_work_only(gateway: harness.Gateway) -> None:
    running = harness.chat("[[tokens:100000]] [[delay-ms:10]] on", stream=True)
    outcomes: dict[str, str] = {}

    async def talk(session: str) -> None:
        async with gateway.client(headers={"x-session-id": session}) as client:
            try:
                answer = await client.post("/v1/chat/completions", json=running)
                outcomes[session] = answer.text
            except httpx2.TransportError as error:
                outcomes[session] = type(error).__name__

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(talk, "ann")
            group.start_soon(talk, "bob")
            while len(gateway.coordinator.snapshot().running) < 2:
                await gateway.coordinator.changed()

            async with gateway.client(headers={"x-session-id": "ann"}) as client:
                told = await client.post("/v1/chat/completions", json=harness.chat("Stop."))
            while "ann" not in outcomes:
                await anyio.sleep(0.02)

            assert "bob" not in outcomes
            group.cancel_scope.cancel()
    await gateway.until_idle()

    extra = told.json()["local_model_gateway"]
    assert extra["stop_command"] is True
    assert len(extra["cancelled_work_item_ids"]) == 1
    assert outcomes["ann"] == "RemoteProtocolError"
    row = await gateway.coordinator.store.item(extra["cancelled_work_item_ids"][0])
    assert row is not None
    assert row.state is WorkState.CANCELLED


async def test_a_stop_phrase_may_be_streamed_and_may_find_nothing(
    gateway: harness.Gateway,
) -> None:
    async with gateway.client() as client:
        answer = await client.post("/v1/chat/completions", json=harness.chat("stop", stream=True))

    found = harness.events(answer.text)
    assert "nothing to stop" in harness.said(found)
    assert found[-1] == "[DONE]"


async def test_a_sentence_that_begins_with_stop_is_a_prompt(gateway: harness.Gateway) -> None:
    async with gateway.client() as client:
        asked = harness.chat("stop the car, she said")
        answer = await client.post("/v1/chat/completions", json=asked)

    assert "local_model_gateway" not in answer.json()


async def test_a_wrong_method_gets_json(gateway: harness.Gateway) -> None:
    async with gateway.client() as client:
        answer = await client.get("/v1/chat/completions")

    assert answer.status_code == 405
    assert json.loads(answer.text)["error"]["code"]
