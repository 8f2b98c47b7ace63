"""Connecting a client: what a person sees before, what the client itself says after, and how to take it back."""

import re
from pathlib import Path

import pytest

from local_model_gateway import errors
from local_model_gateway.connecting import connections
from local_model_gateway.connecting.client_places import Places
from local_model_gateway.connecting.connection_book import Book
from recipes import render
from tests.cli import pseudo_terminal, stub
from tests.cli.client_programs import BY_HAND, CLIENTS, calls, tree
from tests.cli.client_programs import shell_with as shell_with
from tests.support import gateway as whole

COLOR = re.compile(r"\x1b\[[0-9;]*m")
ECHO = {"runtimes": {"tiny": {"engine": "embedded"}}}


def plain(text: str) -> str:
    return COLOR.sub("", text)


async def test_a_person_sees_the_change_its_cost_and_what_the_client_says_of_it(
    tmp_path: Path,
) -> None:
    shell = shell_with(tmp_path, "claude")
    (tmp_path / ".claude.json").write_text("{}")
    async with whole.gateway(ECHO, tmp_path / "state") as here:
        here.folder.mkdir()
        await here.start()
        url = ("--url", here.url)
        ran = await pseudo_terminal.lmg(shell, "connect", "claude-code", *url, typed="\n")
    assert ran.code == 0, ran.out
    assert re.fullmatch(
        rf"""Claude Code 2\.1\.303

  This will run    claude mcp add --transport http --scope user lmg {here.url}/mcp
  It changes       ~/\.claude\.json \(backup kept\)
  It adds          16 tools, about 1,\d00 tokens

Go ahead\? \[Y/n\] \n*✓ connected: Claude Code says "Status: lmg Connected"
  Undo: lmg disconnect claude-code
""",
        plain(ran.out).lstrip("\n"),
    ), plain(ran.out)
    assert "\x1b[32m✓" in ran.out
    undone = await pseudo_terminal.lmg(shell, "disconnect", "claude-code", *url)
    assert plain(undone.out) == "✓ Claude Code is as it was before\n"
    assert (tmp_path / ".claude.json").read_text() == "{}"


async def test_a_program_gets_one_object_with_all_of_it(tmp_path: Path) -> None:
    shell = shell_with(tmp_path, "claude")
    async with whole.gateway(ECHO, tmp_path / "state") as here:
        here.folder.mkdir()
        await here.start()
        ran = await shell.lmg("connect", "claude-code", "--yes", "--json", "--url", here.url)
        keyless = await shell.lmg("connect", "codex", "--yes", "--json", "--url", here.url)
    said = ran.json
    assert ran.err == ""
    assert said["schema"] == "lmg.connect/1"
    assert (said["client"], said["version"], said["done"]) == ("claude-code", "2.1.303", True)
    assert said["changes"] == [
        {
            "do": "run",
            "what": f"claude mcp add --transport http --scope user lmg {here.url}/mcp",
            "diff": "",
        }
    ]
    assert said["tools"]["count"] == 16
    assert 800 <= said["tools"]["about_tokens"] <= 2500
    assert (said["reported"], said["not_verified"]) == (["Status: lmg Connected"], [])
    # This gateway asks for no key, so nobody has to set one for a client to work.
    assert said["secrets"] == keyless.json["secrets"] == {}
    assert "LMG_API_KEY" not in (tmp_path / ".codex" / "lmg.config.toml").read_text()
    assert "wants a model with 65,536 tokens" in keyless.json["warnings"][0]


async def test_a_gateway_with_keys_has_clients_name_the_variable(tmp_path: Path) -> None:
    shell, key = shell_with(tmp_path, "claude"), {"LMG_API_KEY": "k" * 40}
    async with stub.served() as gateway:  # it does not say that no key is needed
        words = ("--yes", "--url", gateway.url)
        ran = await shell.here("connect", "claude-code", "--json", *words, **key)
        cursor = await shell.here("connect", "cursor", *words, **key)
    assert calls(tmp_path)[0]["argv"][-2:] == [  # type: ignore[index]  # a list, as JSON has it
        "--header",
        "Authorization: Bearer ${LMG_API_KEY}",
    ]
    assert ran.json["secrets"] == {
        "LMG_API_KEY": "Claude Code reads it from the environment when it connects"
    }
    assert "LMG_API_KEY" in cursor.out
    everything = ran.out + cursor.out + (tmp_path / ".cursor" / "mcp.json").read_text()
    assert "k" * 40 not in everything


async def test_a_client_that_is_too_old_is_told_of_before(tmp_path: Path) -> None:
    shell = shell_with(tmp_path)
    old = tmp_path / "bin" / "codex"
    old.write_text("#!/bin/sh\necho codex-cli 0.99.1\n")
    old.chmod(0o755)
    async with stub.served() as gateway:
        ran = await shell.here("connect", "codex", "--dry-run", "--url", gateway.url)
    assert ran.out.startswith("Codex CLI 0.99.1\n")
    assert "is older than 0.134, which this needs" in ran.out


async def test_a_clients_own_program_is_run_once_and_told_to_undo(tmp_path: Path) -> None:
    shell = shell_with(tmp_path, "claude")
    async with stub.served() as gateway:
        await shell.here("connect", "claude-code", "--yes", "--url", gateway.url)
        again = await shell.here("connect", "claude-code", "--yes", "--url", gateway.url)
    assert "set up already" in again.out
    added = [call["argv"] for call in calls(tmp_path) if "add" in str(call["argv"])]
    assert len(added) == 1
    file = tmp_path / ".claude.json"
    file.write_text(file.read_text().replace("{", '{"theirs": 1, ', 1))
    ran = await shell.here("disconnect", "claude-code")
    assert ran.code == 0
    assert ["mcp", "remove", "--scope", "user", "lmg"] in [one["argv"] for one in calls(tmp_path)]
    assert file.read_text() == '{"theirs": 1}'


async def test_another_address_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    shell = shell_with(tmp_path, "claude")
    async with stub.served() as one, stub.served() as other:
        await shell.here("connect", "claude-code", "--yes", "--url", one.url)
        await shell.here("connect", "claude-code", "--yes", "--url", other.url)
    verbs = [str(call["argv"][1]) for call in calls(tmp_path)]  # type: ignore[index]  # as above
    assert verbs == ["add", "get", "remove", "add", "get"]
    await shell.here("disconnect", "claude-code")
    assert "lmg" not in (tmp_path / ".claude.json").read_text()


async def test_what_its_owner_took_out_already_is_no_failure(tmp_path: Path) -> None:
    shell = shell_with(tmp_path, "claude")
    async with stub.served() as gateway:
        await shell.here("connect", "claude-code", "--yes", "--url", gateway.url)
    (tmp_path / ".claude.json").write_text('{"theirs": 1}')
    ran = await shell.here("disconnect", "claude-code")
    assert ran.code == 0
    assert "it was gone already" in ran.out
    assert (tmp_path / ".claude.json").read_text() == '{"theirs": 1}'


async def test_what_cannot_be_undone_now_can_be_undone_later(tmp_path: Path) -> None:
    shell = shell_with(tmp_path, "claude")
    async with stub.served() as gateway:
        await shell.here("connect", "claude-code", "--yes", "--url", gateway.url)
    file, program = tmp_path / ".claude.json", tmp_path / "bin" / "claude"
    file.write_text(file.read_text() + " ")
    away = program.rename(tmp_path / "bin" / "away")
    refused = await shell.here("disconnect", "claude-code")
    assert refused.code == 1
    assert "claude mcp remove" in refused.err
    away.rename(program)
    assert (await shell.here("disconnect", "claude-code")).code == 0
    assert "lmg" not in file.read_text()


async def test_a_program_that_fails_is_quoted_and_nothing_is_remembered(tmp_path: Path) -> None:
    shell = shell_with(tmp_path)
    broken = tmp_path / "bin" / "claude"
    broken.write_text("#!/bin/sh\necho the disk is full >&2\nexit 3\n")
    broken.chmod(0o755)
    async with stub.served() as gateway:
        ran = await shell.here("connect", "claude-code", "--yes", "--url", gateway.url)
    assert ran.code == 1
    assert "the disk is full" in ran.err
    again = await shell.here("disconnect", "claude-code", "--json")
    assert again.json["was_connected"] is False


async def test_a_client_that_does_not_show_it_yet_is_not_called_connected(tmp_path: Path) -> None:
    shell = shell_with(tmp_path)
    deaf = tmp_path / "bin" / "gemini"
    deaf.write_text("#!/bin/sh\necho No MCP servers configured.\n")
    deaf.chmod(0o755)
    async with stub.served() as gateway:
        ran = await shell.here("connect", "gemini-cli", "--yes", "--url", gateway.url)
    assert ran.code == 0
    assert "connected:" not in ran.out
    assert "! `gemini mcp list` does not show it yet" in ran.out


async def test_without_a_person_or_yes_nothing_is_changed(tmp_path: Path) -> None:
    async with stub.served() as gateway:
        ran = await shell_with(tmp_path).here("connect", "cursor", "--url", gateway.url)
    assert ran.code == 6
    assert "+" in ran.err
    assert "--yes" in ran.err
    assert not (tmp_path / ".cursor").exists()


def test_a_file_that_changed_between_being_shown_and_written_is_left_alone(tmp_path: Path) -> None:
    made = render.render(CLIENTS["cursor"], render.Values("http://127.0.0.1:1", "m"))
    book, file = Book(tmp_path / "state"), tmp_path / ".cursor" / "mcp.json"
    changes = connections.plan(made, Places(tmp_path), book.read("cursor"))
    file.parent.mkdir()
    file.write_text('{"theirs": 1}')
    with pytest.raises(errors.RefusedByGateway, match="look again: lmg connect cursor"):
        connections.apply("cursor", changes, book)
    assert file.read_text() == '{"theirs": 1}'
    assert book.read("cursor") == []


@pytest.mark.parametrize("name", BY_HAND)
async def test_a_client_that_only_a_person_can_set_up_shows_the_steps_and_how_to_undo_them(
    tmp_path: Path, name: str
) -> None:
    shell = shell_with(tmp_path)
    async with stub.served() as gateway:
        person = await shell.here("connect", name, "--url", gateway.url)
        again = await shell.here("connect", name, "--url", gateway.url)
        machine = await shell.here("connect", name, "--json", "--url", gateway.url)
    assert (person.code, again.out, machine.code) == (0, person.out, 0)
    assert "set up already" not in person.out
    steps = [change["what"] for change in machine.json["changes"]]
    assert len(steps) == len(CLIENTS[name].front.apply)
    assert set(machine.json["blocks"]) == set(CLIENTS[name].blocks)
    for shown in (*steps, *machine.json["blocks"].values()):
        assert shown.rstrip("\n") in person.out
    assert machine.json["done"] is False
    undone = await shell.here("disconnect", name)
    assert undone.code == 0
    assert "nothing was changed" in undone.out
    by_hand = (await shell.here("disconnect", name, "--json")).json["by_hand"]
    assert len(by_hand) == len(steps)
    assert all(f"By hand: {text}" in undone.out for text in by_hand)
    assert tree(tmp_path) == {}


async def test_what_is_left_to_a_person_is_said_again_when_connecting_again(
    tmp_path: Path,
) -> None:
    shell = shell_with(tmp_path)
    async with stub.served() as gateway:
        await shell.here("connect", "cline", "--yes", "--url", gateway.url)
        again = await shell.here("connect", "cline", "--yes", "--url", gateway.url)
    assert "Cline is set up already; nothing was changed" in again.out
    assert "By hand          In the extension" in again.out


@pytest.mark.parametrize(
    ("name", "variable", "file"),
    [
        ("codex", "CODEX_HOME", "lmg.config.toml"),
        ("gemini-cli", "GEMINI_CLI_HOME", ".gemini/settings.json"),
        ("opencode", "XDG_CONFIG_HOME", "opencode/opencode.json"),
        ("continue", "CONTINUE_GLOBAL_DIR", "assistants/lmg.yaml"),
    ],
)
async def test_a_client_whose_folder_was_moved_is_found_there(
    tmp_path: Path, name: str, variable: str, file: str
) -> None:
    shell = shell_with(tmp_path, "cn")
    moved = tmp_path / "elsewhere"
    env = {variable: str(moved)}
    async with stub.served() as gateway:
        words = ("connect", name, "--yes", "--url", gateway.url)
        assert (await shell.here(*words, **env)).code == 0
        if name == "continue":
            url = ("--url", gateway.url)
            await shell.lmg("launch", name, *url, CONTINUE_GLOBAL_DIR=str(moved))
            assert calls(tmp_path)[-1]["argv"] == ["--config", str(moved / file)]
    assert gateway.url in (moved / file).read_text()
    # What was done is undone where it was done, whatever the variable says by then.
    assert (await shell.here("disconnect", name)).code == 0
    assert not moved.exists()


async def test_with_no_gateway_running_a_client_can_be_connected_still(tmp_path: Path) -> None:
    shell = shell_with(tmp_path)
    ran = await shell.here("connect", "cursor", "--yes", "--json", "--url", "http://127.0.0.1:9")
    assert (ran.code, ran.json["done"], ran.json["tools"]) == (0, True, None)


async def test_without_a_name_the_clients_of_this_machine_are_shown(tmp_path: Path) -> None:
    shell = shell_with(tmp_path, "claude", "codex")
    async with stub.served() as gateway:
        await shell.here("connect", "codex", "--yes", "--url", gateway.url)
    person, machine = await shell.here("connect"), await shell.here("connect", "--json")
    assert re.search(r"^lmg connect claude-code +Claude Code$", person.out, re.MULTILINE)
    assert re.search(r"^lmg disconnect codex +Codex CLI +connected$", person.out, re.MULTILINE)
    assert {one["id"]: one["connected"] for one in machine.json["clients"]} == {
        "claude-code": False,
        "codex": True,
    }


async def test_an_unknown_client_is_guessed(tmp_path: Path) -> None:
    ran = await shell_with(tmp_path).here("connect", "claude-cod", "--url", "http://127.0.0.1:9")
    assert ran.code == 5
    assert "claude-code" in ran.err


async def test_recipes_are_listed_by_what_one_does_with_them(tmp_path: Path) -> None:
    shell = shell_with(tmp_path)
    listed = await shell.here("recipes")
    assert "Clients   lmg connect NAME" in listed.out
    assert re.search(r"^  cursor +Gateway tools in Cursor", listed.out, re.MULTILINE)
    known = (await shell.here("recipes", "list", "--json")).json
    assert known["schema"] == "lmg.recipes/1"
    assert set(CLIENTS) <= {one["id"] for one in known["recipes"]}


@pytest.mark.parametrize("name", CLIENTS)
async def test_a_recipe_is_shown_as_a_page_and_as_data(tmp_path: Path, name: str) -> None:
    shell = shell_with(tmp_path)
    where = ("--url", "http://127.0.0.1:9999")
    page = await shell.here("recipes", "show", name, *where)
    data = (await shell.here("recipes", "show", name, "--json", *where)).json
    assert "```" not in page.out
    assert f"lmg connect {name}" in page.out
    assert data["schema"] == "lmg.recipe/1"
    for step in data["steps"]:
        assert step in page.out
    for text in data["blocks"].values():
        assert all(line.strip() in page.out for line in text.splitlines())


async def test_a_program_that_is_not_there_is_said_before_anybody_agrees(tmp_path: Path) -> None:
    shell = shell_with(tmp_path)
    async with stub.served() as gateway:
        ran = await pseudo_terminal.lmg(
            stub.Shell(shell.home, {**shell.env, "PATH": str(tmp_path / "bin")}),
            "connect",
            "claude-code",
            "--url",
            gateway.url,
            typed="y\n",
        )
    assert ran.code == 5
    assert "claude is not on the PATH" in ran.out
    assert "Go ahead?" not in ran.out
