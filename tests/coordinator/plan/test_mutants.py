"""The properties are worth something: each way to break the decision is noticed."""

import pytest

from coordinator import plan
from tests.coordinator.plan import machine, mutants

# A few seconds each: all of them where the full count of examples runs, at the desk one a rule.
TRIED = mutants.MUTANTS if machine.EXAMPLES >= machine.FULL else mutants.BLATANT

UNBROKEN = mutants.Mutant("none", "# 1. Rank", "# 1. Rank")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", TRIED, ids=lambda mutant: mutant.name)
def test_the_properties_kill_the_mutant(mutant: mutants.Mutant) -> None:
    assert mutants.killed_by(mutant) is not None


@pytest.mark.timeout(600)
def test_a_copy_without_a_mistake_survives() -> None:
    assert mutants.killed_by(UNBROKEN, examples=200) is None


@pytest.mark.parametrize("mutant", mutants.MUTANTS, ids=lambda mutant: mutant.name)
def test_the_mutants_line_is_still_there(mutant: mutants.Mutant) -> None:
    assert mutants.broken(mutant).decide is not plan.decide
