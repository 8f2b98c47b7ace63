"""From an id, however it is written, to one tool."""

import pytest

from catalog.errors import UnknownServer, UnknownTool
from catalog.library import Library
from catalog.model import ServerSnapshot, Snapshot
from tests.catalog.test_store import tool


@pytest.fixture(scope="module")
def library() -> Library:
    names = {"github": ["create_issue", "get_me"], "gitlab": ["create_issue"], "a.b": ["c"]}
    return Library(
        Snapshot(
            {
                server: ServerSnapshot(server, tuple(tool(server, name) for name in tools))
                for server, tools in names.items()
            }
        )
    )


@pytest.mark.parametrize(
    "written",
    [
        "github:get_me",
        "github.get_me",
        "github/get_me",
        "mcp__github__get_me",
        "github__get_me",
        "get_me",
    ],
)
def test_every_way_to_write_an_id_leads_to_its_tool(library: Library, written: str) -> None:
    assert library.resolve(written).tool_id == "github:get_me"


def test_a_dot_in_a_servers_name_does_no_harm(library: Library) -> None:
    assert library.resolve("a.b.c").tool_id == "a.b:c"


def test_a_name_that_two_servers_have_is_not_guessed(library: Library) -> None:
    with pytest.raises(UnknownTool) as unknown:
        library.resolve("create_issue")
    assert set(unknown.value.nearest) == {"github:create_issue", "gitlab:create_issue"}


def test_a_misspelt_id_comes_with_the_nearest(library: Library) -> None:
    with pytest.raises(UnknownTool, match="did you mean github:create_issue"):
        library.resolve("github:creat_isue")


def test_a_server_is_known_in_any_case_and_a_misspelt_one_is_not(library: Library) -> None:
    assert library.server("GitHub") == "github"
    with pytest.raises(UnknownServer, match="did you mean github"):
        library.server("githb")
