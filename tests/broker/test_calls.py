"""What a call goes through before, while and after it is made."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mcp_types
import pytest

from broker import errors
from broker.service import Broker
from catalog.errors import UnknownTool
from tests.broker.conftest import Opened

Raw = Callable[..., dict[str, Any]]


def starts(broker: Broker) -> int:
    return sum(int(one["starts"]) for one in broker.status()["servers"])


async def listed(opened: Opened, sections: dict[str, dict[str, Any]]) -> None:
    """Leave a snapshot behind, and nothing running."""
    async with opened(sections) as broker:
        for name in sections:
            await broker.refresh(name)


def rows(tmp_path: Path) -> list[dict[str, Any]]:
    text = (tmp_path / "state" / "broker" / "audit.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


async def test_wrong_arguments_are_found_before_anything_is_started(
    opened: Opened, counter: dict[str, Any]
) -> None:
    await listed(opened, {"counter": counter})
    async with opened({"counter": counter}) as broker:
        with pytest.raises(errors.BadArguments) as missing:
            await broker.call("counter:add_one", {"lable": "x"}, confirmed=True)  # codespell:ignore
        with pytest.raises(errors.BadArguments) as mistyped:
            await broker.call("counter:add_one", {"label": "x", "amount": "2"}, confirmed=True)
        assert missing.value.problems[0] == "'label' is missing (you sent 'lable')"
        assert mistyped.value.problems == ("'amount' must be of type integer, not string",)
        assert missing.value.schema == mistyped.value.schema
        assert starts(broker) == 0


async def test_an_unknown_tool_comes_with_the_nearest_ones(
    opened: Opened, counter: dict[str, Any]
) -> None:
    await listed(opened, {"counter": counter})
    async with opened({"counter": counter}) as broker:
        with pytest.raises(UnknownTool) as unknown:
            await broker.call("counter:ad_one", {})
    assert unknown.value.nearest[0] == "counter:add_one"


async def test_a_call_that_must_be_agreed_to_goes_through_once_with_its_token(
    opened: Opened, counter: dict[str, Any], ledger: Path
) -> None:
    await listed(opened, {"counter": counter})
    async with opened({"counter": counter}) as broker:
        with pytest.raises(errors.NeedsConfirmation) as asked:
            await broker.call("counter:add_one", {"label": "x"})
        assert starts(broker) == 0

        await broker.call("counter:add_one", {"label": "x"}, token=asked.value.token)
        with pytest.raises(errors.NeedsConfirmation, match="spent"):
            await broker.call("counter:add_one", {"label": "x"}, token=asked.value.token)
    assert ledger.read_text() == "added x 1\n"


async def test_a_token_is_good_for_the_call_it_was_given_for_only(
    opened: Opened, counter: dict[str, Any], ledger: Path
) -> None:
    await listed(opened, {"counter": counter})
    async with opened({"counter": counter}) as broker:
        with pytest.raises(errors.NeedsConfirmation) as asked:
            await broker.call("counter:add_one", {"label": "small"})
        with pytest.raises(errors.NeedsConfirmation, match="another call"):
            await broker.call("counter:add_one", {"label": "large"}, token=asked.value.token)
        with pytest.raises(errors.NeedsConfirmation):
            await broker.call(
                "counter:add_one", {"label": "small"}, caller="other", token=asked.value.token
            )
    assert not ledger.exists()


async def test_a_denied_tool_is_neither_found_nor_called(
    opened: Opened, counter: dict[str, Any]
) -> None:
    await listed(opened, {"counter": counter})
    section = {**counter, "tools": {"add_*": "deny"}}
    async with opened({"counter": section}) as broker:
        found = [hit.tool_id for hit in (await broker.search("add")).hits]
        assert "counter:add_one" not in found
        with pytest.raises(UnknownTool):
            await broker.call("counter:add_one", {"label": "x"}, confirmed=True)


async def test_a_scope_hides_what_a_caller_may_not_use(
    opened: Opened, counter: dict[str, Any], raw: Raw
) -> None:
    sections = {"counter": counter, "raw": raw()}
    await listed(opened, sections)
    scopes = {
        "reader": {"servers": ["counter"], "effects": ["read"]},
        "gone": {"expires": "2001-01-01T00:00:00Z"},
    }
    async with opened(sections, scopes=scopes) as broker:
        seen = [
            hit.tool_id for hit in (await broker.search("add get", limit=50, caller="reader")).hits
        ]
        assert seen
        assert {one.partition(":")[0] for one in seen} == {"counter"}
        assert "counter:add_one" not in seen
        assert [one["name"] for one in await broker.list_servers("reader")] == ["counter"]
        assert (await broker.describe(["raw:get_thing_0"], "reader"))[0].tool is None
        with pytest.raises(errors.Refused, match="this key may not use it"):
            await broker.call("counter:add_one", {"label": "x"}, caller="reader", confirmed=True)
        with pytest.raises(errors.Refused):
            await broker.call("counter:get_count", {}, caller="gone")


async def test_every_call_leaves_one_row_without_arguments_or_answers(
    opened: Opened, counter: dict[str, Any], tmp_path: Path
) -> None:
    await listed(opened, {"counter": counter})
    async with opened({"counter": counter}) as broker:
        await broker.call("counter:add_one", {"label": "very private"}, caller="me", confirmed=True)
        with pytest.raises(errors.NeedsConfirmation):
            await broker.call("counter:add_one", {"label": "very private"}, caller="me")
    made, asked = rows(tmp_path)
    assert (made["tool"], made["caller"], made["outcome"]) == ("counter:add_one", "me", "ok")
    assert (made["effect"], made["action"], made["confirmed"]) == ("write", "ask", True)
    assert asked["outcome"] == "confirmation_needed"
    assert "private" not in json.dumps([made, asked])


async def test_progress_of_a_call_is_handed_on(opened: Opened, counter: dict[str, Any]) -> None:
    seen: list[tuple[float, float | None, str | None]] = []

    async def progress(
        progress: float, total: float | None = None, message: str | None = None
    ) -> None:
        seen.append((progress, total, message))

    await listed(opened, {"counter": counter})
    async with opened({"counter": {**counter, "call_timeout": 1.0}}) as broker:
        with pytest.raises(errors.CallLost, match="no answer within 1 s"):
            await broker.call(
                "counter:add_slowly", {"label": "x"}, confirmed=True, progress=progress
            )
    assert seen == [(1, 2, "added")]


async def test_a_servers_question_goes_to_the_caller_or_is_declined(
    opened: Opened, counter: dict[str, Any]
) -> None:
    async def answer(params: mcp_types.ElicitRequestParams) -> mcp_types.ElicitResult:
        assert params.message == "Which colour for the door?"
        return mcp_types.ElicitResult(action="accept", content={"colour": "green"})

    await listed(opened, {"counter": counter})
    async with opened({"counter": counter}) as broker:
        painted = await broker.call(
            "counter:paint", {"name": "the door"}, confirmed=True, elicit=answer
        )
        declined = await broker.call("counter:paint", {"name": "the door"}, confirmed=True)
    assert painted.content[0].text == "the door is green"
    assert declined.is_error


async def test_a_result_beyond_the_limit_is_kept_and_read_page_by_page(
    opened: Opened, counter: dict[str, Any]
) -> None:
    await listed(opened, {"counter": counter})
    async with opened({"counter": counter}, result_limit=10_000) as broker:
        small = await broker.call("counter:fetch_text", {"size": 1_000})
        large = await broker.call("counter:fetch_text", {"size": 100_000})
        assert small.spill is None
        assert large.spill is not None
        assert len(large.content[0].text) < 3_000
        pages = [
            await broker.read_spill(large.spill.id, page)
            for page in range(1, large.spill.pages + 1)
        ]
        assert json.loads("".join(pages))["content"][0]["text"] == "x" * 100_000
        with pytest.raises(errors.NoSuchSpill):
            await broker.read_spill("../../etc/passwd")


@pytest.mark.parametrize("id_last", [False, True])
async def test_a_result_of_fifty_megabytes_never_passes_through_memory_whole(
    opened: Opened, raw: Raw, tmp_path: Path, id_last: bool
) -> None:
    section = raw(size=50_000_000, id_last=id_last)
    await listed(opened, {"raw": section})
    async with opened({"raw": section}) as broker:
        outcome = await broker.call("raw:get_thing_0", {})
        assert outcome.spill is not None
        assert not outcome.is_error
        assert outcome.spill.size_bytes > 50_000_000
        assert "y" * 1_000 not in outcome.content[0].text
        assert "yyyy" in await broker.read_spill(outcome.spill.id, outcome.spill.pages // 2)
        again = await broker.call("raw:get_thing_0", {})
        assert again.spill is not None
    assert not list((tmp_path / "state" / "broker" / "results").glob("*.part"))


async def test_garbage_between_messages_is_skipped(opened: Opened, raw: Raw) -> None:
    section = raw(garbage=3)
    await listed(opened, {"raw": section})
    async with opened({"raw": section}) as broker:
        assert (await broker.call("raw:get_thing_0", {})).content[0].text == "yy"


async def test_a_server_that_writes_nothing_but_garbage_is_closed(opened: Opened, raw: Raw) -> None:
    async with opened({"raw": raw(garbage=500)}) as broker:
        with pytest.raises(errors.ServerUnavailable):
            await broker.refresh("raw")


async def test_an_answer_of_the_wrong_form_was_still_one_execution(
    opened: Opened, raw: Raw, ledger: Path
) -> None:
    section = raw(sloppy=True, ledger=str(ledger))
    await listed(opened, {"raw": section})
    async with opened({"raw": section}) as broker:
        with pytest.raises(errors.CallLost, match="promised form"):
            await broker.call("raw:get_thing_0", {})
    assert ledger.read_text() == "called get_thing_0\n"
