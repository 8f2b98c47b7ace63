"""Search as a whole, over our own catalog and queries; the figures are in docs/tool-search.md."""

import pytest

from benchmarks import search_peers, search_quality, search_sets
from benchmarks.search_sets import Query

OWN = search_sets.own()
Rows = list[tuple[Query, float, float, float]]


@pytest.fixture(scope="module")
def ours() -> Rows:
    return search_quality.measure(search_peers.ours(OWN.entries), OWN.queries)


def share(rows: Rows, depth: int, kind: str = "") -> float:
    """Recall among the first 1 or 5."""
    chosen = [row[1] if depth == 1 else row[2] for row in rows if kind in {"", row[0].kind}]
    return sum(chosen) / len(chosen)


@pytest.mark.parametrize("kind", ["exact", "recase", "qualified"])
def test_a_name_in_any_form_is_always_first(ours: Rows, kind: str) -> None:
    assert share(ours, 1, kind) == 1.0


@pytest.mark.parametrize("kind", ["typo", "abbrev", "synonym", "scoped", "noun", "params", "agent"])
def test_the_right_tool_is_among_five_for_every_way_to_ask(ours: Rows, kind: str) -> None:
    assert share(ours, 5, kind) == 1.0


def test_the_right_tool_is_first_four_times_of_five(ours: Rows) -> None:
    assert share(ours, 1) >= 0.82
    assert share(ours, 5) >= 0.96


@pytest.mark.parametrize("peer", ["naive rapidfuzz", "plain BM25", "SQLite FTS5"])
def test_other_ways_to_search_find_less(ours: Rows, peer: str) -> None:
    engine = search_peers.ENGINES[peer](OWN.entries)
    theirs = search_quality.measure(engine, OWN.queries)
    assert share(ours, 1) > share(theirs, 1)
    assert share(ours, 5) > share(theirs, 5)


def test_what_is_tuned_on_is_never_reported_on() -> None:
    tuned = {query.text for query in OWN.queries if query.for_tuning}
    assert 0.2 < len(tuned) / len(OWN.queries) < 0.6
