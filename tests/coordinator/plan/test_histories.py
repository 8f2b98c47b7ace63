"""Whole stories that went wrong in other gateways, played on the pretend clock."""

from coordinator import plan, settings
from tests.coordinator.plan import world
from tests.coordinator.plan.world import Engine, State, World

KNOBS = settings.Knobs(max_wait_s=30.0, min_residency_s=10.0, aging_s=64.0)


def open_world(*engines: Engine, knobs: settings.Knobs = KNOBS, pool: int | None = None) -> World:
    """One runtime at a time, unless a pool says otherwise."""
    return World(engines, pool, knobs, plan.decide)


def test_alternating_work_that_is_there_at_once_costs_one_swap() -> None:
    there = open_world(Engine("a"), Engine("b"))
    for runtime in "abababab":
        there.admit(runtime, 50, 2)
    there.settle()
    there.advance(200)
    assert there.starts == ["a", "b"]
    assert len(there.ended) == 8


def test_a_steady_stream_does_not_starve_another_runtime() -> None:
    there = open_world(Engine("a", slots=2), Engine("b"))
    there.submit("a", 50, 4)
    there.advance(5)
    rare = there.submit("b", 50, 4)
    for _ in range(40):
        there.submit("a", 50, 4)
        there.advance(2)
    assert rare in there.ended
    assert there.starts == ["a", "b", "a"]


def test_low_priority_is_served_under_a_stream_of_higher_priority() -> None:
    there = open_world(Engine("a"), knobs=settings.Knobs(aging_s=1.0))
    low = there.submit("a", 20, 1)
    for _ in range(60):
        there.submit("a", 50, 2)
        there.submit("a", 50, 2)
        there.advance(3)
    assert low in there.ended
    assert len(there.queue) > 10


def test_a_long_answer_is_never_interrupted_by_a_swap() -> None:
    there = open_world(Engine("a"), Engine("b"))
    long = there.submit("a", 20, 5000)
    there.advance(10)
    urgent = there.submit("b", 80, 2)
    there.disturb()  # the bound is for answers of a known length
    there.advance(4000)
    assert there.engines["a"].state is State.DRAINING
    assert there.running.keys() == {long}
    there.advance(1100)
    assert [long, urgent] == there.ended


def test_two_that_wait_for_one_slot_both_get_it() -> None:
    there = open_world(Engine("a"))
    first = there.submit("a", 50, 5)
    there.advance(4)
    second, third = there.submit("a", 50, 5), there.submit("a", 50, 5)
    there.cancel(first)
    there.advance(10)
    assert there.ended == [first, second, third]


def test_a_runtime_that_was_just_loaded_serves_what_it_was_loaded_for() -> None:
    there = open_world(Engine("a"), Engine("b", load_s=8))
    there.submit("a", 50, 3)
    there.advance(4)
    mine = there.submit("b", 50, 3)
    there.advance(6)
    assert there.engines["b"].state is State.STARTING
    there.submit("a", 80, 3)
    there.advance(8)
    assert mine in there.granted
    there.advance(60)
    assert there.starts == ["a", "b", "a"]


def test_a_load_that_was_cancelled_ends_before_the_next_begins() -> None:
    there = open_world(Engine("a", load_s=8), Engine("b"))
    gone = there.submit("a", 50, 3)
    there.advance(2)
    there.cancel(gone)
    there.submit("b", 50, 3)
    assert there.engines["a"].state is State.STOPPING
    there.advance(30)
    assert there.starts == ["a", "b"]


def test_a_swap_whose_target_was_cancelled_costs_nothing() -> None:
    there = open_world(Engine("a", slots=2), Engine("b"))
    there.submit("a", 50, 60)
    there.advance(20)
    target = there.submit("b", 80, 3)
    there.advance(31)
    assert there.engines["a"].state is State.DRAINING
    there.cancel(target)
    late = there.submit("a", 50, 3)
    assert late in there.granted
    assert there.starts == ["a"]


def test_strict_fifo_swaps_at_each_change() -> None:
    strict = settings.Knobs(max_wait_s=0.0, aging_s=0.0)
    there = open_world(Engine("a"), Engine("b"), knobs=strict)
    names = [there.admit(runtime, 50, 2) for runtime in "abab"]
    there.settle()
    there.advance(200)
    assert there.starts == ["a", "b", "a", "b"]
    assert there.ended == names


def test_exclusive_work_gets_the_whole_pool_and_gives_it_back() -> None:
    once = Engine("once", footprint=1, exclusive=True)
    there = open_world(Engine("a", footprint=20), Engine("b", footprint=20), once, pool=80)
    there.submit("a", 50, 5)
    there.submit("b", 50, 5)
    there.advance(4)
    alone = there.submit("once", 50, 5)
    there.advance(10)
    assert there.running.keys() == {alone}
    after = there.submit("a", 50, 5)
    there.advance(100)
    assert there.starts == ["a", "b", "once", "a"]
    assert there.ended[-2:] == [alone, after]


def test_after_a_restart_nothing_starts_beside_what_was_not_looked_at() -> None:
    there = open_world(Engine("a"), Engine("b"))
    there.submit("a", 50, 50)
    there.advance(10)
    waits = there.submit("b", 50, 3)
    there.restart(requeue=True)
    assert there.engines["a"].state is State.UNKNOWN
    assert there.starts == ["a"]
    there.advance(world.LOOK_S + 200)
    assert waits in there.ended
