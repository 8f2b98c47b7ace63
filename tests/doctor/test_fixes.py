"""Each fix that claims to mend is run verbatim in a shell, and the finding is gone; no gateway is needed here."""

import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from tests.broker.conftest import SERVERS
from tests.cli import stub
from tests.doctor import cases

PROVIDER = '{"provider": {"local": {"options": {"baseURL": "http://localhost:11434/v1"}}}}'


def script(file: Path, mode: int) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("#!/bin/sh\nexit 0\n")
    file.chmod(mode)
    return str(file)


def key_file(home: cases.Home) -> None:
    (home.folder / "a key").write_text("k" * 40)
    (home.folder / "a key").chmod(0o644)
    home.write(server={"port": 0, "keys": {"me": "${file:a key}"}})


def key_in_a_header(home: cases.Home) -> None:
    (home.folder / "token").write_text("t" * 40)
    (home.folder / "token").chmod(0o640)
    headers = {"Authorization": "Bearer ${file:token}"}
    home.write(mcp_servers={"far": {"url": "http://127.0.0.1:9/mcp", "headers": headers}})


def key_in_the_configuration(home: cases.Home) -> None:
    home.write(server={"port": 0, "keys": {"me": "k" * 40}}).chmod(0o644)


def config_writable(home: cases.Home) -> None:
    home.write().chmod(0o662)


def state_open(home: cases.Home) -> None:
    home.write()
    state = home.folder / "state" / "local-model-gateway"
    state.mkdir(parents=True)
    state.chmod(0o755)


def state_blocked(home: cases.Home) -> None:
    (home.folder / "a place").write_text("somebody's notes")
    home.write(state_dir=str(home.folder / "a place"))


def engine_not_executable(home: cases.Home) -> None:
    program = script(home.folder / "my engines" / "llama-server", 0o644)
    (home.folder / "x.gguf").write_bytes(b"GGUF")
    model = str(home.folder / "x.gguf")
    home.write(runtimes={"a": {"engine": "llama-server", "model": model, "executable": program}})


def service_script_not_executable(home: cases.Home) -> None:
    start = script(home.folder / "start", 0o600)
    runtime = {"engine": "service", "model": "x", "url": "http://127.0.0.1:9"}
    home.write(runtimes={"a": {**runtime, "start_cmd": [start], "stop_cmd": ["true"]}})


def tool_server_not_executable(home: cases.Home) -> None:
    home.write(mcp_servers={"a": {"command": script(home.folder / "serve it", 0o644)}})


def tools_never_listed(home: cases.Home) -> None:
    knobs = home.folder / "knobs.json"
    knobs.write_text("{}")
    server = {"command": sys.executable, "args": [str(SERVERS / "raw.py"), str(knobs)]}
    home.write(mcp_servers={"raw": server})


def nothing_configured(home: cases.Home) -> None:
    """As a new machine is."""


def opencode(home: cases.Home) -> Path:
    """Where its folder was moved to by the variable that it reads."""
    return home.folder / "config" / "opencode" / "opencode.json"


def client_around_us(home: cases.Home) -> None:
    home.write()
    file = opencode(home)
    file.parent.mkdir(parents=True)
    file.write_text(PROVIDER)


PROVOKED: dict[str, tuple[str, Callable[[cases.Home], None]]] = {
    "a key file": ("KEY-FILE-OPEN", key_file),
    "a key inside a longer text": ("KEY-FILE-OPEN", key_in_a_header),
    "a key in the configuration": ("KEY-FILE-OPEN", key_in_the_configuration),
    "a configuration": ("CONFIG-OPEN", config_writable),
    "a state folder": ("STATE-OPEN", state_open),
    "a file in its place": ("STATE-BLOCKED", state_blocked),
    "an engine": ("ENGINE-NOT-EXECUTABLE", engine_not_executable),
    "a service's script": ("ENGINE-NOT-EXECUTABLE", service_script_not_executable),
    "a tool server": ("MCP-NOT-EXECUTABLE", tool_server_not_executable),
    "a tool server's list": ("MCP-STALE", tools_never_listed),
    "a new machine": ("CONFIG-NONE", nothing_configured),
    "a client": ("CLIENT-BYPASS", client_around_us),
}


@pytest.mark.parametrize(("id_", "provoke"), PROVOKED.values(), ids=PROVOKED)
async def test_the_fix_is_run_as_it_stands_and_the_finding_is_gone(
    tmp_path: Path, id_: str, provoke: Callable[[cases.Home], None]
) -> None:
    home = cases.home(tmp_path)
    provoke(home)
    await home.mended(id_)


async def test_a_file_in_the_way_of_the_state_is_kept(tmp_path: Path) -> None:
    home = cases.home(tmp_path)
    state_blocked(home)
    await home.mended("STATE-BLOCKED")
    assert (home.folder / "a place.old-1").read_text() == "somebody's notes"


async def test_a_client_that_is_set_up_for_us_keeps_its_own_provider(tmp_path: Path) -> None:
    home = cases.home(tmp_path)
    client_around_us(home)
    await home.mended("CLIENT-BYPASS")
    text = opencode(home).read_text()
    assert "localhost:11434" in text
    assert (await home.lmg("disconnect", "opencode")).code == 0
    assert "CLIENT-BYPASS" in await home.found()


async def test_lmg_that_no_shell_finds_is_linked_or_put_on_the_path(tmp_path: Path) -> None:
    home = cases.home(tmp_path)
    home.write()
    (home.folder / "bin" / "lmg").unlink()
    own = home.folder / ".local" / "bin"
    for path in ("/usr/bin:/bin", f"{own}:/usr/bin:/bin"):
        ran = await home.shell.lmg("doctor", "--json", "--quick", PATH=path)
        fix = next(one["fix"] for one in ran.json["checks"] if one["id"] == "PATH-MISSING")
        look = (
            f"PATH='{path}'; {fix}; lmg doctor --quick --json | grep PATH-MISSING && exit 9; true"
        )
        await home.paste(look)
        own.mkdir(parents=True, exist_ok=True)
    assert (own / "lmg").is_symlink()


async def test_every_other_fix_is_a_command_that_runs_and_shows_the_way(tmp_path: Path) -> None:
    home = cases.home(tmp_path)
    gone = {"engine": "embedded", "model": "/nowhere/at/all/gone.gguf"}
    no_program = {"engine": "llama-server", "model": "/x.gguf", "executable": "no-such-program"}
    no_server = {"engine": "ollama", "model": "x", "url": "http://127.0.0.1:9"}
    home.write(
        runtimes={"gone": gone, "no-program": no_program, "no-server": no_server},
        mcp_servers={"tools": {"command": "no-such-program"}},
        pool={"memory": "1MiB"},
    )
    found = await home.found()
    shown = {id_: one for id_, one in found.items() if one["fix"] and not one["fix_mends"]}
    assert set(shown) >= {"MODEL-MISSING", "ENGINE-MISSING", "ENGINE-DOWN", "MCP-COMMAND-MISSING"}
    for id_, one in shown.items():
        with anyio.fail_after(stub.LIMIT_S):
            done = await anyio.run_process(
                ["bash", "-c", one["fix"]], check=False, cwd=home.folder, env=home.shell.env
            )
        # `command -v` may say no; not being there, or misused, is another matter.
        assert done.returncode not in {2, 126, 127}, (id_, one["fix"], done.stderr.decode())
    assert not any(one["needs_consent"] for one in shown.values())
