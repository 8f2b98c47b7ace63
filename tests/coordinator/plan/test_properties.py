"""What holds for any traffic: see `world` for each promise and `machine` for what can happen."""

import pytest

from tests.coordinator.plan import machine


@pytest.mark.timeout(1800)
@pytest.mark.requirement("nobody-starves")
@pytest.mark.requirement("residents-fit")
def test_the_promises_hold_under_random_traffic() -> None:
    machine.explore(machine.Traffic, machine.EXAMPLES)
