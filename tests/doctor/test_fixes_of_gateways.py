"""Fixes that need a gateway: each is run verbatim in a shell against a real one, and the finding is gone."""

import contextlib
import dataclasses
import os
import shlex
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import psutil
from anyio import to_thread

from local_model_gateway import announcement
from local_model_gateway.detection import processes
from local_model_gateway.doctor import bypass, finding, gateway
from tests.cli import programs, pseudo_terminal, stub
from tests.doctor import cases
from tests.support import gateway as support

AN_HOUR_AGO = """\
import sys, time
import local_model_gateway
local_model_gateway.__version__ = "0.0.1"
now = time.time
time.time = lambda: now() - 3600
from local_model_gateway import cli
sys.exit(cli.run(["start", "--config", sys.argv[1]]))
"""
"""A gateway of an older release, started before the clock was put forward."""


@contextlib.asynccontextmanager
async def running(
    tmp_path: Path, settings: dict[str, Any] | None = None, *, usual: bool = False
) -> AsyncGenerator[cases.Home]:
    """A home whose gateway was started with `lmg up`; whatever runs there at the end is stopped."""
    home = cases.home(tmp_path, usual=usual)
    home.write(settings)
    async with stopped_at_the_end(home):
        up = await home.lmg("up", "--json")
        assert up.code == 0, up
        yield home


@contextlib.asynccontextmanager
async def stopped_at_the_end(home: cases.Home) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            announced = await announced_at(home)
            if announced is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(announced.pid, signal.SIGCONT)
                await home.lmg("down", "--drain", "0s")


async def test_a_gateway_that_does_not_run_is_started(tmp_path: Path) -> None:
    home = cases.home(tmp_path)
    home.write()
    async with stopped_at_the_end(home):
        after = await home.mended("GATEWAY-DOWN")
        assert after["GATEWAY"]["what"].startswith("this one, pid ")


async def test_a_held_queue_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path) as home:
        assert (await home.lmg("queue", "pause")).code == 0
        await home.mended("QUEUE-PAUSED")


async def test_a_suspended_gateway_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path) as home:
        announced = await known(home)
        os.kill(announced.pid, signal.SIGSTOP)
        after = await home.mended("GATEWAY-SUSPENDED")
        assert after["GATEWAY"]["status"] == "ok"


async def test_a_change_that_waits_for_a_start_is_taken_by_one(tmp_path: Path) -> None:
    async with running(tmp_path) as home:
        home.write(queue={"max_queue": 7})
        await until(home, "changed_for_the_next_start")
        await home.mended("CONFIG-RESTART")


async def test_a_configuration_that_was_refused_is_named_until_it_holds(tmp_path: Path) -> None:
    async with running(tmp_path) as home:
        home.write(queue={"max_queue": "many"})
        await until(home, "problem")
        found = await home.found()
        assert found["CONFIG-INVALID"]["fix"].startswith("lmg config validate --config ")
        assert "goes on with the configuration before" in found["CONFIG-STALE"]["what"]
        assert not found["CONFIG-STALE"]["fix_mends"]
        home.write(queue={"max_queue": 7})
        await until(home, "changed_for_the_next_start")
        assert "CONFIG-STALE" not in await home.found()


async def test_an_older_gateway_and_a_moved_clock_are_both_put_right_by_one_restart(
    tmp_path: Path,
) -> None:
    home = cases.home(tmp_path)
    file = home.write()
    words = [sys.executable, "-c", AN_HOUR_AGO, str(file)]
    async with stopped_at_the_end(home), await anyio.open_process(words, env=home.shell.env) as old:
        await until_announced(home)
        plan = (await home.doctor()).json["fix_plan"]
        (step,) = (one for one in plan if "CLOCK-JUMP" in one["ids"])
        assert sorted(step["ids"]) == ["CLOCK-JUMP", "VERSION-DIFFERS"]
        assert step["needs_consent"]
        after = await home.mended("VERSION-DIFFERS")
        assert "CLOCK-JUMP" not in after
        with anyio.fail_after(stub.LIMIT_S):
            await old.wait()


async def test_another_gateway_is_named_and_ended_by_its_own_address(tmp_path: Path) -> None:
    async with running(tmp_path / "one") as one, running(tmp_path / "other") as other:
        theirs = await known(other)
        fix = f"lmg down --url {theirs.url}"
        checks = (await one.doctor()).json["checks"]
        (sibling,) = (check for check in checks if check["fix"] == fix)
        assert (sibling["id"], sibling["needs_consent"]) == ("SIBLING-GATEWAY", True)
        await one.paste(fix)
        after = (await one.doctor()).json["checks"]
        assert fix not in [check["fix"] for check in after]
        assert "GATEWAY" in [check["id"] for check in after]


async def test_a_gateway_of_another_state_on_our_port_is_not_taken_for_ours(
    tmp_path: Path,
) -> None:
    async with running(tmp_path / "other") as other:
        theirs = await known(other)
        home = cases.home(tmp_path / "one")
        home.write(server={"port": int(theirs.url.rpartition(":")[2])})
        checks = (await home.doctor()).json["checks"]
        assert "GATEWAY" not in [check["id"] for check in checks]
        said = [check["what"] for check in checks if check["id"] == "SIBLING-GATEWAY"]
        assert [what for what in said if f"pid {theirs.pid}" in what and "answers at" in what]


def test_a_gateway_of_another_address_is_neither_ended_nor_started_from_here(
    tmp_path: Path,
) -> None:
    subject = cases.case(tmp_path, "server: {port: 0}\n", url_argument="http://192.0.2.1:8787")
    picture = {"gateway": {"pid": 1, "version": "0.0.1", "url": "http://192.0.2.1:8787"}}
    differs = cases.only(
        gateway.gateway, dataclasses.replace(subject, picture=picture), "VERSION-DIFFERS"
    )
    down = cases.only(gateway.gateway, subject, "GATEWAY-DOWN")
    for said in (differs, down):
        assert said.fix == finding.show("lmg status --url http://192.0.2.1:8787")


def test_beside_the_last_port_there_is_one_below(tmp_path: Path) -> None:
    last = 65535
    with socket.create_server(("127.0.0.1", last)):
        subject = cases.case(tmp_path, f"server: {{port: {last}}}\n")
        fix = cases.only(gateway.gateway, subject, "PORT-TAKEN").fix
    assert fix is not None
    assert 0 < int(fix.command.rpartition(" ")[2]) < last


async def test_with_a_squatter_on_the_port_the_fix_starts_it_beside(tmp_path: Path) -> None:
    home = cases.home(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        home.write(server={"port": squatter.getsockname()[1]})
        before = await home.found()
        assert f"pid {os.getpid()}" in before["PORT-TAKEN"]["what"]
        words = ["bash", "-c", before["PORT-TAKEN"]["fix"]]
        async with (
            stopped_at_the_end(home),
            await anyio.open_process(words, env=home.shell.env, stdout=-3) as started,
        ):
            await until_announced(home)
            after = await home.found()
            assert "PORT-TAKEN" not in after
            assert after["GATEWAY"]["status"] == "ok"
            await home.lmg("down", "--drain", "0s")
            with anyio.fail_after(stub.LIMIT_S):
                await started.wait()


async def test_a_model_that_failed_is_loaded_once_the_reason_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "engine"
    folder.mkdir()
    broken, program = folder / "broken", folder / "engine"
    broken.touch()
    program.write_text(f'#!/bin/sh\n[ -e "{broken}" ] && exit 3\nexec "$@"\n')
    program.chmod(0o755)
    fake = support.fake("m", folder)
    runtime = {**fake, "cmd": [str(program), *fake["cmd"]]}
    async with running(tmp_path, {"runtimes": {"m": runtime}}) as home:
        assert (await home.lmg("load", "m")).code != 0
        assert "exit code 3" in (await home.found())["RUNTIME-FAILED"]["what"]
        broken.unlink()
        await home.mended("RUNTIME-FAILED")


async def test_a_model_is_asked_for_real(tmp_path: Path) -> None:
    settings = {"runtimes": {"m": support.fake("m", tmp_path)}}
    async with running(tmp_path, settings) as home:
        assert (await home.found("--try", "m"))["MODEL-ANSWERS"]["status"] == "ok"
        silent = (await home.found("--try", "nobody"))["MODEL-SILENT"]
        assert "nobody" in silent["why"]


async def test_an_engine_of_ours_that_hangs_is_named_and_is_no_stranger(tmp_path: Path) -> None:
    settings = {"runtimes": {"m": {**support.fake("m", tmp_path), "health_timeout": "10m"}}}
    async with running(tmp_path, settings) as home:
        assert (await home.lmg("load", "m")).code == 0
        assert "RUNTIME-SILENT" not in await home.found()
        announced = await known(home)
        engine = await to_thread.run_sync(listening_child, announced.pid)
        engine.suspend()
        try:
            found = await home.found()
        finally:
            engine.resume()
        assert f"pid {engine.pid}, of m," in found["RUNTIME-SILENT"]["what"]


@contextlib.asynccontextmanager
async def stray(tmp_path: Path) -> AsyncGenerator[anyio.abc.Process]:
    """An engine that somebody started by hand, with a model of some size in it."""
    program = programs.installed(tmp_path / "engines", "llama-server") / "llama-server"
    text = program.read_text().removeprefix(programs.FIRST_LINES)
    held = "held = bytearray(b'x') * (300 << 20)\n"
    program.write_text(programs.FIRST_LINES + held + text)
    model = tmp_path / "mine.gguf"
    model.write_bytes(b"GGUF")
    port = str(support.free_port())
    words = [str(program), "-m", str(model), "--port", port, "-a", "mine"]
    process = await anyio.open_process(words, cwd=tmp_path, stderr=None, start_new_session=True)
    try:
        said = b""
        assert process.stdout is not None
        with anyio.fail_after(stub.LIMIT_S):
            while b"listening on" not in said:
                said += await process.stdout.receive()
        yield process
    finally:
        with anyio.CancelScope(shield=True):
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.aclose()


async def test_a_stray_engine_is_adopted_after_a_person_has_agreed(tmp_path: Path) -> None:
    async with running(tmp_path, usual=True) as home, stray(tmp_path) as engine:
        checks = (await home.doctor("--quick")).json["checks"]
        (bypass,) = (check for check in checks if f"pid {engine.pid} " in check["what"])
        assert (bypass["id"], bypass["status"]) == ("GPU-BYPASS", "fail")
        assert (bypass["fix"], bypass["needs_consent"]) == (f"lmg adopt {engine.pid}", True)
        words = shlex.split(bypass["fix"])[1:]
        asked = await pseudo_terminal.lmg(home.shell, *words, typed="y\n")
        assert asked.code == 0, asked.out
        assert "Go ahead?" in asked.out
        with anyio.fail_after(stub.LIMIT_S):
            await engine.wait()
        after = (await home.doctor("--quick")).json["checks"]
        assert not [check for check in after if f"pid {engine.pid} " in check["what"]]
        assert (await home.lmg("run", "mine", "hello", "--json")).code == 0
        # Started by the gateway, the same engine with the same memory is no stranger any more.
        ours = await to_thread.run_sync(listening_child, (await known(home)).pid)
        assert ours.memory_info().rss > processes.SMALLEST_BYTES
        after = (await home.doctor("--quick")).json["checks"]
        assert not [check for check in after if f"pid {ours.pid} " in check["what"]]


async def test_where_one_file_is_the_whole_configuration_adopting_is_only_shown(
    tmp_path: Path,
) -> None:
    home = cases.home(tmp_path)
    home.write()
    async with stray(tmp_path) as engine:
        checks = (await home.doctor("--quick")).json["checks"]
    (bypass,) = (check for check in checks if f"pid {engine.pid} " in check["what"])
    assert bypass["fix"].startswith(f"lmg adopt {engine.pid} --dry-run --config ")
    assert not bypass["fix_mends"]


async def test_an_engine_that_answers_beside_the_queue_can_be_adopted_too(tmp_path: Path) -> None:
    async with stray(tmp_path) as engine:
        found = await to_thread.run_sync(answering, tmp_path, engine.pid)
    (direct,) = found
    assert direct.id == "ENGINE-DIRECT"
    assert direct.fix is not None
    assert direct.fix.command == f"lmg adopt {engine.pid}"
    assert direct.needs_consent


def answering(tmp_path: Path, pid: int) -> list[finding.Finding]:
    ports = processes.Table().ports(pid)
    subject = dataclasses.replace(cases.case(tmp_path, ports=ports), settings=None)
    return list(bypass.listening(subject))


def listening_child(pid: int) -> psutil.Process:
    children = psutil.Process(pid).children(recursive=True)
    (found,) = [
        child
        for child in children
        if any(one.status == psutil.CONN_LISTEN for one in child.net_connections())
    ]
    return found


async def until(home: cases.Home, key: str) -> None:
    """The gateway has seen the change, and says so under this key."""
    with anyio.fail_after(stub.LIMIT_S):
        while not (await home.lmg("status", "--json")).json["config"][key]:
            await anyio.sleep(0.05)


async def until_announced(home: cases.Home) -> None:
    with anyio.fail_after(stub.LIMIT_S):
        while await announced_at(home) is None:
            await anyio.sleep(0.05)


async def announced_at(home: cases.Home) -> announcement.Announcement | None:
    return await to_thread.run_sync(announcement.read, home.state)


async def known(home: cases.Home) -> announcement.Announcement:
    announced = await announced_at(home)
    assert announced is not None
    return announced
