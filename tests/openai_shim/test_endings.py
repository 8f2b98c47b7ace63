"""However an engine ends an answer, the official SDK sees an error or a whole answer, never half a one."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import openai
import pytest

from coordinator import settings
from coordinator.state import WorkState
from tests.openai_shim import harness
from tests.support.fake_engine import answers

ENDINGS = {
    "dies": "[[die]]",
    "dies-first": "[[die-first]]",
    "cut": "[[cut]]",
    "cut-first": "[[cut-first]]",
    "garbage": "[[garbage]]",
    "http500": "[[http500]]",
    "stall": "[[stall]]",
    "stall-first": "[[stall-first]]",
    "no-done": "[[nodone]]",
    "whole": "",
}
GOOD = {"no-done", "whole"}
SURFACES = ("chat", "completions", "responses")
LIMITS = settings.CoordinatorSettings(
    knobs=settings.Knobs(max_wait_s=0.5, min_residency_s=0.0),
    backoff_first_s=0.05,
    backoff_cap_s=0.1,
)


@pytest.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[harness.Gateway]:
    folder: Path = tmp_path_factory.mktemp("endings")
    async with harness.gateway(folder, {"tiny": {"max_concurrency": 1}}, limits=LIMITS) as made:
        yield made


@pytest.fixture(scope="module")
async def sdk(gateway: harness.Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=gateway.base_url, api_key="any", max_retries=0, timeout=30
    ) as client:
        yield client


async def chat(sdk: openai.AsyncOpenAI, prompt: str, streamed: bool) -> str:
    messages: Any = [{"role": "user", "content": prompt}]
    if not streamed:
        whole = await sdk.chat.completions.create(model="tiny", messages=messages)
        return whole.choices[0].message.content or ""
    text = ""
    async for chunk in await sdk.chat.completions.create(
        model="tiny", messages=messages, stream=True
    ):
        text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
    return text


async def completions(sdk: openai.AsyncOpenAI, prompt: str, streamed: bool) -> str:
    if not streamed:
        return (await sdk.completions.create(model="tiny", prompt=prompt)).choices[0].text
    text = ""
    async for chunk in await sdk.completions.create(model="tiny", prompt=prompt, stream=True):
        text += chunk.choices[0].text if chunk.choices else ""
    return text


async def responses(sdk: openai.AsyncOpenAI, prompt: str, streamed: bool) -> str:
    if not streamed:
        return (await sdk.responses.create(model="tiny", input=prompt)).output_text
    async with sdk.responses.stream(model="tiny", input=prompt) as stream:
        async for _ in stream:
            pass
        return (await stream.get_final_response()).output_text


ASK = {"chat": chat, "completions": completions, "responses": responses}


@pytest.mark.requirement("dead-engine-is-no-answer")
@pytest.mark.parametrize(
    ("surface", "ending", "streamed"), list(itertools.product(SURFACES, ENDINGS, (True, False)))
)
async def test_no_ending_is_a_silent_success_or_a_hang(
    gateway: harness.Gateway, sdk: openai.AsyncOpenAI, surface: str, ending: str, streamed: bool
) -> None:
    prompt = f"{ENDINGS[ending]} {surface} {streamed}".strip()
    text, error = "", None
    before = {row.id for row in await gateway.rows()}
    with anyio.fail_after(40):
        try:
            text = await ASK[surface](sdk, prompt, streamed)
        except openai.OpenAIError as caught:
            error = caught
    await gateway.until_idle()
    row = next(row for row in await gateway.rows() if row.id not in before)

    if ending in GOOD:
        assert error is None
        assert text == answers.text("tiny", prompt, 8)
        assert row.state is WorkState.SUCCEEDED
    else:
        assert isinstance(error, openai.APIError)
        assert row.state is WorkState.FAILED
        assert row.code in {"upstream_error", "engine_load_failed"}
    if ending.startswith("dies"):
        await until_back(gateway, sdk)


async def until_back(gateway: harness.Gateway, sdk: openai.AsyncOpenAI) -> None:
    """The next one works; a first copy may still meet the engine's end or the back-off after it."""
    with anyio.fail_after(40):
        while True:
            try:
                assert await chat(sdk, "and now", streamed=False)
            except openai.APIError:
                await gateway.coordinator.changed()
            else:
                return


async def test_an_error_in_mid_stream_names_itself_to_the_sdk(
    gateway: harness.Gateway, sdk: openai.AsyncOpenAI
) -> None:
    with pytest.raises(openai.APIError) as caught:
        await chat(sdk, "[[cut]] please", streamed=True)

    body: Any = caught.value.body
    assert body["code"] == "upstream_error"
    assert body["src"] == "engine"


async def test_a_refusal_before_the_first_byte_is_a_502(
    gateway: harness.Gateway, sdk: openai.AsyncOpenAI
) -> None:
    for streamed in (True, False):
        with pytest.raises(openai.InternalServerError) as caught:
            await chat(sdk, "[[http500]] please", streamed=streamed)
        assert caught.value.status_code == 502
        assert caught.value.response.headers["x-should-retry"] == "false"
