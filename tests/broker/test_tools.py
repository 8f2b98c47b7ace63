"""The four tools as a client of either era sees them."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import mcp_types
import pytest
from mcp import Client
from mcp.client import ClientRequestContext

from mcp_server import broker_tools
from mcp_server.server import GatewayServer
from tests.broker.conftest import Opened

ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])
Connected = Callable[..., Any]  # Any: a context manager over a client


@pytest.fixture
def connected(opened: Opened) -> Connected:
    """A client of a server that has the four tools."""

    @asynccontextmanager
    async def connect(
        sections: dict[str, dict[str, Any]], mode: str, answer: dict[str, Any] | None = None
    ) -> AsyncGenerator[Client]:
        async def elicit(
            context: ClientRequestContext, params: mcp_types.ElicitRequestParams
        ) -> mcp_types.ElicitResult:
            asked.append(params.message)
            return mcp_types.ElicitResult.model_validate(answer)

        asked: list[str] = []
        async with opened(sections) as broker:
            for name in sections:
                await broker.refresh(name)
            server = GatewayServer("gateway", version="1")
            broker_tools.register(server, broker)
            callback = elicit if answer is not None else None
            async with Client(server, mode=mode, elicitation_callback=callback) as client:
                client.asked = asked  # type: ignore[attr-defined]  # what the user was shown
                yield client

    return connect


def text(result: mcp_types.CallToolResult) -> str:
    return "\n".join(block.text for block in result.content if block.type == "text")


async def test_the_four_tools_cost_under_four_hundred_tokens(
    connected: Connected, counter: dict[str, Any]
) -> None:
    async with connected({"counter": counter}, "auto") as client:
        tools = (await client.list_tools()).tools
    listed = [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools]
    assert [tool.name for tool in tools] == [
        "search_tools",
        "describe_tool",
        "call_tool",
        "list_servers",
    ]
    assert len(json.dumps(listed, separators=(",", ":"))) / 4 <= 400


@ERAS
async def test_a_tool_is_found_described_and_called(
    connected: Connected, counter: dict[str, Any], mode: str
) -> None:
    async with connected({"counter": counter}, mode) as client:
        found = await client.call_tool("search_tools", {"query": "how often was it added"})
        best = found.structured_content["results"][0]["tool_id"]
        sheet = await client.call_tool("describe_tool", {"tool_ids": [best, "no.such"]})
        called = await client.call_tool("call_tool", {"tool_id": best, "arguments": {}})
        servers = await client.call_tool("list_servers", {})
    assert best == "counter:get_count"
    assert sheet.structured_content["tools"][0]["input_schema"]["type"] == "object"
    assert "no tool" in sheet.structured_content["tools"][1]["error"]
    assert (text(called), called.structured_content["data"]) == ("0", {"result": 0})
    assert servers.structured_content["servers"][0]["state"] == "ready"


@ERAS
async def test_a_user_who_says_yes_is_asked_once(
    connected: Connected, counter: dict[str, Any], mode: str, ledger: Path
) -> None:
    yes = {"action": "accept", "content": {"approve": True}}
    async with connected({"counter": counter}, mode, yes) as client:
        call = {"tool_id": "counter:add_one", "arguments": {"label": "seen"}}
        called = await client.call_tool("call_tool", call)
        assert client.asked == ['Call counter:add_one with {"label":"seen"}? (write: its name)']
    assert text(called) == "added seen"
    assert ledger.read_text() == "added seen 1\n"


@ERAS
@pytest.mark.parametrize(
    "answer", [{"action": "decline"}, {"action": "accept", "content": {"approve": False}}]
)
async def test_a_user_who_says_no_is_obeyed(
    connected: Connected, counter: dict[str, Any], mode: str, answer: dict[str, Any], ledger: Path
) -> None:
    async with connected({"counter": counter}, mode, answer) as client:
        call = {"tool_id": "counter:add_one", "arguments": {"label": "x"}}
        called = await client.call_tool("call_tool", call)
    assert called.is_error
    assert "nothing was called" in text(called)
    assert not ledger.exists()


@ERAS
async def test_a_client_that_shows_no_form_gets_a_token(
    connected: Connected, counter: dict[str, Any], mode: str, ledger: Path
) -> None:
    call = {"tool_id": "counter:add_one", "arguments": {"label": "x"}}
    async with connected({"counter": counter}, mode) as client:
        asked = await client.call_tool("call_tool", call)
        assert not ledger.exists()
        token = asked.structured_content["confirm"]
        called = await client.call_tool("call_tool", {**call, "confirm": token})
        again = await client.call_tool("call_tool", {**call, "confirm": token})
    assert "Show the user" in text(asked)
    assert text(called) == "added x"
    assert again.structured_content["ok"] is False
    assert ledger.read_text() == "added x 1\n"


async def test_wrong_arguments_come_back_with_the_schema(
    connected: Connected, counter: dict[str, Any]
) -> None:
    async with connected({"counter": counter}, "auto") as client:
        call = {"tool_id": "counter:add_one", "arguments": {"lable": "x"}}  # codespell:ignore
        called = await client.call_tool("call_tool", call)
    assert called.is_error
    assert "bad_arguments" in text(called)
    assert '"label"' in text(called)


async def test_a_large_result_is_a_link_that_can_be_read(
    connected: Connected, counter: dict[str, Any]
) -> None:
    async with connected({"counter": counter}, "auto") as client:
        call = {"tool_id": "counter:fetch_text", "arguments": {"size": 200_000}}
        called = await client.call_tool("call_tool", call)
        links = [block.uri for block in called.content if block.type == "resource_link"]
        page = await client.read_resource(links[0])
    assert len(text(called)) < 3_000
    assert "xxxx" in page.contents[0].text


async def test_a_downstream_question_reaches_a_user_where_the_era_has_a_way_back(
    connected: Connected, counter: dict[str, Any]
) -> None:
    section = {**counter, "tools": {"paint": "allow"}}
    blue = {"action": "accept", "content": {"colour": "blue"}}
    call = {"tool_id": "counter:paint", "arguments": {"name": "the door"}}
    async with connected({"counter": section}, "legacy", blue) as client:
        painted = await client.call_tool("call_tool", call)
        assert client.asked == ["A tool asks: Which colour for the door?"]
    async with connected({"counter": section}, "auto", blue) as client:
        refused = await client.call_tool("call_tool", call)
    assert text(painted) == "the door is blue"
    assert refused.is_error


async def test_a_markdown_sheet_is_shorter_than_the_schema(
    connected: Connected, counter: dict[str, Any]
) -> None:
    ask = {"tool_ids": ["counter:add_one"]}
    async with connected({"counter": counter}, "auto") as client:
        exact = await client.call_tool("describe_tool", ask)
        short = await client.call_tool("describe_tool", {**ask, "markdown": True})
    assert "- `label` (string, required)" in text(short)
    assert len(text(short)) < len(text(exact))


async def test_nothing_fitting_says_what_there_is(
    connected: Connected, counter: dict[str, Any]
) -> None:
    async with connected({"counter": counter}, "auto") as client:
        nothing = await client.call_tool("search_tools", {"query": "zzqqxx"})
        overview = await client.call_tool("search_tools", {"query": ""})
        strange = await client.call_tool(
            "search_tools", {"query": "x", "server": "countre"}
        )  # codespell:ignore
    assert nothing.structured_content["results"] == []
    assert "counter (" in nothing.structured_content["hint"]
    assert "counter (" in overview.structured_content["hint"]
    assert "did you mean counter?" in text(strange)
