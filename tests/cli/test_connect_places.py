"""A client is found where its user moved it to, and its version is read without what stands around it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from local_model_gateway.connecting import client_setting
from local_model_gateway.connecting.client_places import Places
from local_model_gateway.detection import clients
from tests.cli.client_programs import CLIENTS


def signs(home: Path, env: Mapping[str, str]) -> dict[str, str]:
    """By client; no program of theirs is on the PATH."""
    found = clients.installed(home, which=lambda _: None, env=env)
    return {client.id: client.sign for client in found}


@pytest.mark.parametrize(
    ("name", "variable", "file"),
    [
        ("codex", "CODEX_HOME", "config.toml"),
        ("gemini-cli", "GEMINI_CLI_HOME", ".gemini/settings.json"),
        ("opencode", "XDG_CONFIG_HOME", "opencode/opencode.json"),
        ("continue", "CONTINUE_GLOBAL_DIR", "config.yaml"),
    ],
)
def test_a_client_whose_folder_was_moved_is_known_by_it(
    tmp_path: Path, name: str, variable: str, file: str
) -> None:
    home, moved = tmp_path / "home", tmp_path / "moved"
    sign = moved / file
    sign.parent.mkdir(parents=True)
    sign.touch()
    nowhere = signs(home, {})
    found = signs(home, {variable: str(moved)})
    assert name not in nowhere
    assert found[name].startswith(str(moved))


def test_a_moved_folder_is_moved_itself_and_its_neighbours_are_not(tmp_path: Path) -> None:
    places = Places(tmp_path, {"X_HOME": "~/.x"}, {"X_HOME": "/elsewhere"})
    assert places.path("~/.x") == Path("/elsewhere")
    assert places.path("~/.x/file") == Path("/elsewhere/file")
    assert places.path("~/.xylo/file") == tmp_path / ".xylo" / "file"


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("codex-cli 0.134.0", "0.134.0"),
        ("v1.2.3-beta.1+build.5", "1.2.3-beta.1+build.5"),
        ("This is 1.0.102.", "1.0.102"),
        ("tool 1.2.3- built today", "1.2.3"),
        ("tool 1.2.3...", "1.2.3"),
        ("tool 1.2rc1, on Linux", "1.2rc1"),
        ("tool of today", None),
    ],
)
def test_a_version_is_read_without_what_stands_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, version: str | None
) -> None:
    program = tmp_path / "codex"
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert client_setting.version(CLIENTS["codex"]) == version
