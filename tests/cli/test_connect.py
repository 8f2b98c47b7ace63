"""Clients are set up by their recipes: shown first, done once, and undone byte for byte."""

import json
import stat
from pathlib import Path

import pytest

from recipes import loader, render
from recipes.front_matter import CommandStep, FileStep, Kind, ManualStep, MergeStep
from tests.cli import stub

CLIENTS = loader.every(Kind.CLIENT)
CHANGING = sorted(
    name
    for name, recipe in CLIENTS.items()
    if any(isinstance(step, FileStep | MergeStep | CommandStep) for step in recipe.front.apply)
)
BY_HAND = sorted(
    name
    for name, recipe in CLIENTS.items()
    if recipe.front.apply and all(isinstance(step, ManualStep) for step in recipe.front.apply)
)
LAUNCHABLE = sorted(name for name, recipe in CLIENTS.items() if recipe.front.launch)

# A client's program: writes down how it was called, and knows what was added.
PROGRAM = """#!/usr/bin/env python3
import json, os, sys
log = os.environ["HOME"] + "/calls.jsonl"
with open(log, "a") as stream:
    env = {k: v for k, v in os.environ.items() if k.startswith(("ANTHROPIC_", "OPENAI_", "LMG_", "GOOSE_"))}
    stream.write(json.dumps({"argv": sys.argv[1:], "env": env}) + "\\n")
print("lmg Connected")
"""


def shell_with(home: Path, *programs: str) -> stub.Shell:
    made = stub.shell(home)
    folder = home / "bin"
    folder.mkdir()
    for name in programs:
        (folder / name).write_text(PROGRAM)
        (folder / name).chmod(0o755)
    return stub.Shell(home, {**made.env, "PATH": f"{folder}:{made.env['PATH']}"})


def programs(name: str) -> list[str]:
    front = CLIENTS[name].front
    commands = [step.run[0] for step in front.apply if isinstance(step, CommandStep)]
    return sorted({*commands, *front.launch[:1]})


def touched(name: str, home: Path) -> list[Path]:
    paths = []
    # Any model will do: the paths do not depend on it.
    for step in render.render(CLIENTS[name], render.Values("http://127.0.0.1:1", "m")).steps:
        path = step.path if isinstance(step, FileStep | MergeStep) else None
        if path is not None:
            paths.append(home / path.removeprefix("~/"))
    return paths


def calls(home: Path) -> list[dict[str, object]]:
    log = home / "calls.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def tree(home: Path) -> dict[str, bytes]:
    skipped = {"bin", "state", "calls.jsonl"}
    return {
        str(path.relative_to(home)): path.read_bytes()
        for path in sorted(home.rglob("*"))
        if path.is_file() and path.relative_to(home).parts[0] not in skipped
    }


@pytest.mark.parametrize("name", CHANGING)
@pytest.mark.parametrize("there", [False, True], ids=["fresh", "with-a-file"])
async def test_a_client_is_set_up_once_and_undone_byte_for_byte(
    tmp_path: Path, name: str, there: bool
) -> None:
    shell = shell_with(tmp_path, *programs(name))
    merges = [step for step in CLIENTS[name].front.apply if isinstance(step, MergeStep)]
    if there:
        for step, path in zip(merges, touched(name, tmp_path), strict=False):
            path.parent.mkdir(parents=True)
            text = '{\n    "mine": "é"}' if step.format == "json" else "# mine\nmine: 1   # yes\n"
            path.write_text(text)
            path.chmod(0o640)
    before = tree(tmp_path)
    async with stub.served() as gateway:
        dry = await shell.here("connect", name, "--dry-run", "--json", "--url", gateway.url)
        assert tree(tmp_path) == before
        first = await shell.here("connect", name, "--yes", "--json", "--url", gateway.url)
        after = tree(tmp_path)
        second = await shell.here("connect", name, "--yes", "--json", "--url", gateway.url)
    assert (dry.code, first.code, second.code) == (0, 0, 0), first.out + first.err
    assert dry.json["changes"]
    assert first.json["done"] is True
    assert tree(tmp_path) == after
    for path in touched(name, tmp_path):
        assert gateway.url in path.read_text()
        if there and path.exists() and merges:
            assert stat.S_IMODE(path.stat().st_mode) == 0o640
    undone = await shell.here("disconnect", name, "--json")
    assert (undone.code, undone.json["left"]) == (0, [])
    assert tree(tmp_path) == before
    again = await shell.here("disconnect", name, "--json")
    assert again.json["was_connected"] is False


async def test_a_clients_own_program_is_run_once_and_told_to_undo(tmp_path: Path) -> None:
    shell = shell_with(tmp_path, "claude")
    async with stub.served() as gateway:
        await shell.lmg("connect", "claude-code", "--yes", "--url", gateway.url)
        await shell.lmg("connect", "claude-code", "--yes", "--url", gateway.url)
    added = [call["argv"] for call in calls(tmp_path) if "add" in str(call["argv"])]
    assert len(added) == 1
    assert f"{gateway.url}/mcp" in added[0]  # type: ignore[operator]  # a list, as JSON has it
    (tmp_path / ".claude.json").write_text("changed by its owner since")
    ran = await shell.lmg("disconnect", "claude-code")
    assert ran.code == 0
    assert calls(tmp_path)[-1]["argv"] == ["mcp", "remove", "--scope", "user", "lmg"]
    assert (tmp_path / ".claude.json").read_text() == "changed by its owner since"


async def test_a_file_that_its_owner_changed_since_loses_only_our_keys(tmp_path: Path) -> None:
    shell = shell_with(tmp_path)
    file = tmp_path / ".cursor" / "mcp.json"
    async with stub.served() as gateway:
        await shell.lmg("connect", "cursor", "--yes", "--url", gateway.url)
    data = json.loads(file.read_text())
    data["mcpServers"]["theirs"] = {"url": "x"}
    file.write_text(json.dumps(data))
    ran = await shell.lmg("disconnect", "cursor")
    assert ran.code == 0
    assert json.loads(file.read_text()) == {"mcpServers": {"theirs": {"url": "x"}}}


async def test_a_file_with_comments_is_left_to_its_owner(tmp_path: Path) -> None:
    shell = shell_with(tmp_path)
    file = tmp_path / ".cursor" / "mcp.json"
    file.parent.mkdir()
    file.write_text("// mine\n{}\n")
    async with stub.served() as gateway:
        ran = await shell.lmg("connect", "cursor", "--dry-run", "--url", gateway.url)
    assert "By hand" in ran.out
    assert '"lmg"' in ran.out
    assert file.read_text() == "// mine\n{}\n"


async def test_a_profile_that_is_somebodys_own_is_not_overwritten(tmp_path: Path) -> None:
    shell = shell_with(tmp_path, "codex")
    file = tmp_path / ".codex" / "lmg.config.toml"
    file.parent.mkdir()
    file.write_text("mine = true\n")
    async with stub.served() as gateway:
        ran = await shell.lmg("connect", "codex", "--yes", "--url", gateway.url)
    assert ran.code == 6
    assert file.read_text() == "mine = true\n"


async def test_without_a_person_or_yes_nothing_is_changed(tmp_path: Path) -> None:
    async with stub.served() as gateway:
        ran = await shell_with(tmp_path).lmg("connect", "cursor", "--url", gateway.url)
    assert ran.code == 6
    assert "+" in ran.err
    assert not (tmp_path / ".cursor").exists()


@pytest.mark.parametrize("name", BY_HAND)
async def test_a_client_that_only_a_person_can_set_up_shows_the_steps_and_the_snippet(
    tmp_path: Path, name: str
) -> None:
    shell = shell_with(tmp_path)
    async with stub.served() as gateway:
        person = await shell.here("connect", name, "--url", gateway.url)
        machine = await shell.here("connect", name, "--json", "--url", gateway.url)
    assert (person.code, machine.code) == (0, 0)
    assert "set up already" not in person.out
    steps = [change["what"] for change in machine.json["changes"]]
    assert len(steps) == len(CLIENTS[name].front.apply)
    assert set(machine.json["blocks"]) == set(CLIENTS[name].blocks)
    for shown in (*steps, *machine.json["blocks"].values()):
        assert shown.rstrip("\n") in person.out
    assert machine.json["done"] is False
    assert tree(tmp_path) == {}


async def test_what_is_left_to_a_person_is_said_again_when_connecting_again(
    tmp_path: Path,
) -> None:
    shell = shell_with(tmp_path)
    async with stub.served() as gateway:
        await shell.here("connect", "cline", "--yes", "--url", gateway.url)
        again = await shell.here("connect", "cline", "--yes", "--url", gateway.url)
    assert "Cline is set up already" in again.out
    assert "By hand: In the extension" in again.out


async def test_an_unknown_client_is_guessed(tmp_path: Path) -> None:
    ran = await shell_with(tmp_path).lmg("connect", "claude-cod", "--url", "http://127.0.0.1:9")
    assert ran.code == 5
    assert "claude-code" in ran.err


async def test_a_launched_client_gets_its_variables_and_arguments(tmp_path: Path) -> None:
    shell = shell_with(tmp_path, "claude")
    async with stub.served() as gateway:
        dry = await shell.lmg("launch", "claude-code", "--dry-run", "--url", gateway.url)
        ran = await shell.lmg(
            "launch", "claude-code", "--url", gateway.url, "--", "-p", "hi", LMG_API_KEY="canary-1"
        )
    assert f"ANTHROPIC_BASE_URL={gateway.url}" in dry.out
    assert (ran.code, ran.out) == (0, "lmg Connected\n")
    called = calls(tmp_path)[-1]
    assert called["argv"] == ["-p", "hi"]
    env = called["env"]
    assert isinstance(env, dict)
    assert env["ANTHROPIC_BASE_URL"] == gateway.url
    assert env["ANTHROPIC_AUTH_TOKEN"] == "canary-1"
    assert env["ANTHROPIC_DEFAULT_SONNET_MODEL"] == "tiny"


async def test_a_client_that_needs_its_profile_says_so(tmp_path: Path) -> None:
    async with stub.served() as gateway:
        ran = await shell_with(tmp_path, "codex").lmg("launch", "codex", "--url", gateway.url)
    assert ran.code == 1
    assert "lmg connect codex" in ran.err
