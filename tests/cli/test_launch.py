"""Launching a client: the model's variables for that one process, which then is its own."""

import json
import os
import signal
import sys
from pathlib import Path

import anyio
import pytest

from tests.cli import stub
from tests.cli.client_programs import LAUNCHABLE, calls, path_of, programs, shell_with, steps, tree
from tests.support import gateway as whole

ECHO = {"runtimes": {"tiny": {"engine": "embedded"}}}


async def test_a_launched_client_gets_its_variables_and_arguments(tmp_path: Path) -> None:
    shell = shell_with(tmp_path, "claude")
    async with stub.served() as gateway:
        ran = await shell.lmg(
            "launch", "claude-code", "--url", gateway.url, "--", "-p", "hi", LMG_API_KEY="canary-1"
        )
    assert (ran.code, ran.out) == (0, "  Status:   lmg   Connected\n")
    called = calls(tmp_path)[-1]
    assert called["argv"] == ["-p", "hi"]
    env = called["env"]
    assert isinstance(env, dict)
    assert env["ANTHROPIC_BASE_URL"] == gateway.url
    assert env["ANTHROPIC_AUTH_TOKEN"] == "canary-1"
    assert env["ANTHROPIC_DEFAULT_SONNET_MODEL"] == "tiny"
    assert not any(name.startswith("ANTHROPIC_") for name in os.environ)
    assert tree(tmp_path) == {}


async def test_a_dry_run_shows_everything_but_the_key(tmp_path: Path) -> None:
    shell = shell_with(tmp_path)
    words = ("launch", "claude-code", "--dry-run")
    async with stub.served() as gateway:
        more = ("--url", gateway.url)
        person = await shell.here(*words, *more, "--", "say 'hi'", LMG_API_KEY="canary-1")
        machine = await shell.here(*words, "--json", *more, LMG_API_KEY="canary-1")
    assert f"ANTHROPIC_BASE_URL={gateway.url}" in person.out
    assert person.out.splitlines()[-1] == """claude 'say '"'"'hi'"'"''"""
    assert "canary-1" not in person.out + machine.out
    assert machine.json["schema"] == "lmg.launch/1"
    assert machine.json["env"]["ANTHROPIC_AUTH_TOKEN"] == "********"
    assert machine.json["command"] == ["claude"]
    assert calls(tmp_path) == []


async def test_the_clients_exit_code_is_ours(tmp_path: Path) -> None:
    shell = shell_with(tmp_path, "claude")
    async with stub.served() as gateway:
        ran = await shell.lmg("launch", "claude-code", "--url", gateway.url, "--", "exit", "42")
    assert ran.code == 42


async def test_a_signal_reaches_the_client(tmp_path: Path) -> None:
    shell = shell_with(tmp_path, "claude")
    async with stub.served() as gateway:
        words = ["launch", "claude-code", "--url", gateway.url, "--", "wait"]
        process = await anyio.open_process(
            [sys.executable, "-m", "local_model_gateway", *words], cwd=tmp_path, env=shell.env
        )
        with anyio.fail_after(stub.LIMIT_S):
            assert process.stdout is not None
            assert (await process.stdout.receive()).startswith(b"waiting")
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == -signal.SIGTERM
            await process.aclose()


async def test_a_client_that_is_not_installed_is_not_installed_by_us(tmp_path: Path) -> None:
    async with stub.served() as gateway:
        ran = await shell_with(tmp_path).lmg("launch", "claude-code", "--url", gateway.url)
    assert ran.code == 5
    assert "claude is not on your PATH, and we do not install it" in ran.err
    assert "https://" in ran.err


async def test_a_client_that_needs_a_file_of_ours_says_which_command_writes_it(
    tmp_path: Path,
) -> None:
    async with stub.served() as gateway:
        ran = await shell_with(tmp_path, "codex").lmg("launch", "codex", "--url", gateway.url)
    assert ran.code == 1
    assert "lmg connect codex" in ran.err


async def test_a_client_whose_protocol_the_gateway_does_not_speak_is_not_started(
    tmp_path: Path,
) -> None:
    shell = shell_with(tmp_path, "claude", "opencode")
    async with whole.gateway(ECHO, tmp_path / "state") as here:
        here.folder.mkdir()
        await here.start()
        claude = await shell.lmg("launch", "claude-code", "--url", here.url)
        small = await shell.lmg("launch", "opencode", "--url", here.url, "--", "run")
    assert claude.code == 1
    assert "/v1/messages" in claude.err
    assert "lmg connect claude-code" in claude.err
    assert small.code == 0
    assert "wants a model with 16,384 tokens of context, and tiny has 4,096" in small.err
    assert calls(tmp_path)[-1]["argv"] == ["--model", "lmg/tiny", "run"]


@pytest.mark.parametrize("name", LAUNCHABLE)
async def test_every_client_that_can_be_launched_is_launched_once_it_is_connected(
    tmp_path: Path, name: str
) -> None:
    shell = shell_with(tmp_path, *programs(name))
    async with stub.served() as gateway:
        connected = await shell.here("connect", name, "--yes", "--json", "--url", gateway.url)
        ran = await shell.lmg("launch", name, "--url", gateway.url, "--", "-x")
        dry = await shell.here("launch", name, "--dry-run", "--json", "--url", gateway.url)
    assert (connected.code, ran.code) == (0, 0), connected.out + ran.err
    called = calls(tmp_path)[-1]
    argv, env = called["argv"], called["env"]
    assert isinstance(argv, list)
    assert argv[-1] == "-x"
    for word in argv:
        assert not word.startswith("~")
        assert not word.startswith("/") or Path(word).exists()
    assert isinstance(env, dict)
    assert "${" not in json.dumps([argv, env])
    # The model is told by an argument, by a variable, or by the file that we wrote.
    texts = [path_of(name, step, tmp_path).read_text() for step in steps(name)]
    assert any("tiny" in text for text in (json.dumps([argv, env]), *texts))
    assert dry.json["command"][1:] == argv[:-1]
