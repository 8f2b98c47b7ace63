"""`lmg mcp`, mostly over a snapshot that is already there."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local_model_gateway import cli
from tests.broker.conftest import SERVERS

Lmg = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def knobs(tmp_path: Path) -> Path:
    path = tmp_path / "knobs.json"
    path.write_text("{}")
    return path


@pytest.fixture
def lmg(tmp_path: Path, knobs: Path, capsys: pytest.CaptureFixture[str]) -> Lmg:
    """Runs one verb with `--json`; its exit code and what it said."""
    section = {"command": sys.executable, "args": [str(SERVERS / "raw.py"), str(knobs)]}
    settings = {"version": 1, "state_dir": str(tmp_path / "state"), "mcp_servers": {"raw": section}}
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps(settings))

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        code = cli.run(["--config", str(file), "mcp", *arguments, "--json"])
        said = capsys.readouterr().out.splitlines()
        content: dict[str, Any] = json.loads(said[-1]) if said else {}
        return code, content

    return run


def test_a_refreshed_server_is_listed_found_and_described(lmg: Lmg) -> None:
    assert lmg("ls")[1]["servers"][0]["listed"] == "never"
    assert lmg("refresh") == (0, {"schema": "lmg.mcp.refreshed/1", "servers": {"raw": 1}})
    assert lmg("ls")[1]["servers"][0]["tools"] == 1
    code, found = lmg("search", "thing")
    assert (code, found["results"][0]["tool_id"]) == (0, "raw:get_thing_0")
    code, described = lmg("describe", "raw.get_thing_0")
    assert described["tools"][0]["input_schema"]["properties"] == {"word": {"type": "string"}}
    assert (described["tools"][0]["effect"], described["tools"][0]["action"]) == ("read", "allow")


def test_a_change_is_shown_and_approved(lmg: Lmg, knobs: Path) -> None:
    lmg("refresh")
    assert lmg("approve", "raw")[0] == 5
    knobs.write_text(json.dumps({"description": "Something else."}))
    lmg("refresh")
    shown = lmg("diff")[1]["changed"]["raw:get_thing_0"]
    assert "+description: Something else." in shown
    assert lmg("approve", "raw")[1]["tools"] == ["get_thing_0"]
    assert lmg("diff")[1]["changed"] == {}


def test_a_server_that_fails_is_named_and_fails_the_command(lmg: Lmg, knobs: Path) -> None:
    knobs.write_text(json.dumps({"exit": 1, "stderr": "no database"}))
    code, content = lmg("refresh")
    assert code == 1
    assert "no database" in content["servers"]["raw"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("search", "zzzzqqq"), 5),
        (("describe", "nope"), 5),
        (("approve", "rwa"), 5),
        (("import", "no-such-client"), 5),
        (("no-such-verb",), 2),
    ],
)
def test_what_is_not_there_has_its_exit_code(
    lmg: Lmg, arguments: tuple[str, ...], code: int
) -> None:
    assert lmg(*arguments)[0] == code


def test_import_writes_a_file_of_its_own(
    lmg: Lmg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.chdir(tmp_path)
    entry = {"command": "npx", "env": {"API_KEY": "abcdefgh"}}
    (tmp_path / ".mcp.json").write_text(json.dumps({"mcpServers": {"pages": entry}}))
    code, content = lmg("import", "--write")
    written = tmp_path / "settings" / "local-model-gateway" / "conf.d" / "mcp-imported.yaml"
    assert (code, content["variables"]) == (0, {"pages": ["API_KEY"]})
    assert "${env:API_KEY}" in written.read_text()
    assert "abcdefgh" not in written.read_text()


def test_looking_at_tools_imports_neither_sdk() -> None:
    script = (
        "import sys; from local_model_gateway.commands import mcp; from broker import holdings;"
        "bad = {'mcp', 'fastmcp', 'mcp_types'} & set(sys.modules); sys.exit(bool(bad))"
    )
    import subprocess

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
