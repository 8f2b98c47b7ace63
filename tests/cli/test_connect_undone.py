"""A connection is forgotten only once it is gone: what could not be taken back is said, and can be tried again."""

import json
import os
from pathlib import Path

import pytest

from local_model_gateway.connecting import connections
from local_model_gateway.connecting.connection_book import Book
from tests.cli import stub
from tests.cli.client_programs import PROGRAM, shell_with

# A client's program that takes nothing out while a file says so, and adds nothing twice.
STUBBORN = PROGRAM.replace(
    'elif argv[:2] == ["mcp", "add"]:',
    """elif argv[:2] == ["mcp", "remove"] and (home / "bin" / "stuck").exists():
    sys.exit("the settings are locked")
elif argv[:2] == ["mcp", "add"] and "lmg" in servers:
    sys.exit("lmg already exists")
elif argv[:2] == ["mcp", "add"]:""",
)


async def test_connecting_again_that_fails_keeps_the_first_connection_in_mind(
    tmp_path: Path,
) -> None:
    shell, kept = shell_with(tmp_path, "claude"), tmp_path / ".claude.json"
    (tmp_path / "bin" / "claude").write_text(STUBBORN)
    kept.write_text('{"mine": 1}')
    async with stub.served() as one, stub.served() as other:
        await shell.here("connect", "claude-code", "--yes", "--url", one.url)
        (tmp_path / "bin" / "stuck").touch()
        failed = await shell.here("connect", "claude-code", "--yes", "--url", other.url)
    assert failed.code == 1
    assert "already exists" in failed.err
    (tmp_path / "bin" / "stuck").unlink()
    undone = await shell.here("disconnect", "claude-code", "--json")
    assert (undone.code, undone.json["was_connected"]) == (0, True)
    assert kept.read_text() == '{"mine": 1}'


def logging_to(log: Path, word: str) -> tuple[str, ...]:
    return ("sh", "-c", f"echo {word} >> '{log}'")


def two_steps(log: Path, first: str, second: str) -> list[connections.Change]:
    return [
        connections.Change(
            "run", word, run=logging_to(log, f"+{word}"), undo=logging_to(log, f"-{word}")
        )
        for word in (first, second)
    ]


def test_a_recipe_of_two_commands_undoes_those_of_before_and_not_its_own(tmp_path: Path) -> None:
    book, log = Book(tmp_path / "state"), tmp_path / "log"
    connections.apply("x", two_steps(log, "a", "b"), book)
    assert log.read_text().split() == ["+a", "+b"]
    connections.apply("x", two_steps(log, "c", "d"), book)
    assert log.read_text().split()[2:] == ["-b", "-a", "+c", "+d"]
    assert [step.undo for step in book.read("x")] == [
        list(logging_to(log, "-c")),
        list(logging_to(log, "-d")),
    ]


async def test_a_file_that_cannot_be_read_is_not_taken_for_one_that_is_gone(
    tmp_path: Path,
) -> None:
    shell, file = shell_with(tmp_path), tmp_path / ".cursor" / "mcp.json"
    file.parent.mkdir()
    file.write_text('{"mine": 1}')
    async with stub.served() as gateway:
        await shell.here("connect", "cursor", "--yes", "--url", gateway.url)
    away = file.rename(tmp_path / "away.json")
    file.mkdir()  # even root cannot read this
    refused = await shell.here("disconnect", "cursor")
    assert refused.code == 1
    assert ".cursor/mcp.json" in refused.err
    assert "as it was before" not in refused.out
    file.rmdir()
    away.rename(file)
    undone = await shell.here("disconnect", "cursor", "--json")
    assert (undone.code, undone.json["was_connected"]) == (0, True)
    assert file.read_text() == '{"mine": 1}'


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads what it likes")
async def test_a_file_that_this_user_may_not_read_stays_connected(tmp_path: Path) -> None:
    shell, file = shell_with(tmp_path), tmp_path / ".cursor" / "mcp.json"
    async with stub.served() as gateway:
        await shell.here("connect", "cursor", "--yes", "--url", gateway.url)
    file.chmod(0)
    refused = await shell.here("disconnect", "cursor")
    assert refused.code == 1
    assert "cannot be read" in refused.err
    file.chmod(0o600)
    undone = await shell.here("disconnect", "cursor", "--json")
    assert (undone.code, undone.json["was_connected"]) == (0, True)
    assert not file.exists()


@pytest.mark.parametrize("changed", [False, True])
async def test_without_the_copy_of_before_nothing_is_taken_out_and_a_person_is_told(
    tmp_path: Path, changed: bool
) -> None:
    shell, file = shell_with(tmp_path), tmp_path / ".cursor" / "mcp.json"
    file.parent.mkdir()
    old = '{"mcpServers": {"lmg": {"url": "http://old/mcp"}}}'
    file.write_text(old)
    async with stub.served() as gateway:
        await shell.here("connect", "cursor", "--yes", "--url", gateway.url)
    if changed:
        file.write_text(file.read_text() + "\n")
    ours = file.read_text()
    folder = tmp_path / "state" / "local-model-gateway" / "connections"
    (folder / "cursor.mcp.json.1").rename(tmp_path / "copy")
    refused = await shell.here("disconnect", "cursor")
    assert refused.code == 1
    assert "take mcpServers.lmg out by hand" in refused.err
    assert file.read_text() == ours
    (tmp_path / "copy").rename(folder / "cursor.mcp.json.1")
    assert (await shell.here("disconnect", "cursor")).code == 0
    assert json.loads(file.read_text()) == json.loads(old)


async def test_without_the_copy_of_before_what_its_owner_took_out_is_gone(tmp_path: Path) -> None:
    shell, file = shell_with(tmp_path), tmp_path / ".cursor" / "mcp.json"
    file.parent.mkdir()
    file.write_text('{"mine": 1}')
    async with stub.served() as gateway:
        await shell.here("connect", "cursor", "--yes", "--url", gateway.url)
    folder = tmp_path / "state" / "local-model-gateway" / "connections"
    (folder / "cursor.mcp.json.1").unlink()
    file.write_text('{"mine": 2}')
    assert (await shell.here("disconnect", "cursor")).code == 0
    assert file.read_text() == '{"mine": 2}'
    again = await shell.here("disconnect", "cursor", "--json")
    assert again.json["was_connected"] is False
