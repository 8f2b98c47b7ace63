"""Responses over chat: what engines are sent, and what clients get back, through the official SDK."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pydantic_core
import pytest

from openai_shim import reading
from openai_shim.dialects import responses, responses_input
from tests.openai_shim import harness
from tests.support.fake_engine import answers

CITY = {"type": "object", "properties": {"city": {"type": "string"}}}
FUNCTION = {"type": "function", "name": "get_weather", "parameters": CITY, "strict": True}
NAMESPACE = {"type": "namespace", "name": "mcp__gw", "tools": [FUNCTION]}
CUSTOM = {"type": "custom", "name": "apply_patch", "description": "Takes a patch."}


@pytest.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[harness.Gateway]:
    folder: Path = tmp_path_factory.mktemp("responses")
    async with harness.gateway(folder) as made:
        yield made


@pytest.fixture(scope="module")
async def sdk(gateway: harness.Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=gateway.base_url, api_key="any", max_retries=0, timeout=30
    ) as client:
        yield client


def asked(fields: dict[str, Any]) -> reading.Asked:
    return reading.asked({"type": "http", "headers": []}, {"model": "tiny", **fields})


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + pydantic_core.to_json({"choices": [choice]}) + b"\n\n"


def call(name: str, arguments: str, index: int = 0, call_id: str = "c0") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {
        "tool_calls": [{"index": index, "id": call_id, "type": "function", "function": function}]
    }


def streamed(fields: dict[str, Any], *chunks: bytes) -> list[dict[str, Any]]:
    """Every event of a response for these chat events."""
    events = responses.Responses().stream(asked(fields))
    wire = events.begin() + b"".join(events.feed(each) for each in chunks) + events.end()
    return [json.loads(line[6:]) for line in wire.decode().split("\n") if line.startswith("data: ")]


# ---- through the SDK ---------------------------------------------------------------------------


async def test_a_response_comes_whole(sdk: openai.AsyncOpenAI) -> None:
    made = await sdk.responses.create(model="tiny", input="hello", instructions="be brief")

    assert made.output_text == answers.text("tiny", "hello", 8)
    assert (made.status, made.model, made.object) == ("completed", "tiny", "response")
    assert made.instructions == "be brief"
    assert made.usage is not None
    assert made.usage.output_tokens == 8


async def test_a_response_is_streamed_with_every_event_in_order(sdk: openai.AsyncOpenAI) -> None:
    kinds, numbers = [], []
    async with sdk.responses.stream(model="tiny", input="hello") as stream:
        async for event in stream:
            kinds.append(event.type)
            numbers.append(event.sequence_number)
        final = await stream.get_final_response()

    assert final.output_text == answers.text("tiny", "hello", 8)
    assert final.usage is not None
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds.count("response.output_text.delta") == 8
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert numbers == sorted(numbers)


async def test_a_tool_is_called_and_its_result_is_sent_back(sdk: openai.AsyncOpenAI) -> None:
    tools: Any = [FUNCTION]
    first = await sdk.responses.create(model="tiny", input="[[tool]] weather?", tools=tools)
    item: Any = first.output[0]
    follow: Any = [
        {"role": "user", "content": "[[tool]] weather?"},
        item.model_dump(),
        {"type": "function_call_output", "call_id": item.call_id, "output": "sunny"},
        {"role": "user", "content": "and now?"},
    ]
    second = await sdk.responses.create(model="tiny", input=follow, tools=tools)

    assert (item.type, item.name, item.arguments) == (
        "function_call",
        "get_weather",
        '{"city":"Rome"}',
    )
    assert second.output_text == answers.text("tiny", "and now?", 8)


async def test_a_tool_call_is_streamed(sdk: openai.AsyncOpenAI) -> None:
    tools: Any = [FUNCTION]
    async with sdk.responses.stream(model="tiny", input="[[tool]] weather?", tools=tools) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()

    item: Any = final.output[0]
    assert item.name == "get_weather"
    assert "response.function_call_arguments.delta" in kinds
    assert "response.function_call_arguments.done" in kinds


async def test_the_end_of_the_token_budget_is_an_incomplete_response(
    sdk: openai.AsyncOpenAI,
) -> None:
    made = await sdk.responses.create(model="tiny", input="hello", max_output_tokens=3)

    assert made.status == "incomplete"
    assert made.incomplete_details is not None
    assert made.incomplete_details.reason == "max_output_tokens"


async def test_the_engine_is_asked_in_chat(
    sdk: openai.AsyncOpenAI, gateway: harness.Gateway
) -> None:
    await sdk.responses.create(model="tiny", input="which route", store=False, include=[])

    seen = next(e for e in gateway.engine_events("begin") if e.data["prompt"] == "which route")
    assert seen.data["path"] == "/v1/chat/completions"
    assert seen.data["fields"] == ["messages", "model", "stream", "stream_options"]


async def test_a_stop_phrase_stops_here_too(sdk: openai.AsyncOpenAI) -> None:
    made = await sdk.responses.create(model="tiny", input="Stop!")
    async with sdk.responses.stream(model="tiny", input="stop") as stream:
        async for _ in stream:
            pass
        final = await stream.get_final_response()

    assert "nothing to stop" in made.output_text
    assert "nothing to stop" in final.output_text


# ---- translation alone -------------------------------------------------------------------------


def test_namespaced_tools_are_flattened_and_put_back() -> None:
    fields = {"input": "x", "tools": [NAMESPACE, {"type": "web_search"}, CUSTOM]}

    sent = responses_input.chat_fields(fields)
    events = streamed(
        fields, chunk(call("mcp__gw__get_weather", '{"city":"Rome"}')), chunk({}, "tool_calls")
    )

    assert [tool["function"]["name"] for tool in sent["tools"]] == [
        "mcp__gw__get_weather",
        "apply_patch",
    ]
    item = events[-1]["response"]["output"][0]
    assert (item["type"], item["namespace"], item["name"]) == (
        "function_call",
        "mcp__gw",
        "get_weather",
    )
    added = next(event for event in events if event["type"] == "response.output_item.added")
    assert added["item"]["namespace"] == "mcp__gw"


def test_a_namespaced_call_of_the_history_is_flattened_again() -> None:
    items = [
        {"role": "user", "content": "x"},
        {
            "type": "function_call",
            "namespace": "mcp__gw",
            "name": "get_weather",
            "call_id": "c",
            "arguments": "{}",
        },
        {
            "type": "function_call_output",
            "call_id": "c",
            "output": [{"type": "input_text", "text": "sun"}],
        },
    ]

    sent = responses_input.chat_fields({"input": items})["messages"]

    assert sent[1]["tool_calls"][0]["function"]["name"] == "mcp__gw__get_weather"
    assert sent[2] == {"role": "tool", "tool_call_id": "c", "content": "sun"}


def test_a_custom_tool_takes_and_gives_plain_text() -> None:
    fields = {"input": "x", "tools": [CUSTOM]}

    events = streamed(
        fields, chunk(call("apply_patch", '{"input": "*** Begin"}')), chunk({}, "tool_calls")
    )

    item = events[-1]["response"]["output"][0]
    assert (item["type"], item["input"]) == ("custom_tool_call", "*** Begin")
    assert "arguments" not in item
    assert "response.custom_tool_call_input.done" in [event["type"] for event in events]


def test_what_the_model_thought_is_an_item_of_its_own() -> None:
    events = streamed(
        {"input": "x"},
        chunk({"reasoning_content": "hm"}),
        chunk({"reasoning_content": "m"}),
        chunk({"content": "Yes"}, "stop"),
    )

    kinds = [item["type"] for item in events[-1]["response"]["output"]]
    assert kinds == ["reasoning", "message"]
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "hmm"


def test_several_calls_are_several_items() -> None:
    events = streamed(
        {"input": "x", "tools": [FUNCTION]},
        chunk(call("get_weather", '{"city":', 0, "c0")),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"Rome"}'}}]}),
        chunk(call("get_weather", "{}", 1, "c1"), "tool_calls"),
    )

    output = events[-1]["response"]["output"]
    assert [(item["call_id"], item["arguments"]) for item in output] == [
        ("c0", '{"city":"Rome"}'),
        ("c1", "{}"),
    ]
    indexes = [event["output_index"] for event in events if "output_index" in event]
    assert indexes == sorted(indexes)


def test_the_conversation_becomes_messages_with_one_system_message_in_front() -> None:
    sent = responses_input.chat_fields(
        {
            "instructions": "A",
            "input": [
                {"role": "developer", "content": [{"type": "input_text", "text": "B"}]},
                {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
                {"type": "reasoning", "summary": []},
                {"role": "assistant", "content": [{"type": "output_text", "text": "yo"}]},
                {"type": "function_call", "name": "f", "call_id": "c", "arguments": "{}"},
            ],
        }
    )["messages"]

    assert sent[0] == {"role": "system", "content": "A\n\nB"}
    assert sent[1] == {"role": "user", "content": "hi"}
    assert sent[2]["content"] == "yo"
    assert sent[2]["tool_calls"][0]["id"] == "c"


def test_pictures_stay_parts() -> None:
    parts = [
        {"type": "input_text", "text": "what is this"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"},
    ]

    sent = responses_input.chat_fields({"input": [{"role": "user", "content": parts}]})

    assert sent["messages"][0]["content"][1] == {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64,AA", "detail": "low"},
    }


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"max_output_tokens": 5}, {"max_tokens": 5}),
        ({"reasoning": {"effort": "low"}}, {"reasoning_effort": "low"}),
        ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": CITY}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": CITY},
                }
            },
        ),
        (
            {"text": {"format": {"type": "json_object"}}},
            {"response_format": {"type": "json_object"}},
        ),
        (
            {
                "tools": [NAMESPACE],
                "tool_choice": {"type": "function", "namespace": "mcp__gw", "name": "get_weather"},
            },
            {"tool_choice": {"type": "function", "function": {"name": "mcp__gw__get_weather"}}},
        ),
        ({"tools": [FUNCTION], "tool_choice": "required"}, {"tool_choice": "required"}),
    ],
)
def test_each_parameter_has_its_chat_name(given: dict[str, Any], sent: dict[str, Any]) -> None:
    made = responses_input.chat_fields({"input": "x", **given})

    assert {name: made[name] for name in sent} == sent
