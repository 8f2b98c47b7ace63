"""Services, one-shot programs and remote servers: what is special about each."""

import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import httpx2
import pytest

from runtimes import base
from runtimes.lifecycles import remote, service
from runtimes.settings import RuntimeSettings
from tests.runtimes import conformance, engines
from tests.runtimes.conformance import Case


def unit(name: str, platform: str) -> service.Commands:
    settings = RuntimeSettings.model_validate({"engine": "x", "unit": name})
    return service.commands(settings, platform)


def test_a_users_systemd_unit() -> None:
    made = unit("llama.service", "linux")
    assert made.start == ["systemctl", "--user", "start", "llama.service"]
    assert made.stop == ["systemctl", "--user", "stop", "llama.service"]
    assert made.status == ["systemctl", "--user", "is-active", "--quiet", "llama.service"]


def test_a_system_unit_is_written_with_a_slash() -> None:
    assert unit("/llama.service", "linux").start == ["systemctl", "start", "llama.service"]


def test_a_launchd_label() -> None:
    assert unit("com.example.llama", "darwin").start[:2] == ["launchctl", "kickstart"]


async def test_what_a_failing_start_command_said_is_told(tmp_path: Path) -> None:
    async with conformance.service(tmp_path) as case:
        made = case.make(**(case.broken or {}))
        with pytest.raises(base.EngineFailed) as caught:
            await made.lifecycle.start(lambda _: None)
    assert caught.value.exit.exit_code == 5
    assert caught.value.exit.log_tail == ("unit not found",)


@pytest.fixture
async def once(tmp_path: Path) -> AsyncGenerator[Case]:
    async with conformance.oneshot(tmp_path) as case:
        yield case


async def test_a_one_shot_program_gets_the_prompt_and_its_output_is_the_answer(once: Case) -> None:
    made = once.make()
    running = await made.lifecycle.start(lambda _: None)
    assert await conformance.ask(made, running) == "you said hello\n"
    await made.lifecycle.stop()


async def test_a_one_shot_program_streams_and_ends_when_its_client_leaves(
    once: Case, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    script = f"import os,time; open({str(pid_file)!r},'w').write(str(os.getpid())); print('one', flush=True); time.sleep(600)"
    argv = [*once.section["cmd"][:-4], sys.executable, "-c", script]
    made = once.make(cmd=argv)
    running = await made.lifecycle.start(lambda _: None)
    body = {"messages": [{"role": "user", "content": "x"}], "stream": True}
    async with (
        httpx2.AsyncClient(base_url=running.base_url, headers=dict(running.headers)) as client,
        client.stream("POST", "/v1/chat/completions", json=body, timeout=30) as answer,
    ):
        lines = answer.aiter_lines()
        assert '"content": "one' in await anext(lines)
    await engines.eventually(lambda: engines.gone(int(pid_file.read_text())))
    await made.lifecycle.stop()


async def test_a_one_shot_program_that_fails_is_an_error(once: Case) -> None:
    argv = [*once.section["cmd"][:-4], sys.executable, "-c", "raise SystemExit(3)"]
    made = once.make(cmd=argv)
    running = await made.lifecycle.start(lambda _: None)
    with pytest.raises(httpx2.HTTPStatusError, match="500"):
        await conformance.ask(made, running)
    await made.lifecycle.stop()


async def test_a_stopped_one_shot_server_takes_its_program_along(
    once: Case, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    script = f"import os,time; open({str(pid_file)!r},'w').write(str(os.getpid())); time.sleep(600)"
    argv = [*once.section["cmd"][:-4], sys.executable, "-c", script]
    made = once.make(cmd=argv)
    running = await made.lifecycle.start(lambda _: None)
    async with anyio.create_task_group() as group:

        async def ask() -> None:
            with pytest.raises(httpx2.HTTPError):
                await conformance.ask(made, running)

        group.start_soon(ask)
        await engines.eventually(lambda: pid_file.exists() and pid_file.read_text() != "")
        await made.lifecycle.stop()
    assert engines.gone(int(pid_file.read_text()))


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://127.9.9.9", True),
        ("http://localhost:1234", True),
        ("http://[::1]:8080", True),
        ("http://0.0.0.0:8080", True),
        ("http://192.168.1.7:8080", False),
        ("https://api.example.com", False),
    ],
)
def test_this_machine_is_known_by_any_name(url: str, here: bool) -> None:
    assert remote.on_this_machine(url) is here


async def test_an_unmanaged_server_of_this_machine_is_refused_unless_allowed(
    tmp_path: Path,
) -> None:
    async with conformance.remote(tmp_path) as case:
        with pytest.raises(base.EngineFailed, match="allow_unmanaged"):
            await case.make(allow_unmanaged=False).lifecycle.start(lambda _: None)
        running = await case.make().lifecycle.start(lambda _: None)
    assert running.headers == {}


async def test_a_remote_key_is_sent_and_only_as_the_recipe_says(tmp_path: Path) -> None:
    async with conformance.remote(tmp_path) as case:
        running = await case.make(api_key="k3y").lifecycle.start(lambda _: None)
    assert running.headers == {"authorization": "Bearer k3y"}
