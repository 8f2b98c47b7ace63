"""What a tool is taken to do, and what follows from it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import policy
from broker.policy import Rules, decide
from broker.settings import Action
from catalog.model import Hints

NOTHING = Hints()


@pytest.mark.parametrize(
    ("name", "effect"),
    [
        ("get_issue", "read"),
        ("listPullRequests", "read"),
        ("search_code", "read"),
        ("github_list_open_orders", "read"),
        ("read_terminal_output", "read"),
        ("create_issue", "write"),
        ("get_or_create_user", "write"),
        ("git_commit", "write"),
        ("delete_file", "destructive"),
        ("git_reset", "destructive"),
        ("force_push", "destructive"),
        ("run_query", "unknown"),
        ("execute_sql", "unknown"),
        ("read_neo4j_cypher", "unknown"),
        ("eval_expression", "unknown"),
        ("query_database", "unknown"),
        ("npmVersions", "unknown"),
    ],
)
def test_a_name_says_what_a_tool_does_or_nothing(name: str, effect: str) -> None:
    assert decide(name, NOTHING, Rules()).effect == effect


@pytest.mark.parametrize(
    ("effect_name", "action"),
    [("get_x", "allow"), ("set_x", "ask"), ("delete_x", "ask"), ("frobnicate", "ask")],
)
def test_reading_is_free_and_everything_else_asks(effect_name: str, action: str) -> None:
    assert decide(effect_name, NOTHING, Rules()).action == action


def test_a_claim_to_only_read_counts_for_a_trusted_server_only() -> None:
    claim = Hints(read_only=True)
    assert decide("frobnicate", claim, Rules(trusted=True)).action == "allow"
    assert decide("frobnicate", claim, Rules()).action == "ask"


def test_an_admission_counts_for_every_server() -> None:
    assert decide("get_x", Hints(read_only=False), Rules()).effect == "write"
    assert decide("get_x", Hints(destructive=True), Rules()).effect == "destructive"


def test_a_harmless_claim_does_not_make_a_deletion_a_write() -> None:
    claim = Hints(read_only=False, destructive=False)
    assert decide("delete_x", claim, Rules(trusted=True)).effect == "destructive"


def test_a_rule_for_exactly_this_tool_goes_before_everything() -> None:
    rules = Rules(server="deny", tools={"delete_x": "allow", "delete_*": "deny"})
    assert decide("delete_x", NOTHING, rules).action == "allow"
    assert decide("delete_y", NOTHING, rules).action == "deny"


def test_the_longer_pattern_goes_before_the_shorter() -> None:
    rules = Rules(tools={"*": "deny", "get_*": "ask", "get_public_*": "allow"})
    actions = [decide(name, NOTHING, rules).action for name in ("get_public_x", "get_x", "set_x")]
    assert actions == ["allow", "ask", "deny"]


def test_a_rule_for_a_whole_server_never_frees_what_destroys() -> None:
    rules = Rules(server="allow")
    assert decide("set_x", NOTHING, rules).action == "allow"
    assert decide("delete_x", NOTHING, rules).action == "ask"


@given(
    st.text(max_size=40),
    st.booleans(),
    st.sampled_from([None, "allow", "ask"]),
    st.sampled_from([None, True, False]),
)
def test_what_is_destructive_is_never_free_without_a_rule_of_its_own(
    name: str, trusted: bool, server: Action | None, read_only: bool | None
) -> None:
    hints = Hints(read_only=read_only, destructive=True)
    decision = decide(name, hints, Rules(server=server, trusted=trusted))
    assert decision.effect != "destructive" or decision.action == "ask"


@given(st.sampled_from(sorted(policy.OPAQUE)), st.sampled_from(sorted(policy.READS)))
def test_a_name_that_runs_something_is_never_a_read(opaque: str, verb: str) -> None:
    for name in (f"{verb}_{opaque}", f"{opaque}_{verb}", f"{opaque}{verb.title()}"):
        assert decide(name, NOTHING, Rules()).action == "ask"
