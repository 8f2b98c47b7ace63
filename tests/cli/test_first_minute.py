"""The first minute: what `lmg up` finds on the well-known ports, says, writes and starts; on a terminal and as JSON."""

import re
import shutil
import stat
import sys
from collections.abc import Generator
from pathlib import Path

import anyio
import pytest

from tests.cli import pseudo_terminal, stub
from tests.support import private_network

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="networks of one's own are Linux's")

COLOR = re.compile(r"\x1b\[[0-9;]*m")
FAKE = "tests.support.fake_engine"
SPEAKS_OLLAMA = ("--dialect", "ollama", "--asleep", "--model", "gemma4:12b", "--port", "11434")
SPEAKS_LM_STUDIO = ("--dialect", "lmstudio", "--asleep", "--model", "qwen/qwen3", "--port", "1234")


@pytest.fixture
def network() -> Generator[private_network.Network]:
    with private_network.made() as made:
        yield made


def shell_in(network: private_network.Network, home: Path, *path: str) -> stub.Shell:
    """A person's shell, in which nothing but what is in these folders is on the PATH."""
    made = stub.shell(home)
    folder = home / "bin"
    folder.mkdir()
    # The way in is all that is needed; whatever else this machine has is not to be found.
    (folder / "nsenter").symlink_to(shutil.which("nsenter") or "/usr/bin/nsenter")
    env = {**made.env, "PATH": ":".join([*path, str(folder)])}
    return stub.Shell(home, env, network.enter)


def shown(ran: stub.Ran) -> str:
    """What stays on the screen: lines that were replaced in place are gone, and so are colours."""
    lines = (line.rpartition("\r\x1b[K")[2] for line in ran.out.split("\n"))
    return COLOR.sub("", "\n".join(lines))


def in_order(text: str, *parts: str) -> None:
    """Each of them, one after the other."""
    place = 0
    for part in parts:
        found = text.find(part, place)
        assert found >= 0, f"{part!r} is not there, or too early, in:\n{text}"
        place = found + len(part)


async def test_with_engines_on_their_ports_one_key_press_leads_to_an_answer(
    network: private_network.Network, tmp_path: Path
) -> None:
    shell = shell_in(network, tmp_path)
    (tmp_path / ".claude.json").write_text("{}")
    others = ("llama-server=8080", "vllm=8000", "sglang=30000", "tabbyapi=5000")
    with (
        network.running(FAKE, *SPEAKS_OLLAMA, ready="listening"),
        network.running(FAKE, *SPEAKS_LM_STUDIO, ready="listening"),
        network.running(
            "tests.doctor.imitations", *others, "koboldcpp=5001", "mlx-lm=8081", ready="listening"
        ),
    ):
        up = await pseudo_terminal.lmg(shell, "up", typed="\n")
        try:
            ran = await pseudo_terminal.lmg(shell, "run", "gemma4:12b", "Say hello")
            other = await pseudo_terminal.lmg(shell, "run", "qwen/qwen3", "Say hello")
        finally:
            down = await pseudo_terminal.lmg(shell, "down", "--drain", "5s")
    assert up.code == 0, up.out
    in_order(
        shown(up),
        "Local Model Gateway 0.1.0\n",
        "No configuration yet, so I looked around. Nothing was started or changed.\n",
        "  Machine   ",
        "  Engines   Ollama 0.14.2 on :11434",
        "1 model: gemma4:12b\n",
        "LM Studio on :1234",
        "1 model: qwen/qwen3\n",
        "llama.cpp on :8080",
        "1 model: a.gguf   not in the queue yet: lmg adopt 8080\n",
        "vLLM 0.32.0 on :8000",
        "lmg adopt 8000\n",
        "SGLang 0.9 on :30000",
        "TabbyAPI on :5000",
        "KoboldCpp 1.99 on :5001",
        "MLX on :8081",
        "  Clients   Claude Code\n",
        "Use these 2 models? They load only when asked for. [Y/n]",
        "✓ wrote ~/config/local-model-gateway/config.yaml (",
        "lines, edit any time)\n",
        "✓ Local Model Gateway 0.1.0, running in the background, pid ",
        "  OpenAI API   http://127.0.0.1:8787/v1       any api_key works from this machine\n",
        "  MCP          http://127.0.0.1:8787/mcp\n",
        'Next  lmg run gemma4:12b "Say hello"\n',
        "      lmg connect claude-code",
        "shows the change first, can be undone\n",
        "      lmg service install",
    )
    assert (ran.code, other.code, down.code) == (0, 0, 0), ran.out + other.out
    in_order(shown(ran), "load ", "first token ")


async def test_the_same_for_a_program_is_one_object_and_no_question(
    network: private_network.Network, tmp_path: Path
) -> None:
    shell = shell_in(network, tmp_path)
    others = ("localai=8080", "modular-max=8000", "llama-server-router=9931")
    with (
        network.running(FAKE, *SPEAKS_OLLAMA, ready="listening"),
        network.running("tests.doctor.imitations", *others, ready="listening"),
    ):
        up = await shell.lmg("up", "--yes", "--json")
        try:
            again = await shell.lmg("up", "--yes", "--json")
            ran = await shell.lmg("run", "gemma4:12b", "Say hello", "--json")
        finally:
            await shell.lmg("down", "--drain", "5s")
    said = up.json
    assert (up.code, said["schema"], said["status"]) == (0, "lmg.up/1", "ok"), up.err
    assert said["created"] is said["config_created"] is True
    assert said["endpoints"]["openai"] == "http://127.0.0.1:8787/v1"
    assert {(one["id"], one["engine"]) for one in said["models"]} == {
        ("gemma4:12b", "ollama"),
        ("x", "localai-server"),
        ("b", "llama-server-router"),
    }
    assert {(one["engine"], one["usable"]) for one in said["found"]["engines"]} == {
        ("ollama", True),
        ("localai", True),
        ("llama-server-router", True),
        ("modular-max", False),
    }
    assert said["next"][0] == 'lmg run gemma4:12b "Say hello"'
    assert (again.json["created"], again.json["config_created"]) == (False, False)
    assert again.json["pid"] == said["pid"]
    assert (ran.json["schema"], ran.json["finish_reason"]) == ("lmg.run/1", "stop"), ran.out


async def test_a_machine_with_nothing_is_no_dead_end(
    network: private_network.Network, tmp_path: Path
) -> None:
    shell = shell_in(network, tmp_path)
    up = await pseudo_terminal.lmg(shell, "up")
    try:
        ran = await pseudo_terminal.lmg(shell, "run", "tiny", "hi")
        as_json = await shell.lmg("up", "--yes", "--json")
    finally:
        await shell.lmg("down", "--drain", "0s")
    in_order(
        shown(up),
        "No configuration yet, so I looked around.",
        "No engine with a model was found. Looked for Ollama, LM Studio, llama.cpp, vLLM,",
        "✓ Local Model Gateway",
        "The built-in model is a toy",
        'Next  lmg run tiny "Say hello"\n',
        "      lmg recipes show ollama    the shortest way to a real model\n",
    )
    assert (up.code, ran.code) == (0, 0)
    assert "first token" in ran.out
    assert as_json.json["models"] == [{"id": "tiny", "engine": "embedded", "state": "ready"}]
    assert as_json.json["warnings"]
    assert not list(
        (tmp_path / "config").rglob("*.yaml")
    )  # so that the next `up` looks around again


async def test_who_says_no_keeps_a_machine_without_a_configuration(
    network: private_network.Network, tmp_path: Path
) -> None:
    shell = shell_in(network, tmp_path)
    with network.running(FAKE, *SPEAKS_OLLAMA, ready="listening"):
        up = await pseudo_terminal.lmg(shell, "up", typed="n\n")
        models = await shell.lmg("models", "--json")
        await shell.lmg("down", "--drain", "0s")
    in_order(shown(up), "Use this model? It loads only when asked for.", "Nothing was written", "✓")
    assert [one["id"] for one in models.json["models"]] == ["tiny"]
    assert not list((tmp_path / "config").rglob("*.yaml"))


async def test_several_at_once_start_one_gateway_and_all_find_it(
    network: private_network.Network, tmp_path: Path
) -> None:
    shell = shell_in(network, tmp_path)
    ran: list[stub.Ran] = []

    async def up() -> None:
        ran.append(await shell.lmg("up", "--yes", "--json"))

    with network.running(FAKE, *SPEAKS_OLLAMA, ready="listening"):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(up)
        await shell.lmg("down", "--drain", "0s")
    assert [one.code for one in ran] == [0, 0, 0], [one.out for one in ran]
    assert len({one.json["pid"] for one in ran}) == 1
    assert [one.json["created"] for one in ran].count(True) == 1
    assert {one.json["models"][0]["id"] for one in ran} == {"gemma4:12b"}


async def test_a_taken_port_and_a_state_that_cannot_be_kept_are_named(
    network: private_network.Network, tmp_path: Path
) -> None:
    shell = shell_in(network, tmp_path)
    with network.running("tests.doctor.imitations", "vllm=8787", ready="listening"):
        taken = await shell.lmg("up")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "local-model-gateway").write_text("somebody's file")
    unkept = await shell.lmg("up", "--json", XDG_STATE_HOME=str(tmp_path / "taken"))
    assert (taken.code, unkept.code) == (1, 1)
    assert re.match(
        r"the gateway did not start: port 8787 is taken by python\S*, pid \d+; `lmg doctor` says more",
        taken.err,
    )
    assert "nothing can be kept in ~/taken/local-model-gateway" in unkept.json["error"]["message"]


async def test_a_gateway_without_a_configuration_takes_the_first_one_while_it_runs(
    network: private_network.Network, tmp_path: Path
) -> None:
    shell = shell_in(network, tmp_path)
    up = await shell.lmg("up", "--yes", "--json")
    try:
        with network.running(FAKE, *SPEAKS_OLLAMA, ready="listening"):
            init = await shell.lmg("init", "--user")
            ran = await shell.lmg("run", "gemma4:12b", "Say hello", "--json")
    finally:
        await shell.lmg("down", "--drain", "0s")
    assert [one["id"] for one in up.json["models"]] == ["tiny"]
    in_order(init.out, "1 model\n", "The running gateway has taken it", "Next  lmg run gemma4-12b")
    assert (ran.code, ran.json["finish_reason"]) == (0, "stop"), ran.out


async def test_the_demo_is_a_swap_to_be_seen(
    network: private_network.Network, tmp_path: Path
) -> None:
    shell = shell_in(network, tmp_path)
    await shell.lmg("up", "--yes")
    try:
        demo = await shell.lmg("demo", "--size", "1MiB")
        states = []
        for name in ("demo-1", "demo-2"):
            assert (await shell.lmg("run", name, "hi")).code == 0
            models = (await shell.lmg("models", "--json")).json["models"]
            states.append({one["id"]: one["state"] for one in models})
    finally:
        await shell.lmg("down", "--drain", "0s")
    assert "The running gateway has taken it" in demo.out
    assert [one["demo-1"] for one in states] == ["ready", "stopped"]
    assert states[1]["demo-2"] == "ready"


async def test_up_waits_for_the_end_of_one_that_is_stopping_and_starts_anew(
    network: private_network.Network, tmp_path: Path
) -> None:
    shell = shell_in(network, tmp_path)
    slow = ("--tokens", "60", "--token-delay-ms", "50")
    with network.running(FAKE, *SPEAKS_OLLAMA, *slow, ready="listening"):
        first = await shell.lmg("up", "--yes", "--json")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shell.lmg, "run", "gemma4:12b", "hi")
            while not (await shell.lmg("status", "--json")).json["running"]:
                pass
            tasks.start_soon(shell.lmg, "down")
            while not (await shell.lmg("status", "--json")).json["stopping"]:
                pass
            second = await shell.lmg("up", "--json")
        status = await shell.lmg("status", "--json")
        await shell.lmg("down", "--drain", "0s")
    assert (second.code, second.json["created"]) == (0, True), second.out
    assert first.json["pid"] != second.json["pid"] == status.json["gateway"]["pid"]
    assert stat.S_IMODE((tmp_path / "state" / "local-model-gateway").stat().st_mode) == 0o700
