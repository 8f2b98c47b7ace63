"""A connection is forgotten only once it is gone: what could not be taken back is said, and can be tried again."""

from pathlib import Path

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
