"""Whatever a client's files look like: connected once, taken back byte for byte, and never half written."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from local_model_gateway import paths
from local_model_gateway.connecting import whole_files
from recipes.front_matter import FileStep, MergeStep
from tests.cli import client_programs, stub
from tests.cli.client_programs import CHANGING, CLIENTS, path_of, programs, shell_with, steps, tree

ODD = {
    "json": b'\xef\xbb\xbf{\r\n\t// mine\r\n\t"mine": "\xc3\xa9", /* and yours */\r\n}',
    "yaml": b"\xef\xbb\xbf# mine\r\nmine: 1   # yes\r\nothers:\r\n    - \xc3\xa9\r\n",
}


def nothing(step: FileStep | MergeStep, path: Path) -> None:
    pass


def plain(step: FileStep | MergeStep, path: Path) -> None:
    if isinstance(step, MergeStep):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{\n    "mine": 1\n}' if step.format == "json" else "mine: 1\n")
        path.chmod(0o640)


def odd(step: FileStep | MergeStep, path: Path) -> None:
    if isinstance(step, MergeStep):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(ODD[step.format])


def linked(step: FileStep | MergeStep, path: Path) -> None:
    """As people do who keep their configuration in a repository."""
    if isinstance(step, MergeStep):
        kept = path.parent / "dotfiles" / path.name
        plain(step, kept)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(kept)


@pytest.mark.parametrize("name", CHANGING)
@pytest.mark.parametrize("before", [nothing, plain, odd, linked])
async def test_a_client_is_set_up_once_and_undone_byte_for_byte(
    tmp_path: Path, name: str, before: Callable[[FileStep | MergeStep, Path], None]
) -> None:
    shell = shell_with(tmp_path, *programs(name))
    for step in steps(name):
        before(step, path_of(name, step, tmp_path))
    as_it_was = tree(tmp_path)
    async with stub.served() as gateway:
        dry = await shell.here("connect", name, "--dry-run", "--json", "--url", gateway.url)
        assert tree(tmp_path) == as_it_was
        first = await shell.here("connect", name, "--yes", "--json", "--url", gateway.url)
        after = tree(tmp_path)
        second = await shell.here("connect", name, "--yes", "--json", "--url", gateway.url)
    assert (dry.code, first.code, second.code) == (0, 0, 0), first.out + first.err
    assert [one["do"] for one in dry.json["changes"]] == [
        one["do"] for one in first.json["changes"]
    ]
    assert (first.json["done"], second.json["done"]) == (True, True)
    assert tree(tmp_path) == after != as_it_was
    for step in steps(name):
        assert gateway.url in path_of(name, step, tmp_path).read_text()
    undone = await shell.here("disconnect", name, "--json")
    assert (undone.code, undone.json["left"], undone.json["notes"]) == (0, [], [])
    assert tree(tmp_path) == as_it_was
    again = await shell.here("disconnect", name, "--json")
    assert again.json["was_connected"] is False


@pytest.mark.parametrize("name", [one for one in CHANGING if steps(one)])
async def test_a_file_that_its_owner_changed_since_loses_only_our_part(
    tmp_path: Path, name: str
) -> None:
    shell = shell_with(tmp_path, *programs(name))
    merged = [step for step in steps(name) if isinstance(step, MergeStep)]
    async with stub.served() as gateway:
        await shell.here("connect", name, "--yes", "--json", "--url", gateway.url)
    for step in steps(name):
        path = path_of(name, step, tmp_path)
        line = "// theirs\n" if path.suffix == ".json" else "# theirs\n"
        path.write_text(line + path.read_text())
    undone = await shell.here("disconnect", name, "--json")
    for step in merged:
        text = path_of(name, step, tmp_path).read_text()
        assert "theirs" in text
        assert gateway.url not in text
    if merged:
        assert undone.code == 0
        assert "changed since" in undone.json["notes"][0]
    else:
        assert undone.code == 1
        assert "stays" in undone.json["left"][0]


async def test_what_its_owner_wrote_between_two_connects_is_never_lost(tmp_path: Path) -> None:
    shell, file = shell_with(tmp_path), tmp_path / ".cursor" / "mcp.json"
    async with stub.served() as one, stub.served() as other:
        await shell.here("connect", "cursor", "--yes", "--url", one.url)
        file.write_text(file.read_text().replace("{", '{"theirs": 1,', 1))
        await shell.here("connect", "cursor", "--yes", "--url", other.url)
    undone = await shell.here("disconnect", "cursor")
    assert undone.code == 0
    assert json.loads(file.read_text()) == {"theirs": 1}


async def test_an_entry_of_ours_that_was_made_by_hand_comes_back(tmp_path: Path) -> None:
    shell, file = shell_with(tmp_path), tmp_path / ".cursor" / "mcp.json"
    file.parent.mkdir()
    file.write_text('{"mcpServers": {"lmg": {"url": "http://old/mcp"}}}\n')
    async with stub.served() as gateway:
        await shell.here("connect", "cursor", "--yes", "--url", gateway.url)
    file.write_text(file.read_text() + "\n")
    await shell.here("disconnect", "cursor")
    assert json.loads(file.read_text()) == {"mcpServers": {"lmg": {"url": "http://old/mcp"}}}


async def test_a_file_that_cannot_be_merged_is_shown_and_left_alone(tmp_path: Path) -> None:
    shell, file = shell_with(tmp_path), tmp_path / ".cursor" / "mcp.json"
    file.parent.mkdir()
    file.write_text("[1, 2]\n")
    async with stub.served() as gateway:
        ran = await shell.here("connect", "cursor", "--yes", "--url", gateway.url)
    assert ran.code == 0
    assert "By hand" in ran.out
    assert '"lmg"' in ran.out
    assert file.read_text() == "[1, 2]\n"


async def test_a_file_that_is_read_only_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    shell, file = shell_with(tmp_path), tmp_path / ".cursor" / "mcp.json"
    file.parent.mkdir()
    file.write_text("{}")
    file.chmod(0o444)
    async with stub.served() as gateway:
        ran = await shell.here("connect", "cursor", "--yes", "--url", gateway.url)
    assert ran.code == 6
    assert "read-only" in ran.err
    assert "chmod u+w" in ran.err
    assert file.read_text() == "{}"


def test_a_file_that_this_user_may_not_write_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, real = tmp_path.resolve() / "mcp.json", os.access
    file.write_text("{}")
    assert whole_files.why_not(file) is None
    monkeypatch.setattr(os, "access", lambda path, mode: path != file and real(path, mode))
    assert "check who owns it" in str(whole_files.why_not(file))


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes what it likes")
def test_a_link_to_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    file.symlink_to("/etc/passwd")
    assert str(whole_files.why_not(file)).startswith(f"{paths.shown(file)} cannot be written to")


async def test_a_file_that_was_made_read_only_since_stays_when_undoing(tmp_path: Path) -> None:
    shell, file = shell_with(tmp_path), tmp_path / ".cursor" / "mcp.json"
    async with stub.served() as gateway:
        await shell.here("connect", "cursor", "--yes", "--url", gateway.url)
    file.chmod(0o444)
    refused = await shell.here("disconnect", "cursor")
    assert refused.code == 1
    assert file.exists()
    file.chmod(0o600)
    assert (await shell.here("disconnect", "cursor")).code == 0
    assert not file.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes among files here")
async def test_a_pipe_in_place_of_a_clients_file_is_not_waited_for(tmp_path: Path) -> None:
    shell, file = shell_with(tmp_path), tmp_path / ".cursor" / "mcp.json"
    file.parent.mkdir()
    os.mkfifo(file)
    async with stub.served() as gateway:
        ran = await shell.here("connect", "cursor", "--yes", "--url", gateway.url)
    assert ran.code == 6
    assert "is not a plain file" in ran.err
    assert file.is_fifo()


async def test_a_profile_that_is_somebodys_own_is_not_overwritten(tmp_path: Path) -> None:
    shell, file = shell_with(tmp_path, "codex"), tmp_path / ".codex" / "lmg.config.toml"
    file.parent.mkdir()
    file.write_text("mine = true\n")
    async with stub.served() as gateway:
        ran = await shell.here("connect", "codex", "--yes", "--url", gateway.url)
    assert ran.code == 6
    assert "not ours" in ran.err
    assert file.read_text() == "mine = true\n"


async def test_five_old_copies_are_kept_readable_for_their_owner_alone(tmp_path: Path) -> None:
    shell, file = shell_with(tmp_path), tmp_path / ".cursor" / "mcp.json"
    file.parent.mkdir()
    async with stub.served() as gateway:
        for number in range(8):
            file.write_text(f'{{"number": {number}}}')
            await shell.here("connect", "cursor", "--yes", "--url", gateway.url)
            await shell.here("disconnect", "cursor")
    folder = tmp_path / "state" / "local-model-gateway" / "connections"
    copies = sorted(folder.iterdir())
    assert [json.loads(one.read_text())["number"] for one in copies] == [3, 4, 5, 6, 7]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {one.stat().st_mode & 0o777 for one in copies} == {0o600}


async def test_the_copy_that_undoing_needs_is_never_dropped(tmp_path: Path) -> None:
    shell, file = shell_with(tmp_path), tmp_path / ".cursor" / "mcp.json"
    file.parent.mkdir()
    file.write_text('{"first": true}')
    for port in range(9001, 9010):
        url = f"http://127.0.0.1:{port}"
        ran = await shell.here("connect", "cursor", "--yes", "--url", url)
        assert ran.code == 0, ran.err
    await shell.here("disconnect", "cursor")
    assert file.read_text() == '{"first": true}'


async def test_an_entry_that_nobody_remembers_making_is_pointed_out(tmp_path: Path) -> None:
    shell, file = shell_with(tmp_path), tmp_path / ".cursor" / "mcp.json"
    async with stub.served() as gateway:
        await shell.here("connect", "cursor", "--yes", "--url", gateway.url)
    (tmp_path / "state").rename(tmp_path / "bin" / "state")
    said = await shell.here("disconnect", "cursor")
    assert said.code == 0
    assert "was not set up by us; nothing was changed" in said.out
    assert "By hand: take mcpServers.lmg out of" in said.out
    assert "lmg" in file.read_text()


# Ends the process where the test wants it: before or after the one step that replaces a file.
KILLED = """
import os, pathlib, signal, sys
from local_model_gateway import cli
where, *words = sys.argv[1:]
replace = pathlib.Path.replace
def replaced(self, target):
    if pathlib.Path(target).name != "mcp.json":
        return replace(self, target)
    if where == "after":
        replace(self, target)
    os.kill(os.getpid(), signal.SIGKILL)
pathlib.Path.replace = replaced
sys.exit(cli.run(words))
"""


@pytest.mark.parametrize("where", ["before", "after"])
async def test_a_kill_in_the_middle_leaves_the_old_file_or_the_new_one_and_can_be_undone(
    tmp_path: Path, where: str
) -> None:
    shell, file = shell_with(tmp_path), tmp_path / ".cursor" / "mcp.json"
    file.parent.mkdir()
    file.write_text('{"mine": 1}')
    url = "http://127.0.0.1:9"
    words = ["connect", "cursor", "--yes", "--url", url]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, where, *words],
        cwd=tmp_path,
        env=dict(shell.env),
        timeout=stub.LIMIT_S,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert (url in file.read_text()) is (where == "after")
    json.loads(file.read_text())
    undone = await shell.here("disconnect", "cursor", "--json")
    assert (undone.code, undone.json["was_connected"]) == (0, True)
    assert file.read_text() == '{"mine": 1}'


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to somebody else")
async def test_a_file_stays_its_owners(tmp_path: Path) -> None:
    shell, file = shell_with(tmp_path), tmp_path / ".cursor" / "mcp.json"
    file.parent.mkdir()
    file.write_text("{}")
    os.chown(file, 12345, 12346)
    async with stub.served() as gateway:
        await shell.here("connect", "cursor", "--yes", "--url", gateway.url)
    assert (file.stat().st_uid, file.stat().st_gid) == (12345, 12346)


def test_every_client_is_either_set_up_by_us_or_says_what_to_do() -> None:
    assert {*CHANGING, *client_programs.BY_HAND} == set(CLIENTS)
    assert len(client_programs.BY_HAND) <= len(CLIENTS) // 3
