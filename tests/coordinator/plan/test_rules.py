"""The eight rules of the decision, one example each and the edges that hurt other gateways."""

import pytest

from coordinator import plan, settings
from tests.coordinator.plan.scene import KNOBS, NOW, STRICT, State, decide, resident, waiting


def test_nothing_to_do_is_an_empty_plan() -> None:
    assert decide([], [resident("a"), resident("b", State.READY)]) == plan.Plan()


# Rank


def test_higher_priority_is_granted_first() -> None:
    queue = [waiting(1, "a", priority=20), waiting(2, "a", priority=80)]
    assert decide(queue, [resident("a", State.READY)]).actions == (plan.Grant("a2", "a"),)


def test_equal_priorities_are_served_in_order_of_admission_whatever_the_clock_did() -> None:
    queue = [waiting(1, "a", waited=0), waiting(2, "a", waited=900)]
    assert decide(queue, [resident("a", State.READY)]).actions == (plan.Grant("a1", "a"),)


def test_waiting_earns_priority() -> None:
    queue = [waiting(1, "a", priority=20, waited=31 * 60), waiting(2, "a", priority=50)]
    assert decide(queue, [resident("a", State.READY)]).actions == (plan.Grant("a1", "a"),)


def test_without_aging_priority_alone_counts() -> None:
    queue = [waiting(1, "a", priority=20, waited=1e6), waiting(2, "a", priority=21)]
    knobs = settings.Knobs(aging_s=0)
    assert decide(queue, [resident("a", State.READY)], knobs=knobs).actions == (
        plan.Grant("a2", "a"),
    )


# Join


def test_free_slots_are_filled_in_order_and_no_more_than_there_are() -> None:
    queue = [waiting(seq, "a") for seq in (3, 1, 2)]
    ready = resident("a", State.READY, slots=3, leased=1)
    assert decide(queue, [ready]).actions == (plan.Grant("a1", "a"), plan.Grant("a2", "a"))


@pytest.mark.parametrize("state", [s for s in State if s is not State.READY])
def test_only_a_ready_runtime_is_granted(state: State) -> None:
    plan_ = decide([waiting(1, "a")], [resident("a", state)])
    assert not [action for action in plan_.actions if isinstance(action, plan.Grant)]


def test_a_remote_endpoint_is_always_ready_and_takes_no_memory() -> None:
    queue = [waiting(1, "cloud"), waiting(2, "a")]
    residents = [resident("cloud", gpu_work=False), resident("a")]
    assert decide(queue, residents).actions == (plan.Grant("cloud1", "cloud"), plan.Start("a"))


def test_an_item_of_a_runtime_that_is_not_configured_any_more_disturbs_nobody() -> None:
    queue = [waiting(1, "gone", priority=99), waiting(2, "a")]
    assert decide(queue, [resident("a", State.READY)]).actions == (plan.Grant("a2", "a"),)


# Target


def test_the_best_ranked_item_names_the_runtime_that_is_started() -> None:
    queue = [waiting(1, "a"), waiting(2, "b", priority=80)]
    assert decide(queue, [resident("a"), resident("b")]).actions == (plan.Start("b"),)


def test_a_runtime_that_backs_off_is_no_target_until_its_time() -> None:
    queue = [waiting(1, "a"), waiting(2, "b")]
    backing_off = resident("a", retry_at=NOW + 5)
    assert decide(queue, [backing_off, resident("b")]).actions == (plan.Start("b"),)
    assert decide(queue[:1], [backing_off]) == plan.Plan((), NOW + 5)
    assert decide(queue[:1], [backing_off], now=NOW + 5).actions == (plan.Start("a"),)


# Bar


def test_the_resident_runtime_goes_on_with_its_own_queue_for_a_while() -> None:
    queue = [waiting(1, "b", waited=5), waiting(2, "a")]
    other = resident("b")
    assert decide(queue, [resident("a", State.READY), other]).actions == (plan.Grant("a2", "a"),)
    busy = resident("a", State.READY, leased=1)
    assert decide(queue[:1], [busy, other]) == plan.Plan((), NOW + 25)


def test_after_max_wait_the_resident_runtime_admits_nothing_new() -> None:
    queue = [waiting(1, "b", waited=30), waiting(2, "a")]
    busy = resident("a", State.READY, slots=2, leased=1)
    assert decide(queue, [busy, resident("b")]).actions == (plan.Drain("a", "b"),)


def test_strictly_higher_priority_bars_at_once() -> None:
    queue = [waiting(1, "a", priority=50), waiting(2, "b", priority=80)]
    busy = resident("a", State.READY, slots=2, leased=1)
    assert decide(queue, [busy, resident("b")]).actions == (plan.Drain("a", "b"),)


def test_what_ranks_ahead_of_the_target_is_not_held_back_by_it() -> None:
    queue = [waiting(1, "b", priority=20, waited=600), waiting(2, "a", priority=80)]
    assert decide(queue, [resident("a", State.READY), resident("b")]).actions == (
        plan.Grant("a2", "a"),
    )


def test_what_is_not_in_the_targets_way_is_not_barred() -> None:
    queue = [waiting(1, "b", waited=600), waiting(2, "c")]
    residents = [
        resident("a", State.READY, gib=40, leased=1),
        resident("b", gib=60),
        resident("c", gpu_work=False),
    ]
    assert decide(queue, residents).actions == (plan.Grant("c2", "c"), plan.Drain("a", "b"))


@pytest.mark.parametrize("ready_for", [0.0, 500.0])
def test_strict_fifo_never_lets_an_item_overtake_an_earlier_one(ready_for: float) -> None:
    queue = [waiting(1, "b"), waiting(2, "a")]
    busy = resident("a", State.READY, slots=2, leased=1, ready_for=ready_for)
    assert decide(queue, [busy, resident("b")], knobs=STRICT).actions == (plan.Drain("a", "b"),)


# Dwell


def test_a_runtime_with_work_keeps_its_place_for_min_residency() -> None:
    queue = [waiting(1, "b", priority=80, waited=60), waiting(2, "a")]
    fresh = resident("a", State.READY, ready_for=4)
    assert decide(queue, [fresh, resident("b")]).actions == (plan.Grant("a2", "a"),)
    full = resident("a", State.READY, ready_for=4, leased=1)
    assert decide(queue, [full, resident("b")]) == plan.Plan((), NOW + 6)
    assert decide(queue, [fresh, resident("b")], now=NOW + 6).actions == (
        plan.Stop("a", "swap", "b"),
    )


def test_a_runtime_with_work_stays_until_its_load_was_worth_it() -> None:
    queue = [waiting(1, "b", priority=80, waited=60), waiting(2, "a")]
    fresh = resident("a", State.READY, ready_for=12, load_s=40)
    assert decide(queue, [fresh, resident("b")]).actions == (plan.Grant("a2", "a"),)
    assert decide(queue, [fresh, resident("b")], now=NOW + 28).actions == (
        plan.Stop("a", "swap", "b"),
    )
    knobs = settings.Knobs(residency_per_load=0)
    assert decide(queue, [fresh, resident("b")], knobs=knobs).actions == (
        plan.Stop("a", "swap", "b"),
    )


def test_an_idle_runtime_goes_at_once() -> None:
    fresh = resident("a", State.READY, ready_for=0)
    assert decide([waiting(1, "b")], [fresh, resident("b")]).actions == (
        plan.Stop("a", "swap", "b"),
    )


# Fit


def test_two_runtimes_that_fit_together_start_together() -> None:
    queue = [waiting(1, "a"), waiting(2, "b"), waiting(3, "c")]
    residents = [resident("a", gib=30), resident("b", gib=50), resident("c", gib=1)]
    assert decide(queue, residents).actions == (plan.Start("a"), plan.Start("b"))


@pytest.mark.parametrize(("pool", "gib"), [(80.0, None), (None, 1.0), (80.0, 500.0)])
def test_an_unknown_or_impossible_footprint_is_the_whole_pool(
    pool: float | None, gib: float | None
) -> None:
    queue = [waiting(1, "a"), waiting(2, "b")]
    residents = [resident("a", gib=gib), resident("b", gib=1)]
    assert decide(queue, residents, pool_gib=pool).actions == (plan.Start("a"),)


def test_exclusive_work_waits_for_the_whole_pool() -> None:
    residents = [
        resident("a", State.READY, gib=1),
        resident("b", State.READY, gib=1, leased=1),
        resident("once", gib=1, exclusive=True),
    ]
    actions = decide([waiting(1, "once", waited=30)], residents).actions
    assert actions == (plan.Stop("a", "swap", "once"), plan.Drain("b", "once"))


def test_the_least_that_makes_room_goes_idle_before_busy_and_least_recently_used_first() -> None:
    residents = [
        resident("busy", State.READY, gib=20, leased=1, used=900),
        resident("old", State.READY, gib=20, used=600),
        resident("new", State.READY, gib=20, used=300),
        resident("b", gib=30),
    ]
    actions = decide([waiting(1, "b", waited=60)], residents).actions
    assert actions == (plan.Stop("old", "swap", "b"),)


def test_nothing_goes_that_need_not_go() -> None:
    residents = [
        resident("small", State.READY, gib=10, used=600),
        resident("big", State.READY, gib=60, used=300),
        resident("b", gib=70),
    ]
    assert decide([waiting(1, "b")], residents).actions == (plan.Stop("big", "swap", "b"),)


def test_nothing_idle_is_unloaded_before_the_rest_of_the_way_can_be_cleared() -> None:
    residents = [
        resident("idle", State.READY, gib=40),
        resident("busy", State.READY, gib=40, leased=1),
        resident("b", gib=80),
    ]
    assert decide([waiting(1, "b", waited=3)], residents) == plan.Plan((), NOW + 27)


def test_what_is_pinned_never_goes_and_what_cannot_fit_beside_it_holds_nobody_up() -> None:
    queue = [waiting(1, "big", waited=600), waiting(2, "small")]
    residents = [
        resident("pinned", State.READY, gib=30, pinned=True, idle_unload_s=1.0, used=600),
        resident("big", gib=60),
        resident("small", gib=50),
    ]
    assert decide(queue, residents).actions == (plan.Start("small"),)


def test_a_start_takes_nothing_from_one_that_is_ahead_and_still_waits_for_its_place() -> None:
    queue = [waiting(1, "big"), waiting(2, "small")]
    residents = [
        resident("busy", State.READY, gib=40, leased=1),
        resident("big", gib=70),
        resident("small", gib=30),
    ]
    assert decide(queue, residents).actions == ()


def test_two_that_fit_beside_leaving_memory_only_one_by_one_do_not_start_together() -> None:
    queue = [waiting(1, "b"), waiting(2, "c")]
    residents = [
        resident("a", State.SETTLING, gib=40),
        resident("b", gib=40),
        resident("c", gib=20),
    ]
    assert decide(queue, residents).actions == (plan.Start("b"),)


def test_nothing_starts_beside_what_has_not_been_looked_at() -> None:
    queue = [waiting(1, "b")]
    unknown = resident("a", State.UNKNOWN, gib=60)
    assert decide(queue, [unknown, resident("b", gib=30)]) == plan.Plan()
    assert decide(queue, [unknown, resident("b", gib=20)]).actions == (plan.Start("b"),)


# Swap


@pytest.mark.parametrize("state", [State.STOPPING, State.SETTLING])
def test_no_start_overtakes_the_memory_coming_back(state: State) -> None:
    assert decide([waiting(1, "b")], [resident("a", state), resident("b")]) == plan.Plan()


def test_a_draining_runtime_stops_when_its_last_lease_ends() -> None:
    queue = [waiting(1, "b", waited=60)]
    assert decide(queue, [resident("a", State.DRAINING, leased=1), resident("b")]) == plan.Plan()
    assert decide(queue, [resident("a", State.DRAINING), resident("b")]).actions == (
        plan.Stop("a", "swap", "b"),
    )


def test_a_load_that_nobody_wants_any_more_ends_when_its_room_is_needed() -> None:
    loading = resident("a", State.STARTING)
    assert decide([], [loading]) == plan.Plan()
    assert decide([waiting(1, "b")], [loading, resident("b")]).actions == (
        plan.Stop("a", "swap", "b"),
    )


def test_a_load_that_somebody_waits_for_is_never_cut_short() -> None:
    queue = [waiting(1, "a"), waiting(2, "b", priority=99)]
    assert decide(queue, [resident("a", State.STARTING), resident("b")]) == plan.Plan()


# Keep


def test_a_cancelled_swap_target_keeps_the_resident_runtime() -> None:
    assert decide([], [resident("a", State.DRAINING, leased=1), resident("b")]).actions == (
        plan.Keep("a"),
    )


def test_a_draining_runtime_that_better_ranked_work_wants_is_kept() -> None:
    queue = [waiting(1, "b", waited=60), waiting(2, "a", priority=99)]
    draining = resident("a", State.DRAINING, leased=1)
    assert decide(queue, [draining, resident("b")]).actions == (plan.Keep("a"),)


def test_a_draining_runtime_that_later_work_wants_goes_on_draining() -> None:
    queue = [waiting(1, "b", waited=60), waiting(2, "a")]
    draining = resident("a", State.DRAINING, leased=1)
    assert decide(queue, [draining, resident("b")]).actions == ()


def test_what_was_told_to_go_is_neither_granted_nor_kept_and_comes_back_for_what_waits() -> None:
    queue = [waiting(1, "a", priority=99)]
    going = resident("a", State.DRAINING, leased=1, slots=2, leaving=True)
    assert decide(queue, [going]) == plan.Plan()
    assert decide(queue, [resident("a", State.READY, leaving=True)]) == plan.Plan()
    assert decide(queue, [resident("a")]).actions == (plan.Start("a"),)


def test_after_acting_it_asks_to_be_asked_again_at_once() -> None:
    assert decide([waiting(1, "a")], [resident("a")]).look_again_at == NOW


# Pause and idleness


def test_a_paused_queue_grants_and_starts_nothing_and_drains_nobody() -> None:
    queue = [waiting(1, "a", waited=60), waiting(2, "b"), waiting(3, "c")]
    residents = [
        resident("a"),
        resident("b", State.READY, leased=0),
        resident("c", State.DRAINING, leased=1),
    ]
    assert decide(queue, residents, paused=True).actions == (plan.Keep("c"),)


def test_an_idle_runtime_is_unloaded_after_its_time() -> None:
    idle = resident("a", State.READY, used=60, idle_unload_s=90)
    assert decide([], [idle]) == plan.Plan((), NOW + 30)
    assert decide([], [idle], now=NOW + 30).actions == (plan.Stop("a", "idle"),)


def test_being_loaded_counts_as_use() -> None:
    idle = resident("a", State.READY, ready_for=10, used=600, idle_unload_s=90)
    assert decide([], [idle]) == plan.Plan((), NOW + 80)


def test_what_was_loaded_by_hand_stays_as_long_as_asked() -> None:
    idle = resident("a", State.READY, used=600, idle_unload_s=90, keep_until=NOW + 300)
    assert decide([], [idle]) == plan.Plan((), NOW + 300)


def test_what_runs_work_is_not_idle() -> None:
    busy = resident("a", State.READY, leased=1, used=600, idle_unload_s=90)
    assert decide([], [busy]) == plan.Plan()


def test_the_default_knobs_are_the_ones_documented() -> None:
    assert settings.Knobs() == KNOBS
