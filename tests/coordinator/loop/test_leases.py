"""Leases: waiting, granting, swapping, leaving and being cancelled."""

from pathlib import Path

import anyio
import pytest

from coordinator import errors, settings
from runtimes import base
from tests.coordinator.loop.harness import WITHIN_S, bench, spec


async def test_a_lease_loads_its_runtime_and_frees_its_slot(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a")) as here:
        client = here.hold(here.request("a"))
        await client.has(client.granted)
        assert here.log == ["a:look", "a:start", "a:ready"]
        assert client.lease is not None
        assert client.lease.running.base_url.endswith("/a")
        client.release.set()
        await client.has(client.done)
        await here.until(lambda: not here.coordinator.keeper.ledger.running)
        assert client.error is None
        assert here.state("a") == "ready"


async def test_slots_are_shared_up_to_the_limit_and_no_further(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a", slots=2)) as here:
        first, second, third = (here.hold(here.request("a")) for _ in range(3))
        await first.has(first.granted)
        await second.has(second.granted)
        assert not third.granted.is_set()
        first.release.set()
        await third.has(third.granted)


@pytest.mark.requirement("running-is-never-cut")
async def test_a_swap_waits_for_running_work_and_never_holds_two(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a"), spec("b")) as here:
        running = here.hold(here.request("a"))
        await running.has(running.granted)
        waiting = here.hold(here.request("b"))
        await here.until(lambda: here.state("a") == "draining")
        assert not here.lifecycles["b"].starts
        assert running.error is None
        running.release.set()
        await waiting.has(waiting.granted)
        assert here.log[-4:] == ["a:stop", "a:stopped", "b:start", "b:ready"]


@pytest.mark.requirement("residents-fit")
async def test_two_that_fit_are_resident_together(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a", 40), spec("b", 40)) as here:
        one, two = here.hold(here.request("a")), here.hold(here.request("b"))
        await one.has(one.granted)
        await two.has(two.granted)
        assert not [line for line in here.log if line.endswith("stop")]


@pytest.mark.requirement("fifo-in-rank")
async def test_equal_work_for_one_runtime_runs_in_order_of_admission(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a")) as here:
        clients = []
        for number in range(6):
            clients.append(here.hold(here.request("a")))
            await here.until(
                lambda: len(here.coordinator.keeper.ledger.live()) == number + 1  # noqa: B023
            )
        for number, client in enumerate(clients):
            await client.has(client.granted)
            assert not any(later.granted.is_set() for later in clients[number + 1 :])
            client.release.set()


@pytest.mark.requirement("higher-priority-first")
async def test_higher_priority_goes_first_and_waiting_earns_priority(tmp_path: Path) -> None:
    knobs = settings.Knobs(max_wait_s=60.0, min_residency_s=0.0, aging_s=0.001)
    async with bench(tmp_path, spec("a"), knobs=knobs) as here:
        running = here.hold(here.request("a"))
        await running.has(running.granted)
        aged = here.hold(here.request("a", priority=20))
        await here.until(lambda: len(here.coordinator.keeper.ledger.line) == 1)
        await anyio.sleep(0.1)  # earns a hundred points
        urgent = here.hold(here.request("a", priority=80))
        normal = here.hold(here.request("a", priority=50))
        await here.until(lambda: len(here.coordinator.keeper.ledger.line) == 3)
        for client, later in ((aged, urgent), (urgent, normal)):
            running.release.set()
            await client.has(client.granted)
            assert not later.granted.is_set()
            running = client


async def test_a_cancelled_swap_target_keeps_the_resident_runtime(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a"), spec("b")) as here:
        running = here.hold(here.request("a"))
        await running.has(running.granted)
        waiting = here.hold(here.request("b"))
        await here.until(lambda: here.state("a") == "draining")
        waiting.scope.cancel()
        await here.until(lambda: here.state("a") == "ready")
        assert not here.lifecycles["b"].starts


@pytest.mark.requirement("cancel-frees-at-once")
async def test_cancelling_a_load_stops_it_before_the_next_one_starts(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a"), spec("b")) as here:
        here.lifecycles["a"].hold_load()
        first = here.hold(here.request("a"))
        await here.until(lambda: here.state("a") == "starting")
        second = here.hold(here.request("b"))
        first.scope.cancel()
        await second.has(second.granted)
        assert here.log.index("a:load cancelled") < here.log.index("b:start")
        assert not here.lifecycles["a"].up


@pytest.mark.requirement("cancel-frees-at-once")
async def test_cancelling_running_work_ends_its_holder_and_tells_why(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a")) as here:
        client = here.hold(here.request("a"))
        await client.has(client.granted)
        assert client.lease is not None
        outcome = await here.coordinator.cancel(client.lease.id, "me", "a test")
        await client.has(client.done)
        assert outcome == "stopped"
        assert isinstance(client.error, errors.WorkCancelled)
        item = await here.coordinator.store.item(client.lease.id)
        assert item is not None
        assert item.state == "cancelled"


async def test_the_three_outcomes_of_a_cancel_are_told_apart(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a")) as here:
        running, queued = here.hold(here.request("a")), here.hold(here.request("a"))
        await running.has(running.granted)
        await here.until(lambda: len(here.coordinator.keeper.ledger.line) == 1)
        assert running.lease is not None
        assert queued.lease is not None
        assert await here.coordinator.cancel(queued.lease.id, "me", "a test") == "dequeued"
        assert await here.coordinator.cancel(running.lease.id, "me", "a test") == "stopped"
        await running.has(running.done)
        await here.until(lambda: not here.coordinator.keeper.ledger.running)
        assert await here.coordinator.cancel(running.lease.id, "me", "a test") == "already_ended"
        with pytest.raises(errors.NoSuchWork):
            await here.coordinator.cancel(running.lease.id, "somebody else", "a test")


@pytest.mark.requirement("client-gone-frees-at-once")
async def test_a_grant_that_nobody_received_is_not_counted(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a")) as here:
        with anyio.CancelScope() as scope:
            async with here.coordinator.lease(here.request("a")) as held:
                await here.until(lambda: bool(here.coordinator.keeper.ledger.running))
                scope.cancel()
                await held.granted()
        await here.until(lambda: not here.coordinator.keeper.ledger.running)
        assert here.coordinator.lessons.typical_run_s("a") is None
        item = await here.coordinator.store.item(held.id)
        assert item is not None
        assert (item.state, item.code) == ("cancelled", "cancelled")


@pytest.mark.requirement("load-failure-is-told")
@pytest.mark.requirement("one-breaker")
async def test_a_failed_load_is_told_to_all_waiters_and_then_backs_off(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a"), spec("b")) as here:
        here.lifecycles["a"].hold_load()
        here.lifecycles["a"].fails_with = base.Exit(1, base.FailureClass.OUT_OF_MEMORY, ("oom",))
        waiters = [here.hold(here.request("a")) for _ in range(5)]
        await here.until(lambda: len(here.coordinator.keeper.ledger.line) == 5)
        here.lifecycles["a"].may_load.set()
        for waiter in waiters:
            await waiter.has(waiter.done)
            assert isinstance(waiter.error, errors.RuntimeFailed)
            assert waiter.error.failure_class == "oom"
            assert waiter.error.exit_code == 1
            assert waiter.error.log_tail == ("oom",)
        late = here.hold(here.request("a"))
        await late.has(late.done)
        assert isinstance(late.error, errors.RuntimeFailed)
        assert late.error.retry_after_s > 0
        assert here.lifecycles["a"].starts == 1
        other = here.hold(here.request("b"))
        await other.has(other.granted)


async def test_a_runtime_that_dies_fails_its_holder_and_starts_again(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a")) as here:
        first = here.hold(here.request("a"))
        await first.has(first.granted)
        second = here.hold(here.request("a"))
        here.lifecycles["a"].death.set()
        await first.has(first.done)
        assert isinstance(first.error, errors.RuntimeFailed)
        await second.has(second.granted)
        assert here.lifecycles["a"].starts == 2


async def test_waiting_ends_when_its_budget_does_and_says_behind_whom(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a")) as here:
        running = here.hold(here.request("a"))
        await running.has(running.granted)
        waiting = here.hold(here.request("a", max_queue_wait_s=0.05))
        await waiting.has(waiting.done)
        assert isinstance(waiting.error, errors.QueueTimeout)
        assert "behind a" in str(waiting.error)


async def test_running_ends_when_its_budget_does(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a")) as here:
        client = here.hold(here.request("a", run_timeout_s=0.05))
        await client.has(client.done)
        assert isinstance(client.error, errors.RunTimeout)
        assert client.lease is not None
        await here.until(lambda: not here.coordinator.keeper.ledger.running)
        item = await here.coordinator.store.item(client.lease.id)
        assert item is not None
        assert (item.state, item.code) == ("failed", "run_timeout")


async def test_a_full_queue_refuses_in_all_and_for_each_client(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a"), max_queue=3, max_queue_per_client=2) as here:
        running = here.hold(here.request("a"))
        await running.has(running.granted)
        for _ in range(2):
            here.hold(here.request("a"))
        await here.until(lambda: len(here.coordinator.keeper.ledger.line) == 2)
        with pytest.raises(errors.QueueFull) as mine:
            await here.coordinator.admit(here.request("a"))
        here.hold(here.request("a", owner="another"))
        await here.until(lambda: len(here.coordinator.keeper.ledger.line) == 3)
        with pytest.raises(errors.QueueFull) as all_:
            await here.coordinator.admit(here.request("a", owner="a third"))
        assert (mine.value.client, all_.value.client) == (True, False)


async def test_an_identical_retry_takes_the_place_its_first_copy_left(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a")) as here:
        running = here.hold(here.request("a"))
        await running.has(running.granted)
        first = here.hold(here.request("a", join_key="same"))
        await here.until(lambda: len(here.coordinator.keeper.ledger.line) == 1)
        behind = here.hold(here.request("a"))
        await here.until(lambda: len(here.coordinator.keeper.ledger.line) == 2)
        first.scope.cancel()
        await here.until(lambda: len(here.coordinator.keeper.ledger.line) == 1)
        retry = here.hold(here.request("a", join_key="same"))
        await here.until(lambda: len(here.coordinator.keeper.ledger.line) == 2)
        running.release.set()
        await retry.has(retry.granted)
        assert not behind.granted.is_set()


async def test_a_pause_holds_the_queue_and_survives_a_restart(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a")) as here:
        await here.coordinator.pause(True)
    async with bench(tmp_path, spec("a")) as here:
        client = here.hold(here.request("a"))
        await here.until(lambda: len(here.coordinator.keeper.ledger.line) == 1)
        assert not here.lifecycles["a"].starts
        await here.coordinator.pause(False)
        await client.has(client.granted)


async def test_an_unload_by_hand_drains_and_then_stops(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a")) as here:
        client = here.hold(here.request("a"))
        await client.has(client.granted)
        unloaded = await here.coordinator.unload("a")
        assert unloaded.waits_for_leases == 1
        assert here.state("a") == "draining"
        client.release.set()
        await here.until(lambda: here.state("a") == "stopped")
        assert client.error is None


async def test_a_forced_unload_cancels_what_runs(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a")) as here:
        client = here.hold(here.request("a"))
        await client.has(client.granted)
        await here.coordinator.unload("a", now=True)
        await client.has(client.done)
        assert isinstance(client.error, errors.WorkCancelled)
        await here.until(lambda: here.state("a") == "stopped")


async def test_a_load_by_hand_keeps_the_runtime_past_its_idle_time(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a", idle_unload_s=0.05)) as here:
        with anyio.fail_after(WITHIN_S):
            await here.coordinator.load("a", keep_s=3600)
        assert here.state("a") == "ready"
        client = here.hold(here.request("a"))
        await client.has(client.granted)
        client.release.set()
        await client.has(client.done)
        assert here.state("a") == "ready"


async def test_an_idle_runtime_is_unloaded(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a", idle_unload_s=0.05)) as here:
        client = here.hold(here.request("a"))
        await client.has(client.granted)
        client.release.set()
        await here.until(lambda: here.state("a") == "stopped")


async def test_a_stop_phrase_ends_one_owners_work_and_nobody_elses(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a", slots=2)) as here:
        mine, theirs = here.hold(here.request("a")), here.hold(here.request("a", owner="them"))
        await mine.has(mine.granted)
        await theirs.has(theirs.granted)
        ended = await here.coordinator.cancel_all_of("me", "a stop phrase")
        await mine.has(mine.done)
        assert mine.lease is not None
        assert ended == (mine.lease.id,)
        assert not theirs.done.is_set()


@pytest.mark.requirement("drain-on-stop")
async def test_a_shutdown_lets_running_work_end_and_refuses_the_rest(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a")) as here:
        running = here.hold(here.request("a"))
        await running.has(running.granted)
        waiting = here.hold(here.request("a"))
        await here.until(lambda: len(here.coordinator.keeper.ledger.line) == 1)
        async with anyio.create_task_group() as group:
            group.start_soon(here.coordinator.shutdown, WITHIN_S)
            await waiting.has(waiting.done)
            assert isinstance(waiting.error, errors.ShuttingDown)
            with pytest.raises(errors.ShuttingDown):
                await here.coordinator.admit(here.request("a"))
            running.release.set()
        assert running.error is None
        assert here.log[-2:] == ["a:stop", "a:stopped"]


async def test_strict_first_come_first_served_never_overtakes(tmp_path: Path) -> None:
    knobs = settings.Knobs(max_wait_s=0.0, min_residency_s=0.0)
    async with bench(tmp_path, spec("a", slots=2), spec("b"), knobs=knobs) as here:
        first = here.hold(here.request("a"))
        await first.has(first.granted)
        other = here.hold(here.request("b"))
        await here.until(lambda: len(here.coordinator.keeper.ledger.line) == 1)
        late = here.hold(here.request("a"))
        await here.until(lambda: len(here.coordinator.keeper.ledger.line) == 2)
        assert not late.granted.is_set()
        first.release.set()
        await other.has(other.granted)
        assert not late.granted.is_set()


async def test_memory_that_did_not_come_back_blocks_what_would_not_fit(tmp_path: Path) -> None:
    async with bench(
        tmp_path, spec("a", 60 << 30), spec("b", 60 << 30), pool_bytes=80 << 30
    ) as here:
        first = here.hold(here.request("a"))
        await first.has(first.granted)
        here.memory.missing_bytes, here.memory.free_bytes = 49 << 30, 31 << 30
        first.release.set()
        blocked = here.hold(here.request("b"))
        await blocked.has(blocked.done)
        assert isinstance(blocked.error, errors.RuntimeFailed)
        assert blocked.error.failure_class == "oom"
        assert "49.0 GiB of an earlier engine's memory is not back" in blocked.error.log_tail[0]
        assert "31.0 GiB is free, 60.0 GiB is needed" in blocked.error.log_tail[0]
        assert not here.lifecycles["b"].starts


async def test_memory_that_did_not_come_back_lets_through_what_fits_all_the_same(
    tmp_path: Path,
) -> None:
    async with bench(
        tmp_path, spec("a", 60 << 30), spec("b", 60 << 30), pool_bytes=80 << 30
    ) as here:
        first = here.hold(here.request("a"))
        await first.has(first.granted)
        here.memory.missing_bytes, here.memory.free_bytes = 9 << 30, 71 << 30
        first.release.set()
        other = here.hold(here.request("b"))
        await other.has(other.granted)


@pytest.mark.requirement("no-orphans")
async def test_news_of_a_death_is_never_taken_for_the_next_engines(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a")) as here:
        here.lifecycles["a"].hold_cleanup()
        first = here.hold(here.request("a"))
        await first.has(first.granted)
        here.lifecycles["a"].death.set()
        await here.until_asleep()
        assert first.lease is not None
        first.lease.fail("upstream_error", "refused", engine_lost=True)
        first.release_without_finishing()
        await here.until(lambda: here.state("a") == "stopping")
        second = here.hold(here.request("a"))
        here.lifecycles["a"].may_clean_up.set()
        await second.has(second.granted)
        await here.until_asleep()
        assert here.state("a") == "ready"
        assert here.lifecycles["a"].up
        assert here.log.index("a:cleaned up") < here.log.index("a:stop")
