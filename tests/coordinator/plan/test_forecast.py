"""What people are told about their turn, and that it is what then happens."""

import hypothesis
import pytest
from hypothesis import strategies as st

from coordinator import forecast, plan, settings
from coordinator.forecast import Rates, Running, WaitsFor
from tests.coordinator.plan import machine, world
from tests.coordinator.plan.scene import GIB, KNOBS, NOW, State, resident, waiting

LEARNED = {
    "a": Rates(load_s=(20.0,), run_s=(10.0,)),
    "b": Rates(load_s=(30.0,), run_s=(4.0,)),
    "once": Rates(load_s=(1.0,), run_s=(60.0,)),
    "cloud": Rates(run_s=(3.0,)),
}


def foresee(
    queue: list[plan.Waiting],
    residents: list[plan.Resident],
    running: list[Running] | None = None,
    learned: dict[str, Rates] | None = None,
    paused: bool = False,
) -> forecast.Forecast:
    return forecast.foresee(
        queue,
        residents,
        80 * GIB,
        KNOBS,
        NOW,
        LEARNED if learned is None else learned,
        running or [],
        paused,
    )


def test_a_cold_load_takes_as_long_as_loads_took() -> None:
    seen = foresee([waiting(1, "a")], [resident("a")])
    assert seen.outlooks["a1"] == forecast.Outlook(1, (20.0, 20.0), WaitsFor.LOAD, None)
    assert seen.swaps == (forecast.Swap((), "a", (0.0, 0.0)),)


def test_the_range_is_as_wide_as_history_spreads() -> None:
    learned = {"a": Rates(load_s=(12.0, 90.0, 30.0, 15.0, 20.0), run_s=(1.0,))}
    seen = foresee([waiting(1, "a")], [resident("a")], learned=learned)
    assert seen.outlooks["a1"].eta_s == (15.0, 90.0)


def test_nothing_is_said_where_nothing_is_known() -> None:
    seen = foresee([waiting(1, "a")], [resident("a")], learned={})
    assert seen.outlooks["a1"] == forecast.Outlook(1, None, WaitsFor.LOAD, None)


def test_what_runs_for_an_unknown_time_is_waited_for_without_a_time() -> None:
    busy = resident("a", State.READY, leased=1)
    seen = foresee([waiting(1, "a")], [busy], [Running("a", 3)], {"a": Rates(load_s=(1.0,))})
    assert seen.outlooks["a1"] == forecast.Outlook(1, None, WaitsFor.SLOT, None)


def test_a_busy_slot_is_free_when_the_rest_of_its_answer_is_over() -> None:
    busy = resident("a", State.READY, leased=1)
    seen = foresee([waiting(1, "a"), waiting(2, "a")], [busy], [Running("a", 6)])
    assert seen.outlooks["a1"].eta_s == (4.0, 4.0)
    assert seen.outlooks["a2"].eta_s == (14.0, 14.0)
    assert seen.outlooks["a2"].position == 2


def test_an_answer_that_takes_longer_than_any_before_may_take_as_long_again() -> None:
    busy = resident("a", State.READY, leased=1)
    seen = foresee([waiting(1, "a")], [busy], [Running("a", 25)])
    assert seen.outlooks["a1"].eta_s == (0.0, 25.0)


def test_a_swap_counts_the_answer_that_runs_and_the_memory_that_comes_back() -> None:
    residents = [resident("a", State.READY, leased=1), resident("b")]
    seen = foresee([waiting(1, "b")], residents, [Running("a", 6)])
    quick, slow = forecast.LEAVE_S
    assert seen.outlooks["b1"] == forecast.Outlook(1, (34 + quick, 34 + slow), WaitsFor.SWAP, "a")
    assert seen.swaps == (forecast.Swap(("a",), "b", (4 + quick, 4 + slow)),)


def test_a_load_that_is_under_way_counts_what_it_has_done() -> None:
    loading = resident("a", State.STARTING, since=NOW - 15)
    seen = foresee([waiting(1, "a")], [loading])
    assert seen.outlooks["a1"] == forecast.Outlook(1, (5.0, 5.0), WaitsFor.LOAD, None)


def test_a_barred_item_waits_for_the_swap_there_and_back() -> None:
    queue = [waiting(1, "b", waited=60), waiting(2, "a")]
    seen = foresee(queue, [resident("a", State.DRAINING, leased=1), resident("b")])
    assert seen.outlooks["a2"].waits_for is WaitsFor.SWAP
    assert seen.outlooks["a2"].behind == "b"


def test_exclusive_work_waits_for_the_whole_gpu() -> None:
    busy = resident("a", State.READY, leased=1, gib=1)
    seen = foresee([waiting(1, "once")], [busy, resident("once", gib=1, exclusive=True)])
    assert (seen.outlooks["once1"].waits_for, seen.outlooks["once1"].behind) == ("whole_gpu", "a")


def test_what_fits_beside_everything_waits_for_its_load_alone() -> None:
    busy = resident("a", State.READY, leased=1, gib=40)
    seen = foresee([waiting(1, "b")], [busy, resident("b", gib=40)])
    assert seen.outlooks["b1"] == forecast.Outlook(1, (30.0, 30.0), WaitsFor.LOAD, None)


def test_a_paused_queue_gives_places_and_no_times() -> None:
    seen = foresee([waiting(1, "a"), waiting(2, "a")], [resident("a")], paused=True)
    assert seen.outlooks["a2"] == forecast.Outlook(2, None, WaitsFor.PAUSED, None)
    assert seen.swaps == ()


def test_what_was_told_to_go_has_to_come_back_first() -> None:
    going = resident("a", State.DRAINING, leased=1, leaving=True)
    seen = foresee([waiting(1, "a")], [going], [Running("a", 6)])
    quick, slow = forecast.LEAVE_S
    assert seen.outlooks["a1"] == forecast.Outlook(1, (24 + quick, 24 + slow), WaitsFor.SWAP, None)


def test_a_runtime_that_failed_is_waited_for_until_it_is_tried_again() -> None:
    seen = foresee([waiting(1, "a")], [resident("a", retry_at=NOW + 8)])
    assert seen.outlooks["a1"] == forecast.Outlook(1, (28.0, 28.0), WaitsFor.RUNTIME_FAILED, None)


def test_a_remote_endpoint_has_a_line_of_its_own() -> None:
    queue = [waiting(1, "a"), waiting(2, "cloud"), waiting(3, "cloud")]
    residents = [resident("a"), resident("cloud", gpu_work=False, leased=1)]
    seen = foresee(queue, residents, [Running("cloud", 1)])
    assert seen.outlooks["cloud2"] == forecast.Outlook(1, (2.0, 2.0), WaitsFor.SLOT, None)
    assert seen.outlooks["cloud3"].position == 2


def test_only_what_is_asked_for_is_answered() -> None:
    queue = [waiting(seq, "a") for seq in range(1, 9)]
    answered = forecast.forecast(
        queue, [resident("a")], 80 * GIB, KNOBS, NOW, LEARNED, asked=["a3"]
    )
    assert list(answered) == ["a3"]
    assert answered["a3"].position == 3
    assert answered["a3"].eta_s == (40.0, 40.0)


def test_a_very_long_queue_is_forecast_at_the_pace_of_its_beginning() -> None:
    queue = [waiting(seq, "a") for seq in range(1, 2001)]
    seen = foresee(queue, [resident("a", State.READY)])
    last = seen.outlooks["a2000"].eta_s
    assert last is not None
    assert last[0] == pytest.approx(1999 * 10, rel=0.05)
    times = [outlook.eta_s for outlook in seen.outlooks.values()]
    assert times == sorted(time for time in times if time is not None)


@pytest.mark.timeout(1800)
@hypothesis.settings(
    max_examples=machine.EXAMPLES, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
)  # fmt: skip
@hypothesis.given(
    engines=machine.engines(),
    knobs=machine.KNOBS,
    work=st.lists(
        st.tuples(machine.INDEX, st.sampled_from([20, 50, 80]), st.integers(0, 9)), max_size=12
    ),
)
def test_what_is_foretold_is_what_happens(
    engines: list[world.Engine], knobs: settings.Knobs, work: list[tuple[int, int, int]]
) -> None:
    for engine in engines:
        engine.stop_s, engine.settle_s = int(forecast.LEAVE_S[0]), 0
        engine.learned = engine.footprint
    there = world.World(engines, 80, knobs, plan.decide)
    run_s = {engine.name: float(1 + number * 3) for number, engine in enumerate(engines)}
    for index, priority, pause_s in work:
        engine = engines[index % len(engines)]
        there.submit(engine.name, priority, int(run_s[engine.name]))
        there.advance(pause_s)
    learned = {e.name: Rates(load_s=(float(e.load_s),), run_s=(run_s[e.name],)) for e in engines}
    running = [
        Running(ticket.waiting.runtime, there.now - there.granted[name])
        for name, ticket in there.running.items()
    ]
    seen = forecast.forecast(
        [ticket.waiting for ticket in there.queue.values()],
        [engine.resident() for engine in engines],
        80,
        knobs,
        there.now,
        learned,
        running,
    )
    began = there.now
    there.advance(10_000)
    for name, outlook in seen.items():
        assert outlook.eta_s is not None
        assert there.granted[name] - began in outlook.eta_s
