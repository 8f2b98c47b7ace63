"""When a downstream server runs, when it does not, and what is left of it afterwards."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from broker import errors
from broker.service import Broker
from tests.broker.conftest import Opened

Raw = Callable[..., dict[str, Any]]


def starts(broker: Broker, name: str) -> int:
    return int(next(one["starts"] for one in broker.status()["servers"] if one["name"] == name))


async def said_so(broker: Broker, label: str, group: anyio.abc.TaskGroup) -> list[Exception]:
    """Start a call that never answers; returns once the server said that it has begun."""
    begun = anyio.Event()
    failures: list[Exception] = []

    async def progress(
        progress: float, total: float | None = None, message: str | None = None
    ) -> None:
        begun.set()

    async def call() -> None:
        try:
            await broker.call(
                "counter:add_slowly", {"label": label}, confirmed=True, progress=progress
            )
        except errors.BrokerError as error:
            failures.append(error)

    group.start_soon(call)
    with anyio.fail_after(30):
        await begun.wait()
    return failures


async def test_searching_and_describing_start_nothing(
    opened: Opened, counter: dict[str, Any]
) -> None:
    async with opened({"counter": counter}) as broker:
        await broker.refresh("counter")

    async with opened({"counter": counter}) as broker:
        found = await broker.search("add to the counter")
        sheets = await broker.describe(["counter.add_one"])

        assert found.hits[0].tool_id == "counter:add_one"
        assert sheets[0].tool is not None
        assert starts(broker, "counter") == 0


async def test_eight_cold_calls_at_once_start_one_process(
    opened: Opened, counter: dict[str, Any], ledger: Path
) -> None:
    async with opened({"counter": counter}) as broker:
        await broker.refresh("counter")
    async with opened({"counter": counter}) as broker, anyio.create_task_group() as group:
        for number in range(8):
            arguments = {"label": f"n{number}"}
            group.start_soon(
                lambda given: broker.call("counter:add_one", given, confirmed=True), arguments
            )
    assert starts(broker, "counter") == 1
    assert sorted(ledger.read_text().split()[1::3]) == [f"n{number}" for number in range(8)]


async def test_a_server_killed_in_mid_call_is_not_called_again(
    opened: Opened, counter: dict[str, Any], ledger: Path
) -> None:
    async with opened({"counter": counter}) as broker:
        await broker.refresh("counter")
        pid = broker.downstream("counter").pid
        assert pid is not None
        async with anyio.create_task_group() as group:
            failures = await said_so(broker, "once", group)
            os.kill(pid, signal.SIGKILL)

        assert [type(one) for one in failures] == [errors.CallLost]
        assert "may or may not have happened" in str(failures[0])
        assert ledger.read_text() == "added once\n"

        again = await broker.call("counter:get_count", {})
        assert again.structured == {"result": 1}
        assert starts(broker, "counter") == 2


async def test_a_cancelled_call_tells_the_server(
    opened: Opened, counter: dict[str, Any], ledger: Path
) -> None:
    async with opened({"counter": counter}) as broker:
        await broker.refresh("counter")
        async with anyio.create_task_group() as group:
            await said_so(broker, "given-up", group)
            group.cancel_scope.cancel()
        with anyio.fail_after(30):
            count = await broker.call("counter:get_count", {})
    assert count.structured == {"result": 1}
    assert ledger.read_text().split("\n")[:2] == ["added given-up", "cancelled given-up"]


async def test_an_idle_server_is_closed_and_opens_again_when_called(
    opened: Opened, counter: dict[str, Any]
) -> None:
    async with opened({"counter": {**counter, "idle_close": 0.2}}) as broker:
        await broker.refresh("counter")
        pid = broker.downstream("counter").pid
        with anyio.fail_after(30):
            await broker.downstream("counter").asleep()
        assert pid is not None
        assert not psutil.pid_exists(pid)
        assert broker.downstream("counter").state == "asleep"

        assert (await broker.call("counter:get_count", {})).structured == {"result": 0}


async def test_a_server_that_never_gets_ready_is_given_up_and_left_alone_for_a_while(
    opened: Opened, raw: Raw
) -> None:
    section = raw(hang=True, stderr="waiting for a database, password=hunter2hunter2")
    async with opened({"raw": {**section, "start_timeout": 0.5}}) as broker:
        with anyio.fail_after(30), pytest.raises(errors.ServerUnavailable) as first:
            await broker.refresh("raw")
        assert "not ready within" in str(first.value)
        assert first.value.log_tail == ("waiting for a database, password=[redacted]",)

        with pytest.raises(errors.ServerUnavailable) as second:
            await broker.downstream("raw").refresh()
        assert second.value.retry_after_s > 0
        assert starts(broker, "raw") == 1


async def test_a_server_that_exits_at_once_says_why(opened: Opened, raw: Raw) -> None:
    async with opened({"raw": raw(exit=3, stderr="no such licence")}) as broker:
        with anyio.fail_after(30), pytest.raises(errors.ServerUnavailable, match="no such licence"):
            await broker.refresh("raw")


async def test_a_program_that_is_not_there_is_named(opened: Opened) -> None:
    async with opened({"gone": {"command": "no-such-program-anywhere"}}) as broker:
        with pytest.raises(errors.ServerUnavailable, match="not on the PATH"):
            await broker.refresh("gone")


async def test_nothing_of_a_closed_server_is_left_behind(
    opened: Opened, counter: dict[str, Any]
) -> None:
    async with opened({"counter": counter}) as broker:
        await broker.refresh("counter")
        outcome = await broker.call("counter:spawn_grandchild", {}, confirmed=True)
        pids = [broker.downstream("counter").pid or 0, int(outcome.content[0].text)]
        assert all(psutil.pid_exists(pid) for pid in pids)

    with anyio.fail_after(30):
        processes = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
        _, alive = await anyio.to_thread.run_sync(psutil.wait_procs, processes, 20)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []


async def test_a_child_gets_only_what_it_was_given(
    opened: Opened, counter: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "of another program")
    monkeypatch.setenv("NODE_EXTRA", "wanted")
    section = {**counter, "env": {"GIVEN": "yes"}, "inherit_env": ["NODE_*"]}
    async with opened({"counter": section}) as broker:
        await broker.refresh("counter")
        outcome = await broker.call("counter:get_names_of_environment", {})
    assert isinstance(outcome.structured, dict)
    names = set(outcome.structured["result"])
    assert {"GIVEN", "NODE_EXTRA", "PATH"} <= names
    assert "SOME_API_KEY" not in names
    assert not [name for name in names if name.startswith("LMG_")]


async def test_what_a_server_writes_to_its_standard_error_is_kept_without_secrets(
    opened: Opened, counter: dict[str, Any]
) -> None:
    async with opened({"counter": counter}) as broker:
        await broker.refresh("counter")
        assert "token=[redacted] ready" in broker.downstream("counter").log_tail()


async def test_a_call_beyond_the_servers_places_waits_for_one(
    opened: Opened, counter: dict[str, Any]
) -> None:
    async with opened({"counter": {**counter, "concurrency": 1}}) as broker:
        await broker.refresh("counter")
        counts: list[object] = []

        async def count() -> None:
            counts.append((await broker.call("counter:get_count", {})).structured)

        async with anyio.create_task_group() as waiting, anyio.create_task_group() as holding:
            await said_so(broker, "holds the place", holding)
            waiting.start_soon(count)
            await anyio.wait_all_tasks_blocked()
            assert counts == []
            holding.cancel_scope.cancel()
        assert counts == [{"result": 1}]
