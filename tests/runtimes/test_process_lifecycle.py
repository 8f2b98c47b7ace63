"""Engines that are processes of ours, against every way in which they misbehave."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from runtimes import base, process
from tests.runtimes import engines
from tests.runtimes.engines import Workshop


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


async def failure(shop: Workshop, **knobs: object) -> base.EngineFailed:
    made = shop.fake(**knobs)  # type: ignore[arg-type]  # knobs of the engine and of the workshop together
    with anyio.fail_after(50), pytest.raises(base.EngineFailed) as caught:
        await made.lifecycle.start(shop.report)
    assert made.lifecycle.record() is None
    return caught.value


async def test_a_started_engine_answers_and_a_stopped_one_leaves_nothing(shop: Workshop) -> None:
    async with shop.started() as up:
        assert (await up.chat("hello")).status_code == 200
        assert up.lifecycle.memory_used() or 0 > 1 << 20
    assert engines.gone(up.record.pid)
    assert [event.data["code"] for event in shop.events("exit")] == [0]
    with pytest.raises(httpx2.ConnectError):
        await up.chat("anybody?")


async def test_the_engine_sees_a_minimal_offline_environment(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMG_API_KEY", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    async with shop.started():
        names = shop.events("started")[0].data["env"]
    assert {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "DO_NOT_TRACK", "PATH"} <= set(names)
    assert not {"LMG_API_KEY", "AWS_SECRET_ACCESS_KEY"} & set(names)


async def test_the_engine_is_in_a_session_of_its_own(shop: Workshop) -> None:
    async with shop.started() as up:
        assert os.getsid(up.record.pid) == os.getpgid(up.record.pid) == up.record.pid


@pytest.mark.parametrize("moment", ["start", "load"])
async def test_a_crash_in_load_is_told_at_once_with_code_class_and_log(
    shop: Workshop, moment: str
) -> None:
    error = await failure(
        shop, crash=moment, exit_code=7, crash_text="CUDA error: out of memory", load_s=0.4
    )
    assert error.exit.exit_code == 7
    assert error.exit.failure_class is base.FailureClass.OUT_OF_MEMORY
    assert "out of memory" in error.exit.log_tail[-1]
    assert "exit code 7" in str(error)


@pytest.mark.parametrize(
    ("last_words", "expected"),
    [
        ("OSError: [Errno 98] Address already in use", base.FailureClass.PORT_IN_USE),
        ("server: error: unrecognized arguments: --nope", base.FailureClass.BAD_FLAG),
        (
            "FileNotFoundError: [Errno 2] No such file or directory: 'm'",
            base.FailureClass.MODEL_MISSING,
        ),
        ("ModuleNotFoundError: No module named 'vllm'", base.FailureClass.NOT_INSTALLED),
        ("something else entirely", base.FailureClass.UNKNOWN),
    ],
)
async def test_the_last_words_tell_why(
    shop: Workshop, last_words: str, expected: base.FailureClass
) -> None:
    error = await failure(shop, crash="load", crash_text=last_words)
    assert error.exit.failure_class is expected


async def test_a_program_that_is_not_installed_is_said_so(shop: Workshop) -> None:
    error = await failure(shop, section={"cmd": ["no-such-program-anywhere", "--port", "{port}"]})
    assert error.exit.failure_class is base.FailureClass.NOT_INSTALLED


async def test_a_program_in_the_working_directory_is_never_found(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = shop.folder / "llama-server"
    trap.write_text("#!/bin/sh\nexit 0\n")
    trap.chmod(0o755)
    monkeypatch.chdir(shop.folder)
    monkeypatch.setenv("PATH", f".:{os.environ['PATH']}")
    error = await failure(shop, section={"cmd": ["llama-server"]})
    assert error.exit.failure_class is base.FailureClass.NOT_INSTALLED


async def test_a_program_where_anybody_may_put_one_is_never_found(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = shop.folder / "anybodys"
    place.mkdir()
    (place / "llama-server").write_text("#!/bin/sh\nexit 0\n")
    (place / "llama-server").chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    for mode in (0o777, 0o1777):
        place.chmod(mode)
        error = await failure(shop, section={"cmd": ["llama-server"]})
        assert error.exit.failure_class is base.FailureClass.NOT_INSTALLED
    place.chmod(0o755)
    error = await failure(shop, section={"cmd": ["llama-server"]})
    assert error.exit.exit_code == 0


async def test_a_load_without_progress_is_given_up(shop: Workshop) -> None:
    error = await failure(shop, load_hang=True, section={"load_timeout": 0.5})
    assert error.exit.failure_class is base.FailureClass.LOAD_STALLED
    assert "load_timeout" in str(error)
    assert engines.gone(shop.events("started")[0].pid)


async def test_an_engine_that_logs_our_health_checks_makes_no_progress_by_it(
    shop: Workshop,
) -> None:
    error = await failure(shop, load_hang=True, access_log=True, section={"load_timeout": 0.7})
    assert error.exit.failure_class is base.FailureClass.LOAD_STALLED
    assert any("GET /health" in line for line in error.exit.log_tail)


async def test_a_slow_load_with_progress_is_not_given_up(shop: Workshop) -> None:
    async with shop.started(
        load_s=3, load_steps=30, load_style="llama", section={"load_timeout": 1.0}
    ):
        fractions = [report.fraction for report in shop.reports if report.fraction is not None]
    assert len(fractions) > 3
    assert fractions == sorted(fractions)


async def test_without_a_word_of_the_engine_the_memory_it_took_is_the_progress(
    shop: Workshop,
) -> None:
    async with shop.started(load_s=0.5, memory_mib=64, load_steps=2, section={"memory": "160MiB"}):
        fractions = [report.fraction for report in shop.reports if report.fraction is not None]
    assert fractions
    assert fractions == sorted(fractions)
    assert fractions[-1] < 1


async def test_shard_lines_are_progress_too(shop: Workshop) -> None:
    async with shop.started(load_s=1, load_style="shards"):
        assert any(report.fraction for report in shop.reports)


async def test_health_that_lies_while_loading_is_not_believed(shop: Workshop) -> None:
    async with shop.started(load_s=0.7, early_health=True) as up:
        assert shop.events("ready")
        assert (await up.chat("hi")).status_code == 200


async def test_an_empty_health_body_is_not_ready(shop: Workshop) -> None:
    error = await failure(shop, empty_health=True, section={"load_timeout": 0.5})
    assert error.exit.failure_class is base.FailureClass.LOAD_STALLED


async def test_another_model_behind_the_port_is_not_ours(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtimes.lifecycles.process.WRONG_MODEL_S", 0.3)
    error = await failure(shop, list_as="somebody-else")
    assert "somebody-else" in str(error)


async def test_a_fixed_port_that_is_taken_is_said_so_before_anything_starts(shop: Workshop) -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        error = await failure(shop, section={"port": port})
    assert error.exit.failure_class is base.FailureClass.PORT_IN_USE
    assert not shop.events("started")


async def test_an_engine_that_ignores_sigterm_is_killed(shop: Workshop) -> None:
    async with shop.started(ignore_term=True, section={"stop_timeout": 0.3}) as up:
        pass
    assert shop.events("term")
    assert engines.gone(up.record.pid)


@pytest.mark.parametrize("kind", ["fork_child", "fork_detached"])
async def test_workers_end_with_their_engine(shop: Workshop, kind: str) -> None:
    knobs: dict[str, Any] = {kind: True, "fork_ignores_term": True}
    async with shop.started(section={"stop_timeout": 0.3}, **knobs):
        worker = (await shop.until("worker"))[0].pid
    assert engines.gone(worker)


@pytest.mark.parametrize("kind", ["fork_child", "fork_detached"])
async def test_workers_of_a_killed_engine_end_too(shop: Workshop, kind: str) -> None:
    knobs: dict[str, Any] = {kind: True, "fork_ignores_term": True}
    async with shop.started(**knobs) as up:
        worker = (await shop.until("worker"))[0].pid
        os.kill(up.record.pid, signal.SIGKILL)
        with anyio.fail_after(30):
            ended = await up.lifecycle.died()
        assert ended.exit_code == -9
        assert ended.failure_class is base.FailureClass.OUT_OF_MEMORY
        assert engines.gone(worker)


async def test_a_crash_while_ready_is_seen_with_its_code(shop: Workshop) -> None:
    async with shop.started() as up:
        async with anyio.create_task_group() as group:
            seen: list[base.Exit] = []

            async def watch() -> None:
                seen.append(await up.lifecycle.died())

            group.start_soon(watch)
            with pytest.raises(httpx2.TransportError):
                await up.chat("[[die]]")
        assert seen[0].exit_code == 9
        assert "died in the middle" in seen[0].log_tail[-1]
        assert up.lifecycle.record() is None


async def test_a_deaf_engine_is_found_and_ended(shop: Workshop) -> None:
    async with shop.started() as up:
        os.kill(up.record.pid, signal.SIGUSR1)
        with anyio.fail_after(50):
            ended = await up.lifecycle.died()
        assert ended.failure_class is base.FailureClass.UNRESPONSIVE
        assert engines.gone(up.record.pid)


async def test_an_engine_that_is_too_busy_to_answer_is_left_alone_for_long(shop: Workshop) -> None:
    busy = engines.recipe(health_every=0.1, health_timeout=0.3)
    async with shop.started(deaf_burns=True, engine=busy) as up:
        os.kill(up.record.pid, signal.SIGUSR1)
        await shop.until("deaf")
        with anyio.move_on_after(3) as scope:  # seven checks; an idle one would have had two
            await up.lifecycle.died()
        assert scope.cancelled_caught
        os.kill(up.record.pid, signal.SIGUSR2)
        await shop.until("hearing")
        assert (await up.chat("done at last")).status_code == 200


async def test_a_frozen_engine_is_found_and_ended(shop: Workshop) -> None:
    async with shop.started(section={"stop_timeout": 1.0}) as up:
        os.kill(up.record.pid, signal.SIGSTOP)
        with anyio.fail_after(50):
            ended = await up.lifecycle.died()
        assert ended.failure_class is base.FailureClass.UNRESPONSIVE
        assert engines.gone(up.record.pid)


async def test_a_cancelled_start_leaves_nothing(shop: Workshop) -> None:
    made = shop.fake(load_s=60)
    with anyio.fail_after(50):
        async with anyio.create_task_group() as group:
            group.start_soon(made.lifecycle.start, shop.report)
            pid = (await shop.until("loading"))[0].pid
            known = made.lifecycle.record()
            group.cancel_scope.cancel()
    assert known is not None
    assert known.pid == pid
    assert made.lifecycle.record() is None
    assert engines.gone(pid)


async def test_watching_that_is_cancelled_leaves_the_engine_alone(shop: Workshop) -> None:
    async with shop.started() as up:
        with anyio.move_on_after(0.3):
            await up.lifecycle.died()
        assert (await up.chat("still there?")).status_code == 200


async def test_stopping_what_is_gone_is_no_error(shop: Workshop) -> None:
    async with shop.started() as up:
        os.kill(up.record.pid, signal.SIGKILL)
        await up.lifecycle.stop()
        await up.lifecycle.stop()
    assert engines.gone(up.record.pid)


async def test_a_full_log_never_blocks_the_engine(shop: Workshop) -> None:
    async with shop.started(log_lines=20_000) as up:
        assert (await up.chat("hi")).status_code == 200
        assert len(up.lifecycle.log_tail(20)) == 20


async def test_orphans_of_other_children_do_not_stay_zombies(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "FORGOTTEN_S", 0.0)
    orphan = "import os,sys,time\nif os.fork(): sys.exit(0)\nprint(os.getpid(), flush=True); time.sleep(0.2)"
    async with shop.started():  # from here on we are the parent of last resort
        done = await anyio.run_process([sys.executable, "-c", orphan])
        pid = int(done.stdout)
        with anyio.fail_after(20):
            while not engines.gone(pid):
                await anyio.to_thread.run_sync(process.collect_forgotten)
                await anyio.sleep(0.05)


async def test_two_engines_in_turn_never_overlap(shop: Workshop) -> None:
    for name in ("one", "two", "one"):
        async with shop.started(name, load_s=0.1, exit_delay_s=0.2):
            pass
    assert not shop.events("overlap")
