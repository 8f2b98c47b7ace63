"""After a crash of the gateway: adopt what is healthy, end what is not, and never touch a stranger."""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from runtimes import base
from tests.runtimes import engines
from tests.runtimes.engines import Workshop
from tests.support.fake_engine import spawn


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the patience of a test."""
    monkeypatch.setattr("runtimes.lifecycles.process.LOOK_TIMEOUT_S", 1.0)
    monkeypatch.setattr("runtimes.lifecycles.process.ABORT_GRACE_S", 0.5)
    monkeypatch.setattr("runtimes.process.PORT_CLOSE_S", 0.5)


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.mark.requirement("no-orphans")
async def test_a_healthy_engine_is_adopted_and_watched_and_stopped(shop: Workshop) -> None:
    async with shop.started() as up:
        after = shop.fake().lifecycle
        with anyio.fail_after(30):
            assert await after.look(up.record) == up.running
            assert after.record() == up.record
            assert after.memory_used()
            os.kill(up.record.pid, signal.SIGKILL)
            assert (await after.died()).exit_code is None
    assert len(shop.events("loading")) == 1


async def test_an_adopted_engine_is_stopped_with_its_workers(shop: Workshop) -> None:
    async with shop.started(fork_detached=True, fork_ignores_term=True) as up:
        worker = (await shop.until("worker"))[0].pid
        after = shop.fake(section={"stop_timeout": 0.5}).lifecycle
        with anyio.fail_after(30):
            assert await after.look(up.record)
            await after.stop()
        assert engines.gone(worker)


async def test_an_engine_that_still_loads_is_ended(shop: Workshop) -> None:
    made = shop.fake(load_s=60)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:

            async def first_gateway() -> None:
                with pytest.raises(base.EngineFailed):
                    await made.lifecycle.start(shop.report)

            group.start_soon(first_gateway)
            pid = (await shop.until("loading"))[0].pid
            known = made.lifecycle.record()
            assert await shop.fake().lifecycle.look(known) is None
            assert engines.gone(pid)


async def test_an_engine_that_is_deaf_is_ended(shop: Workshop) -> None:
    async with shop.started() as up:
        os.kill(up.record.pid, signal.SIGUSR1)
        await shop.until("deaf")
        with anyio.fail_after(30):
            assert await shop.fake().lifecycle.look(up.record) is None
        assert engines.gone(up.record.pid)


async def test_an_engine_with_another_model_is_ended(shop: Workshop) -> None:
    async with shop.started("one") as up:
        with anyio.fail_after(30):
            assert await shop.fake("two").lifecycle.look(up.record) is None
        assert engines.gone(up.record.pid)


@pytest.mark.requirement("no-orphans")
async def test_workers_that_outlived_their_engine_and_the_gateway_are_ended(shop: Workshop) -> None:
    async with shop.started(fork_detached=True, fork_ignores_term=True) as up:
        worker = (await shop.until("worker"))[0].pid
        os.kill(up.record.pid, signal.SIGKILL)
        with anyio.fail_after(30):
            assert await shop.fake().lifecycle.look(up.record) is None
        assert engines.gone(worker)


async def test_a_pid_that_is_somebody_elses_by_now_is_left_alone(shop: Workshop) -> None:
    stranger = await anyio.open_process(
        [sys.executable, "-c", "input()"], stdin=-1, start_new_session=True
    )
    try:
        forged = base.ProcessRecord(stranger.pid, 12345, 1, "a nonce that nobody carries")
        with anyio.fail_after(30):
            assert await shop.fake().lifecycle.look(forged) is None
        assert stranger.returncode is None
        assert not engines.gone(stranger.pid)
    finally:
        stranger.kill()
        await stranger.aclose()


async def test_a_healthy_server_that_took_over_the_pid_is_neither_adopted_nor_ended(
    shop: Workshop,
) -> None:
    async with shop.started() as up:
        other = replace(up.record, start_ticks=up.record.start_ticks - 1, nonce="another start's")
        with anyio.fail_after(30):
            assert await shop.fake().lifecycle.look(other) is None
        assert (await up.chat("still there?")).status_code == 200


async def test_somebody_elses_server_on_the_recorded_port_is_not_adopted(shop: Workshop) -> None:
    async with (
        shop.started() as up,
        spawn.running(model="one", late_bind=True) as other,
    ):
        forged = replace(up.record, port=other.port)
        with anyio.fail_after(30):
            assert await shop.fake().lifecycle.look(forged) is None
        assert other.process.returncode is None


async def test_nothing_recorded_is_nothing_found(shop: Workshop) -> None:
    assert await shop.fake().lifecycle.look(None) is None
