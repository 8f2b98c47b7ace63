"""When memory is back: the profiles in which it comes back, and those in which it does not."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimes import memory, settle
from runtimes.settle import Goal, Settled, Verdict
from tests.runtimes import engines
from tests.support.fake_engine import memory_ledger

GIB = 1 << 30
HELD, LEFT = 70 * GIB, 10 * GIB
Profile = Callable[[float], float]


@dataclass
class Machine:
    """A clock that only moves when somebody sleeps, and memory that follows a profile of it."""

    profile: Profile
    now: float = 0.0
    readings: list[float] = field(default_factory=list)

    async def free(self) -> int | None:
        self.readings.append(self.profile(self.now))
        return int(self.readings[-1])

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    async def settle(self, goal: Goal, gone: Callable[[], bool] = lambda: True) -> Settled:
        return await memory.settled(self.free, goal, gone, clock=lambda: self.now, sleep=self.sleep)


def rising(gib_per_s: float, late_s: float = 0.0, held: float = HELD) -> Profile:
    return lambda t: LEFT + min(held, max(0.0, t - late_s) * gib_per_s * GIB)


KNOWN = Goal(HELD, LEFT + HELD, cap_s=60)


@pytest.mark.parametrize(
    "profile",
    [
        pytest.param(rising(40), id="40 GiB a second"),
        pytest.param(rising(5), id="5 GiB a second"),
        pytest.param(rising(1.5), id="1.5 GiB a second, slow driver teardown"),
        pytest.param(rising(40, late_s=1.2), id="1.2 seconds late, then fast"),
    ],
)
@pytest.mark.parametrize(
    "goal", [KNOWN, Goal(HELD, None, 60)], ids=["with a baseline", "without one"]
)
async def test_every_reclaim_profile_is_waited_out(profile: Profile, goal: Goal) -> None:
    machine = Machine(profile)
    found = await machine.settle(goal)
    assert found.verdict is Verdict.BACK
    assert found.missing_bytes == 0
    assert machine.readings[-1] >= LEFT + HELD - settle.tolerance(goal)


@pytest.mark.parametrize("rate", [40, 5, 1.5])
async def test_an_unknown_size_is_waited_out_while_it_rises(rate: float) -> None:
    machine = Machine(rising(rate, late_s=1.2))
    found = await machine.settle(Goal(None, None, 60))
    assert found.verdict is Verdict.FLAT
    assert machine.readings[-1] == LEFT + HELD


async def test_memory_that_was_back_before_the_first_look_costs_half_a_second() -> None:
    machine = Machine(lambda _: LEFT + HELD)
    found = await machine.settle(KNOWN)
    assert (found.verdict, found.missing_bytes) == (Verdict.BACK, 0)
    assert machine.now < 0.7


async def test_weights_that_were_only_mapped_are_not_waited_for() -> None:
    """Mapped files never lowered what is available, so nothing of them can come back."""
    machine = Machine(lambda _: 20 * GIB - 100 * (1 << 20))
    found = await machine.settle(Goal(12 * GIB, 20 * GIB, 60))
    assert found.missing_bytes == 0
    assert machine.now < 0.7


async def test_what_never_comes_back_is_said_in_numbers() -> None:
    machine = Machine(rising(40, held=11 * GIB))
    found = await machine.settle(Goal(80 * GIB, 90 * GIB, cap_s=20))
    assert found.verdict is Verdict.FLAT
    assert str(found) == "11.0 of 80.0 GiB back"
    assert machine.now < 6


async def test_the_cap_ends_a_wait_that_rises_for_ever() -> None:
    machine = Machine(rising(1))
    found = await machine.settle(Goal(HELD, LEFT + HELD, cap_s=8))
    assert found.verdict is Verdict.CAPPED
    assert found.missing_bytes == pytest.approx(62 * GIB, rel=0.05)


async def test_an_engine_that_is_still_there_is_not_settled_by_a_flat_reading() -> None:
    machine = Machine(lambda _: LEFT)
    found = await machine.settle(Goal(HELD, LEFT + HELD, cap_s=8), gone=lambda: False)
    assert found.verdict is Verdict.CAPPED
    assert found.missing_bytes == HELD


async def test_another_program_that_takes_memory_meanwhile_does_not_hold_the_swap_up() -> None:
    machine = Machine(lambda t: LEFT + min(HELD, t * 20 * GIB) - min(5 * GIB, t * GIB))
    found = await machine.settle(KNOWN)
    assert found.verdict in (Verdict.BACK, Verdict.FLAT)
    assert machine.now < 10


async def test_small_noise_is_not_a_rise() -> None:
    machine = Machine(lambda t: LEFT + HELD - 3 * GIB + (t * 7.3 % 1) * 40 * (1 << 20))
    found = await machine.settle(KNOWN)
    assert found.verdict is Verdict.FLAT
    assert machine.now < 1.5


async def test_an_unreadable_device_waits_for_the_processes_only() -> None:
    async def unknown() -> int | None:
        return None

    machine = Machine(rising(1))
    left = iter([False, False, True])
    found = await memory.settled(
        unknown, KNOWN, lambda: next(left), clock=lambda: machine.now, sleep=machine.sleep
    )
    assert found.missing_bytes == 0
    assert machine.now == pytest.approx(2 * settle.SAMPLE_S)


@settings(deadline=None)
@given(
    rate=st.floats(0.5, 100),
    late_s=st.floats(0, 1.5),
    held_gib=st.floats(1, 200),
    baseline=st.booleans(),
)
async def test_no_profile_ends_a_wait_with_more_than_tolerance_missing(
    rate: float, late_s: float, held_gib: float, baseline: bool
) -> None:
    held = held_gib * GIB
    goal = Goal(int(held), int(LEFT + held) if baseline else None, cap_s=1000)
    machine = Machine(rising(rate, late_s, held))
    found = await machine.settle(goal)
    assert machine.readings[-1] >= LEFT + held - settle.tolerance(goal) - 1
    assert found.missing_bytes == 0


async def test_the_memory_of_a_killed_engine_is_waited_out(tmp_path: Path) -> None:
    """The whole way once: a real process that holds (pretended) memory, killed, and slow to give it back."""
    shop, ledger = engines.Workshop(tmp_path), tmp_path / "ledger"
    pool = memory_ledger.Pool(ledger, 80 * GIB, delay_s=0.5, bytes_per_s=40 * GIB)

    async def free() -> int | None:
        return await anyio.to_thread.run_sync(pool.free_bytes)

    with anyio.fail_after(50):
        async with shop.started(memory_mib=40 << 10, memory_ledger=ledger) as up:
            held = pool.free_bytes()
            os.kill(up.record.pid, signal.SIGKILL)
            await up.lifecycle.died()
            found = await memory.settled(free, Goal(40 * GIB, 80 * GIB, cap_s=30))
    assert held == 40 * GIB
    assert (found.verdict, found.missing_bytes) == (Verdict.BACK, 0)
