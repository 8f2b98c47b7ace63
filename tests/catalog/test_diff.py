"""What a new listing means for what was approved."""

from catalog import diff
from catalog.diff import Listing
from catalog.model import ServerSnapshot, Tool
from tests.catalog.test_store import tool


def listing(*tools: Tool) -> Listing:
    return Listing("one", tools, "One", "", "1", 100.0, None)


def test_new_tools_are_approved_as_first_seen() -> None:
    snapshot, changes = diff.absorb(None, listing(tool("one", "a"), tool("one", "b")))
    assert changes.added == ("a", "b")
    assert not snapshot.pending


def test_a_changed_tool_waits_beside_its_approved_form() -> None:
    known, _ = diff.absorb(None, listing(tool("one", "a", "kind")))
    snapshot, changes = diff.absorb(known, listing(tool("one", "a", "cruel")))
    assert changes.changed == ("a",)
    assert snapshot.tools[0].description == "kind"
    assert snapshot.pending["a"].description == "cruel"


def test_a_tool_that_changes_back_leaves_quarantine() -> None:
    known, _ = diff.absorb(None, listing(tool("one", "a", "kind")))
    changed, _ = diff.absorb(known, listing(tool("one", "a", "cruel")))
    back, changes = diff.absorb(changed, listing(tool("one", "a", "kind")))
    assert not back.pending
    assert not changes


def test_a_tool_that_is_listed_no_more_is_gone() -> None:
    known, _ = diff.absorb(None, listing(tool("one", "a"), tool("one", "b")))
    snapshot, changes = diff.absorb(known, listing(tool("one", "b")))
    assert changes.removed == ("a",)
    assert [one.name for one in snapshot.tools] == ["b"]


def test_a_failed_listing_keeps_everything_and_says_why() -> None:
    known, _ = diff.absorb(None, listing(tool("one", "a")))
    snapshot = diff.failed(known, "one", "out of order")
    assert snapshot.tools == known.tools
    assert (snapshot.stale, snapshot.error) == (True, "out of order")
    assert diff.failed(None, "new", "why") == ServerSnapshot("new", stale=True, error="why")


def test_only_the_named_tools_are_approved() -> None:
    known, _ = diff.absorb(None, listing(tool("one", "a", "1"), tool("one", "b", "1")))
    changed, _ = diff.absorb(known, listing(tool("one", "a", "2"), tool("one", "b", "2")))
    approved = diff.approve(changed, ["a"])
    assert [one.description for one in approved.tools] == ["2", "1"]
    assert list(approved.pending) == ["b"]


def test_a_diff_shows_the_words_that_changed() -> None:
    lines = diff.lines(tool("one", "a", "kind words"), tool("one", "a", "cruel words"))
    assert "-description: kind words" in lines
    assert "+description: cruel words" in lines
