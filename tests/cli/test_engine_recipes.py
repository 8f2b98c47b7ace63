"""Every engine that the gateway starts: added by command, started by a real gateway, asked for an answer.

The programs are stand-ins that are called as the engine is, end with status 2 at any word that the
engine's documentation does not have, and listen only where they are told.
"""

import json
import sys
from pathlib import Path

import psutil
import pytest

from recipes import loader
from recipes.front_matter import Kind
from runtimes.settings import EngineRecipe, LifecycleKind
from tests.cli import programs, stub
from tests.support.gateway import free_port

RECIPES = {
    name: EngineRecipe.model_validate(recipe.front.engine)
    for name, recipe in loader.every(Kind.ENGINE).items()
}
STARTED = [name for name, recipe in RECIPES.items() if recipe.lifecycle is LifecycleKind.PROCESS]
SERVED = [
    name
    for name, recipe in RECIPES.items()
    if recipe.lifecycle in (LifecycleKind.HTTP_SWAP, LifecycleKind.OLLAMA)
]
ELEVEN = {
    "llama-server": "process",
    "vllm": "process",
    "sglang": "process",
    "ollama": "ollama",
    "tabbyapi": "http_swap",
    "lmstudio": "http_swap",
    "koboldcpp": "process",
    "mlx-lm": "process",
    "localai": "process",
    "ramalama": "process",
    "modular-max": "process",
}
"""Engine → who loads and drops its models: we by starting it, or the engine when it is asked to."""


def program(name: str) -> str:
    """What the recipe starts."""
    return RECIPES[name].argv[0]


def home(tmp_path: Path) -> stub.Shell:
    """A home with a model file and every program, none of them on the PATH."""
    file = tmp_path / "config" / "local-model-gateway" / "config.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("server: {port: 0}\npool: {memory: 8GiB}\n")
    file.chmod(0o600)
    (tmp_path / "some.gguf").write_bytes(b"GGUF")
    programs.installed(tmp_path / "bin", *programs.PROGRAMS)
    return stub.shell(tmp_path)


def test_the_eleven_engines_are_there_and_run_in_the_way_that_each_allows() -> None:
    assert {name: RECIPES[name].lifecycle.value for name in ELEVEN} == ELEVEN


def test_every_engine_that_is_started_has_a_stand_in() -> None:
    assert {program(name) for name in STARTED} == set(programs.PROGRAMS)


@pytest.mark.parametrize("name", STARTED)
async def test_an_engine_is_added_started_asked_and_removed(tmp_path: Path, name: str) -> None:
    shell = home(tmp_path)
    executable = str(tmp_path / "bin" / program(name))
    words = ("--model", "some.gguf", "--executable", executable, "--name", "added")
    await shell.lmg("up", "--yes")
    try:
        added = await shell.here("add", name, *words, "--json")
        assert added.json["gateway"] == {"running": True, "taken": True}, added.err
        ran = await shell.here("run", "added", "hello", "--json")
        assert (ran.code, bool(ran.json.get("text"))) == (0, True), ran.out + ran.err
        removed = await shell.here("remove", "added", "--json")
        assert removed.json["gateway"] == {"running": True, "taken": True}
    finally:
        await shell.lmg("down", "--drain", "0s")


START = """\
import pathlib, subprocess, sys
made = subprocess.Popen(sys.argv[2:], start_new_session=True, stdout=-3, stderr=-3, stdin=-3)
pathlib.Path(sys.argv[1]).write_text(str(made.pid))
"""
STOP = "import os, pathlib, sys; os.kill(int(pathlib.Path(sys.argv[1]).read_text()), 15)"


async def test_a_service_is_started_and_stopped_by_the_commands_of_its_section(
    tmp_path: Path,
) -> None:
    shell, port = home(tmp_path), free_port()
    engine = [
        str(tmp_path / "bin/llama-server"),
        "-m",
        "some.gguf",
        "--port",
        str(port),
        "-a",
        "it",
    ]
    pid = str(tmp_path / "pid")
    section = {
        "engine": "service",
        "model": "it",
        "url": f"http://127.0.0.1:{port}",
        "start_cmd": [sys.executable, "-c", START, pid, *engine],
        "stop_cmd": [sys.executable, "-c", STOP, pid],
    }
    mine = tmp_path / "config" / "local-model-gateway" / "config.yaml"
    mine.write_text(json.dumps({"server": {"port": 0}, "runtimes": {"mine": section}}))
    await shell.lmg("up", "--yes")
    try:
        ran = await shell.here("run", "mine", "hello", "--json")
        assert (ran.code, bool(ran.json.get("text"))) == (0, True), ran.out
        stopped = await shell.here("unload", "mine")
        assert stopped.code == 0
    finally:
        await shell.lmg("down", "--drain", "0s")
    left = psutil.pid_exists(int(Path(pid).read_text()))
    assert not left or psutil.Process(int(Path(pid).read_text())).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("name", STARTED)
def test_context_and_slots_are_said_in_options_that_the_engine_has(name: str) -> None:
    recipe = RECIPES[name]
    known = programs.PROGRAMS[program(name)].values.split()
    said = [*recipe.with_context, *recipe.with_slots]
    assert [word for word in said if word.startswith("-")] == [
        word for word in said if word in known
    ]


@pytest.mark.parametrize("name", SERVED)
def test_a_server_that_stays_up_is_looked_for_on_loopback_where_its_own_default_is(
    name: str,
) -> None:
    url = RECIPES[name].default_url
    assert url is not None
    assert url.startswith("http://127.0.0.1:")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_how_far_it_was_tried(name: str) -> None:
    tested = loader.find(Kind.ENGINE, name).front.tested
    assert tested is not None
    page = (Path(__file__).parents[2] / "docs" / "engines.md").read_text()
    assert f"`{name}`" in page, "docs/engines.md says how each engine was tested"
