"""What every lifecycle owes the coordinator, whatever kind of engine it drives."""

from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest

from runtimes import base
from tests.runtimes import conformance
from tests.runtimes.conformance import Case


@pytest.fixture(params=conformance.CASES)
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Case]:
    (tmp_path / "logs").mkdir()
    async with conformance.CASES[request.param](tmp_path) as made:
        yield made


@pytest.fixture(autouse=True)
async def bounded() -> AsyncGenerator[None]:
    with anyio.fail_after(55):
        yield


def quiet(_: base.LoadProgress) -> None:
    """Nobody watches the load."""


async def test_nothing_is_found_where_nothing_was_started(case: Case) -> None:
    assert await case.make().lifecycle.look(None) is None


async def test_a_started_engine_answers_and_starts_again_after_a_stop(case: Case) -> None:
    made = case.make()
    for _ in range(2):
        running = await made.lifecycle.start(quiet)
        assert await conformance.ask(made, running)
        await made.lifecycle.stop()


async def test_stopping_twice_is_no_error(case: Case) -> None:
    made = case.make()
    await made.lifecycle.start(quiet)
    await made.lifecycle.stop()
    await made.lifecycle.stop()
    assert made.lifecycle.record() is None


async def test_a_failed_start_says_why_and_leaves_nothing(case: Case) -> None:
    made = case.make(**(case.broken or {}))
    with pytest.raises(base.EngineFailed) as caught:
        await made.lifecycle.start(quiet)
    assert caught.value.runtime == "one"
    assert caught.value.exit.log_tail
    assert made.lifecycle.record() is None
    assert await case.make().lifecycle.look(None) is None


async def test_a_cancelled_start_leaves_nothing(case: Case) -> None:
    made = case.make()
    with anyio.move_on_after(0.15):
        await made.lifecycle.start(quiet)
        anyio.get_cancelled_exc_class()
    await made.lifecycle.stop()
    assert made.lifecycle.record() is None
    assert await case.make().lifecycle.look(None) is None


async def test_a_watch_that_is_cancelled_leaves_the_engine_alone(case: Case) -> None:
    made = case.make()
    running = await made.lifecycle.start(quiet)
    with anyio.move_on_after(0.5) as scope:
        await made.lifecycle.died()
    assert scope.cancelled_caught
    assert await conformance.ask(made, running)
    await made.lifecycle.stop()


async def test_an_engine_that_ends_by_itself_is_noticed(case: Case) -> None:
    if case.section["engine"] == "openai":
        return  # a remote server has no life of ours: its next request says that it is gone
    made = case.make()
    running = await made.lifecycle.start(quiet)
    case.kill(running)
    ended = await made.lifecycle.died()
    assert len(ended.log_tail) <= 20
    assert made.lifecycle.record() is None


async def test_a_new_gateway_adopts_what_is_healthy_without_a_reload(case: Case) -> None:
    before = case.make()
    running = await before.lifecycle.start(quiet)
    loads = case.loads()
    after = case.make()
    adopted = await after.lifecycle.look(running.process)
    if not case.adopts:
        assert adopted is None
        return
    assert adopted is not None
    assert adopted.base_url == running.base_url
    assert await conformance.ask(after, adopted)
    assert case.loads() == loads
    await after.lifecycle.stop()
    with anyio.move_on_after(5):
        await before.lifecycle.died()
    await before.lifecycle.stop()


async def test_memory_is_known_or_said_to_be_unknown(case: Case) -> None:
    made = case.make()
    await made.lifecycle.start(quiet)
    used = made.lifecycle.memory_used()
    assert used is None or 0 <= used < 1 << 40
    await made.lifecycle.stop()
