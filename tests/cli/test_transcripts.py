"""What a person at a terminal sees of the first minute, from `lmg up` to an answer."""

import os
import re
from pathlib import Path

import pytest
from anyio import to_thread

from local_model_gateway import announcement
from tests.cli import pseudo_terminal, stub
from tests.cli.test_connect import shell_with

COLOR = re.compile(r"\x1b\[[0-9;]*m")


def plain(text: str) -> str:
    return COLOR.sub("", text)


async def test_the_status_is_coloured_for_people_who_want_colours(tmp_path: Path) -> None:
    shell = stub.shell(tmp_path)
    async with stub.served() as gateway:
        coloured = await pseudo_terminal.lmg(shell, "status", "--url", gateway.url)
        by_variable = await pseudo_terminal.lmg(shell, "--url", gateway.url, NO_COLOR="1")
        by_option = await pseudo_terminal.lmg(shell, "status", "--no-color", "--url", gateway.url)
    assert COLOR.search(coloured.out)
    assert not COLOR.search(by_variable.out + by_option.out)
    assert "running, pid 1" in by_variable.out


@pytest.mark.parametrize(("typed", "code"), [("\n", 0), ("y\n", 0), ("n\n", 6)])
async def test_connect_shows_the_change_and_asks(tmp_path: Path, typed: str, code: int) -> None:
    file = tmp_path / ".cursor" / "mcp.json"
    async with stub.served() as gateway:
        ran = await pseudo_terminal.lmg(
            shell_with(tmp_path), "connect", "cursor", "--url", gateway.url, typed=typed
        )
    shown = plain(ran.out)
    assert ran.code == code
    assert shown.index('+    "lmg"') < shown.index("Go ahead? [Y/n]")
    assert ("Undo: lmg disconnect cursor" in shown) is (code == 0)
    assert file.exists() is (code == 0)


async def test_doctor_marks_what_it_finds_and_says_what_to_run(tmp_path: Path) -> None:
    ran = await pseudo_terminal.lmg(stub.shell(tmp_path), "doctor", "--quick")
    shown = plain(ran.out)
    assert "✓ Install   local-model-gateway" in shown
    assert re.search(r"! Gateway +not running +GATEWAY-DOWN", shown) or "PORT-TAKEN" in shown
    assert "fix  lmg" in shown
    assert "Nothing was changed." in shown


async def test_the_first_minute_on_a_machine_with_nothing(tmp_path: Path) -> None:
    """No configuration, no engine: the built-in model answers, and the way to a real one is named."""
    shell = stub.shell(tmp_path)
    file = tmp_path / "local-model-gateway.config.yaml"
    file.write_text("server:\n  port: ${env:LMG_PORT}\n")
    file.chmod(0o600)
    up = await pseudo_terminal.lmg(shell, "up", LMG_PORT="0")
    try:
        shown = plain(up.out)
        assert up.code == 0, shown
        assert "running in the background, pid" in shown
        for place in ("/v1", "/mcp", "/status"):
            assert place in shown
        assert "one sentence, whatever you ask" in shown
        assert 'Next  lmg run tiny "Say hello"' in shown
        ran = await pseudo_terminal.lmg(shell, "run", "tiny", "Say hello", LMG_PORT="0")
        assert ran.code == 0
        assert "first token" in ran.out
        again = await pseudo_terminal.lmg(shell, "up", LMG_PORT="0")
        assert "was running already" in again.out
    finally:
        down = await pseudo_terminal.lmg(shell, "down", "--drain", "0s", LMG_PORT="0")
    assert re.search(r"stopped \(pid \d+\)", down.out)


async def test_without_a_configuration_up_looks_around_first(tmp_path: Path) -> None:
    """Where nothing can be served, nothing is written, and the gateway is not kept from starting."""
    shell = stub.shell(tmp_path)
    async with stub.served() as running:
        # A gateway that runs already: `up` must not need a free port to show what it found.
        note = announcement.Announcement(running.url, os.getpid(), 1.0, "x")
        folder = tmp_path / "state" / "local-model-gateway"
        await to_thread.run_sync(announcement.write, folder, note)
        ran = await pseudo_terminal.lmg(shell, "up", typed="n\n")
    shown = plain(ran.out)
    assert ran.code == 0, shown
    assert "No configuration yet, so I looked around. Nothing was started or changed." in shown
    assert "Machine" in shown
    assert not (tmp_path / "config").exists()
