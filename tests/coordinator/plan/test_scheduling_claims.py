"""What docs/scheduling.md claims of the replayed traces."""

import functools

import pytest

from benchmarks import scheduling
from benchmarks.scheduling import LOCK, OURS, RESIDENT, STRICT

TRACES = {trace.name: trace for trace in scheduling.traces()}
EQUAL = [
    name for name, trace in TRACES.items() if len({agent.priority for agent in trace.agents}) == 1
]
ALTERNATING = ["alternating-agents", "architect-editor", "orchestrator", "drawn-equal-12s"]


@functools.cache
def replay(name: str, policy: scheduling.Policy) -> scheduling.Outcome:
    return scheduling.Replay(TRACES[name], policy).run()


@pytest.mark.parametrize("name", TRACES)
def test_nobody_waits_longer_than_the_bound(name: str) -> None:
    assert replay(name, OURS).of_bound <= 1


@pytest.mark.parametrize("name", TRACES)
@pytest.mark.parametrize("policy", [STRICT, LOCK, RESIDENT], ids=lambda policy: policy.name)
def test_every_policy_serves_the_same_work(name: str, policy: scheduling.Policy) -> None:
    assert len(replay(name, policy).waits_s) == len(replay(name, OURS).waits_s)


@pytest.mark.parametrize("name", EQUAL)
def test_among_equals_it_is_never_slower_and_never_swaps_more_than_strict_fifo(name: str) -> None:
    ours, strict = replay(name, OURS), replay(name, STRICT)
    assert ours.makespan_s <= strict.makespan_s
    assert ours.swaps <= strict.swaps


@pytest.mark.parametrize("name", ALTERNATING)
def test_it_ends_sooner_than_strict_fifo_where_models_alternate(name: str) -> None:
    ours, strict = replay(name, OURS), replay(name, STRICT)
    assert ours.makespan_s < 0.85 * strict.makespan_s
    assert ours.swaps < 0.85 * strict.swaps


@pytest.mark.parametrize("name", EQUAL)
def test_it_swaps_hardly_more_than_resident_first_unless_that_makes_somebody_wait(
    name: str,
) -> None:
    ours, resident = replay(name, OURS), replay(name, RESIDENT)
    hardly_more = ours.swaps <= 1.15 * resident.swaps
    assert hardly_more or resident.percentile(1) > 3 * ours.percentile(1)


@pytest.mark.parametrize("policy", [STRICT, LOCK, RESIDENT], ids=lambda policy: policy.name)
def test_people_wait_a_fraction_of_what_they_would_without_priorities(
    policy: scheduling.Policy,
) -> None:
    name = "batch-under-interactive"
    ours = replay(name, OURS).percentile(0.95, urgent=True)
    assert ours < 0.1 * replay(name, policy).percentile(0.95, urgent=True)


def test_resident_first_breaks_the_bound_that_ours_keeps() -> None:
    assert replay("steady-stream", RESIDENT).of_bound > 5
    assert replay("steady-stream", OURS).of_bound < 0.5


def test_the_table_in_the_docs_is_the_one_the_command_prints() -> None:
    docs = scheduling.TRACES.parent.parent / "docs" / "scheduling.md"
    printed = "\n".join(scheduling.table(list(TRACES.values())))
    assert printed in docs.read_text()
