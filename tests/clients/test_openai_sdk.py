"""The official Python SDK, sync and async, against a real llama.cpp and across a cold load."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pydantic
import pytest
from anyio import to_thread

from openai_shim import options
from runtimes import upstream
from runtimes.tiny_model import vocabulary
from tests.openai_shim import harness
from tests.support.fake_engine import answers

GREETING = " ".join(vocabulary.GREETING)
SPACES = {"x-lmg-keepalive": "whitespace"}
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Rome"]}},
            "required": ["city"],
        },
    },
}


def hello(text: str = "Hello") -> Any:
    return [{"role": "user", "content": text}]


class Form(pydantic.BaseModel):
    """What a structured answer must be."""

    n: int
    ok: bool


@pytest.fixture(scope="module")
async def real(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[harness.Gateway]:
    """A real llama.cpp with the hand-made model, called `tiny`."""
    pytest.importorskip("xllamacpp")
    folder: Path = tmp_path_factory.mktemp("real")
    runtimes = {"tiny": {"engine": "embedded"}}
    patience = upstream.Patience()
    async with harness.gateway(folder, runtimes, patience=patience) as made:
        yield made


@pytest.fixture
async def sdk(real: harness.Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=real.base_url, api_key="any", max_retries=0) as client:
        yield client


async def test_the_sync_client_works_in_every_way(real: harness.Gateway) -> None:
    def ask() -> tuple[str, str, list[str]]:
        with openai.OpenAI(base_url=real.base_url, api_key="any", max_retries=0) as client:
            whole = client.chat.completions.create(model="tiny", messages=hello())
            text = ""
            for chunk in client.chat.completions.create(
                model="tiny", messages=hello(), stream=True
            ):
                text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
            listed = [model.id for model in client.models.list()]
            return whole.choices[0].message.content or "", text, listed

    whole, streamed, listed = await to_thread.run_sync(ask)

    assert whole.strip() == streamed.strip() == GREETING
    assert listed == ["tiny"]


async def test_usage_comes_only_when_asked_for_and_timings_never(
    real: harness.Gateway, sdk: openai.AsyncOpenAI
) -> None:
    options_: Any = {"include_usage": True}
    stream = await sdk.chat.completions.create(
        model="tiny", messages=hello(), stream=True, stream_options=options_
    )
    usage = [chunk.usage async for chunk in stream if chunk.usage is not None]
    async with real.client() as client:
        asked = harness.chat("Hello", stream=True)
        bare = await client.post("/v1/chat/completions", json=asked)
        whole = await client.post("/v1/chat/completions", json=harness.chat("Hello"))

    assert len(usage) == 1
    assert usage[0].completion_tokens > 10
    for text in (bare.text, whole.text):
        assert "timings" not in text
        assert "prompt_progress" not in text
    assert "usage" not in bare.text
    assert whole.json()["usage"]["completion_tokens"] == usage[0].completion_tokens


async def test_a_tool_is_called(sdk: openai.AsyncOpenAI) -> None:
    made = await sdk.chat.completions.create(
        model="tiny", messages=hello("tool"), tools=[WEATHER], max_tokens=100, temperature=0
    )
    text = ""
    async for chunk in await sdk.chat.completions.create(
        model="tiny",
        messages=hello("tool"),
        tools=[WEATHER],
        max_tokens=100,
        temperature=0,
        stream=True,
    ):
        for call in chunk.choices[0].delta.tool_calls or () if chunk.choices else ():
            text += (call.function.arguments if call.function else "") or ""

    calls: Any = made.choices[0].message.tool_calls
    assert made.choices[0].finish_reason == "tool_calls"
    assert calls[0].function.name == "get_weather"
    assert json.loads(calls[0].function.arguments) == {"city": "Rome"}
    assert json.loads(text) == {"city": "Rome"}


async def test_structured_output_is_parsed(sdk: openai.AsyncOpenAI) -> None:
    made = await sdk.chat.completions.parse(
        model="tiny", messages=hello(), response_format=Form, max_tokens=100, temperature=0
    )

    assert isinstance(made.choices[0].message.parsed, Form)


async def test_responses_work_over_the_same_engine(sdk: openai.AsyncOpenAI) -> None:
    whole = await sdk.responses.create(model="tiny", input="Hello")
    async with sdk.responses.stream(model="tiny", input="Hello") as stream:
        async for _ in stream:
            pass
        streamed = await stream.get_final_response()
    parsed = await sdk.responses.parse(model="tiny", input="Hello", text_format=Form)

    assert whole.output_text.strip() == streamed.output_text.strip() == GREETING
    assert isinstance(parsed.output_parsed, Form)


async def test_completions_and_embeddings_work(sdk: openai.AsyncOpenAI) -> None:
    text = await sdk.completions.create(model="tiny", prompt="Hello", max_tokens=2)
    vectors = await sdk.embeddings.create(model="tiny", input=["one", "two"])

    assert text.choices[0].finish_reason in {"length", "stop"}
    assert text.usage is not None
    assert len(vectors.data) == 2
    assert len(vectors.data[0].embedding) > 100


async def test_leaving_an_endless_answer_stops_a_real_engine(
    real: harness.Gateway, sdk: openai.AsyncOpenAI
) -> None:
    stream = await sdk.chat.completions.create(model="tiny", messages=hello("count"), stream=True)
    async for _ in stream:
        break
    await stream.close()

    await real.until_idle()
    made = await sdk.chat.completions.create(model="tiny", messages=hello())
    assert (made.choices[0].message.content or "").strip() == GREETING


# ---- a load that is longer than the client's patience -------------------------------------------


async def impatient(base_url: str, patience_s: float) -> None:
    """Streamed, whole and as a response: all asked at once while nothing is loaded."""
    timeout = httpx2.Timeout(600, read=patience_s)
    async with openai.AsyncOpenAI(
        base_url=base_url, api_key="any", max_retries=0, timeout=timeout
    ) as sdk:
        text = ""
        async for chunk in await sdk.chat.completions.create(
            model="tiny", messages=hello("hello"), stream=True
        ):
            text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        whole = await sdk.chat.completions.create(
            model="tiny", messages=hello("hello"), extra_headers=SPACES
        )
    assert text == answers.text("tiny", "hello", 8)
    assert whole.choices[0].message.content == text


async def impatient_whole(base_url: str, patience_s: float) -> None:
    """Not streamed, and the first to ask."""
    timeout = httpx2.Timeout(600, read=patience_s)
    async with openai.AsyncOpenAI(
        base_url=base_url, api_key="any", max_retries=0, timeout=timeout, default_headers=SPACES
    ) as sdk:
        whole = await sdk.chat.completions.create(model="tiny", messages=hello("hello"))
        made = await sdk.responses.create(model="tiny", input="hello")
    assert whole.choices[0].message.content == answers.text("tiny", "hello", 8)
    assert made.output_text == answers.text("tiny", "hello", 8)


@pytest.mark.parametrize("ask", [impatient, impatient_whole])
async def test_a_client_outlasts_a_load_longer_than_its_patience(tmp_path: Path, ask: Any) -> None:
    async with harness.gateway(tmp_path, {"tiny": {"load_s": 4.0}}) as gateway:
        await ask(gateway.base_url, 1.5)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("ask", [impatient, impatient_whole])
async def test_a_client_with_15_s_of_patience_outlasts_a_load_of_40_s(
    tmp_path: Path, ask: Any
) -> None:
    runtimes = {"tiny": {"load_s": 40.0}}
    async with harness.gateway(tmp_path, runtimes, options.ShimOptions()) as gateway:
        await ask(gateway.base_url, 15.0)


async def test_without_signs_of_life_the_same_client_gives_up(tmp_path: Path) -> None:
    async with harness.gateway(tmp_path, {"tiny": {"load_s": 4.0}}) as gateway:
        timeout = httpx2.Timeout(600, read=1.0)
        async with openai.AsyncOpenAI(
            base_url=gateway.base_url, api_key="any", max_retries=0, timeout=timeout
        ) as sdk:
            with pytest.raises(openai.APITimeoutError):
                await sdk.chat.completions.create(model="tiny", messages=hello("hello"))
        await gateway.until_idle()
