"""Every client recipe: complete, rendered as recorded, read back to the same connection, and without a key."""

import ast
import dataclasses
import json
import re
from pathlib import Path

import pytest

from recipes import loader, pasted, render
from recipes.front_matter import CommandStep, EnvStep, FileStep, Kind, MergeStep
from tests.recipes import golden

WANTED = {
    "claude-code",
    "claude-desktop",
    "codex",
    "gemini-cli",
    "qwen-code",
    "opencode",
    "hermes",
    "continue",
    "cline",
    "copilot-cli",
    "aider",
    "crush",
    "droid",
    "roo-code",
    "junie",
    "llamaindex",
    "cursor",
    "vscode",
    "windsurf",
    "zed",
    "goose",
    "open-webui",
    "lm-studio",
    "openai-agents",
    "pydantic-ai",
    "langgraph",
    "generic-openai",
    "generic-mcp",
}
CLIENTS = loader.every(Kind.CLIENT)
TARGET = pasted.Target("http://127.0.0.1:8787", ("qwen3-32b",), requires_key=False)
WITH_MCP = [id_ for id_, one in CLIENTS.items() if one.front.mcp is not None]
WITH_MODEL = [id_ for id_, one in CLIENTS.items() if one.front.openai is not None]


def rendered(id_: str) -> render.Rendered:
    return render.render(CLIENTS[id_], golden.VALUES)


def mcp_text(id_: str) -> str:
    shape = CLIENTS[id_].front.mcp
    assert shape is not None
    return rendered(id_).blocks[shape.block]


def test_every_client_that_was_promised_has_a_recipe() -> None:
    assert set(CLIENTS) >= WANTED


def test_the_readme_names_every_client() -> None:
    page = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    named = page.split("**Works with**")[1].split("\n\n")[0].replace("\n", " ")
    titles = [one.front.title for id_, one in CLIENTS.items() if not id_.startswith("generic-")]
    assert [title for title in titles if title not in named] == []


def test_what_recipes_render_to_is_what_was_recorded() -> None:
    made = golden.everything()
    recorded = {one.name: one.read_text(encoding="utf-8") for one in golden.FOLDER.glob("*.txt")}
    assert made == recorded, "run `python -m tests.recipes.golden` and read the difference"


@pytest.mark.parametrize("id_", CLIENTS)
def test_nothing_is_left_to_fill_in_and_no_key_is_printed(id_: str) -> None:
    one = rendered(id_)
    everything = golden.text(one)
    for name in render.VARIABLES:
        assert f"${{{name}}}" not in everything
    assert "$$" not in everything
    assert not re.search(r"Bearer (?!\$|\{|\"|`)[A-Za-z0-9]{4,}", everything)


@pytest.mark.parametrize("id_", WITH_MCP)
def test_the_configuration_is_read_back_to_the_same_connection(id_: str) -> None:
    shape = CLIENTS[id_].front.mcp
    assert shape is not None
    text = mcp_text(id_)
    (found,) = pasted.connections(shape, pasted.tree(text, shape.format))
    connection, _ = found
    assert connection.name == "lmg"
    path = "" if shape.stdio else "/mcp"
    assert connection.url == f"http://127.0.0.1:8787{path}"
    for written in (connection.authorization, connection.bearer_env):
        assert written is None or "LMG_API_KEY" in written or "input:" in written
    assert pasted.check(CLIENTS[id_], text, TARGET) == []


@pytest.mark.parametrize("id_", WITH_MCP)
def test_without_a_key_no_variable_has_to_be_set_for_the_tools(id_: str) -> None:
    shape = CLIENTS[id_].front.mcp
    assert shape is not None
    values = dataclasses.replace(golden.VALUES, with_key=False)
    made = render.render(CLIENTS[id_], values)
    text = made.blocks[shape.block]
    assert "LMG_API_KEY" not in text
    (found,) = pasted.connections(shape, pasted.tree(text, shape.format))
    assert (found[0].authorization, found[0].bearer_env) == (None, None)
    assert pasted.check(CLIENTS[id_], text, TARGET) == []
    for step in made.steps:
        if isinstance(step, CommandStep):
            assert "" not in step.run
            assert "LMG_API_KEY" not in " ".join(step.run)


@pytest.mark.parametrize("id_", WITH_MODEL)
def test_the_provider_is_read_back_without_complaint(id_: str) -> None:
    shape = CLIENTS[id_].front.openai
    assert shape is not None
    text = rendered(id_).blocks[shape.block]
    assert pasted.check(CLIENTS[id_], text, TARGET) == []


@pytest.mark.parametrize("id_", CLIENTS)
def test_every_block_parses_in_its_language(id_: str) -> None:
    blocks = CLIENTS[id_].blocks
    for name, text in rendered(id_).blocks.items():
        match blocks[name].language:
            case "json" | "toml" | "yaml" as language:
                assert isinstance(pasted.tree(text, language), dict)
            case "python":
                ast.parse(text)
            case "sh" | "js":
                assert text.strip()
            case other:
                pytest.fail(f"nobody checks {other}")


@pytest.mark.parametrize("id_", CLIENTS)
def test_steps_touch_only_what_they_name_and_every_merge_says_what_it_adds(id_: str) -> None:
    one = rendered(id_)
    assert one.steps
    for step in one.steps:
        match step:
            case FileStep() | MergeStep():
                assert step.path.startswith("~/")
                assert ".." not in step.path
            case EnvStep():
                assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*", name) for name in step.set)
            case _:
                continue
        if isinstance(step, MergeStep):
            data = pasted.tree(one.blocks[step.block], step.format)
            for path in step.keys:
                place = data
                for part in path:
                    place = place[part]


@pytest.mark.parametrize(
    ("id_", "change", "code"),
    [
        ("windsurf", ("serverUrl", "url"), "wrong_key"),
        ("vscode", ('"servers"', '"mcpServers"'), "no_servers"),
        ("cline", ("streamableHttp", "streamable-http"), "wrong_type"),
        ("opencode", ('"remote"', '"local"'), "wrong_type"),
        ("opencode", ('"enabled": true', '"enabled": false'), "disabled"),
        ("codex", ('"responses"', '"chat"'), "wrong_type"),
        ("codex", ("8787/v1", "8787"), "wrong_path"),
        ("codex", ('model = "qwen3-32b"', 'model = "qwen"'), None),
        ("hermes", ("/mcp", "/v1"), "wrong_path"),
        ("claude-code", ("8787/mcp", "8787/mcp/"), "wrong_path"),
        ("claude-code", ("8787", "9999"), "wrong_address"),
        ("claude-code", ("http://", "https://"), "wrong_scheme"),
        ("claude-code", ("Bearer ", ""), "wrong_key_form"),
        ("claude-code", ('"lmg": {', '"x": {'), None),
        ("continue", ("requestOptions:\n      headers", "headers:\n      x"), "wrong_key"),
        ("claude-desktop", ('"args"', '"argv"'), "no_address"),
        ("claude-desktop", ("8787", "8787/mcp"), "wrong_path"),
        ("goose", ("type: streamable_http", "type: sse"), "wrong_type"),
        ("cursor", ("{", "["), "unreadable"),
    ],
)
def test_what_people_get_wrong_is_named(
    id_: str, change: tuple[str, str], code: str | None
) -> None:
    shape = CLIENTS[id_].front.mcp
    assert shape is not None
    text = mcp_text(id_)
    assert change[0] in text
    found = pasted.check(CLIENTS[id_], text.replace(*change), TARGET)
    assert code in [one.code for one in found] if code else found == []


def test_a_client_that_skips_addresses_is_told_of_the_bridge() -> None:
    text = json.dumps({"mcpServers": {"lmg": {"url": "http://127.0.0.1:8787/mcp"}}})
    found = pasted.check(CLIENTS["claude-desktop"], text, TARGET)
    assert any("lmg mcp-stdio" in one.message for one in found)


def test_a_key_in_the_file_is_noted_and_never_repeated() -> None:
    secret = "sk-very-secret-value"
    text = mcp_text("claude-code").replace("${LMG_API_KEY}", secret)
    needs_key = pasted.Target(TARGET.base_url, TARGET.aliases, requires_key=True)
    found = pasted.check(CLIENTS["claude-code"], text, needs_key)
    assert [one.code for one in found] == ["key_in_file"]
    assert secret not in repr(found)


def test_no_key_where_one_is_asked_for_is_an_error() -> None:
    needs_key = pasted.Target(TARGET.base_url, TARGET.aliases, requires_key=True)
    found = pasted.check(CLIENTS["zed"], mcp_text("zed"), needs_key)
    assert [one.code for one in found] == ["no_key"]


@pytest.mark.parametrize(
    ("format_", "text"),
    [
        ("json", "[" * 100_000),
        ("yaml", "a: &a [x]\nb: *a\n"),
        ("yaml", "key: sk-secret: oops\n"),
        ("json", "x" * 100_000),
        ("toml", "a = = 1"),
    ],
)
def test_a_hostile_text_is_refused_without_being_repeated(format_: str, text: str) -> None:
    with pytest.raises(pasted.Unreadable) as refused:
        pasted.tree(text, format_)
    assert "sk-secret" not in str(refused.value)
    assert len(str(refused.value)) < 300


def test_comments_and_trailing_commas_are_read_as_editors_do() -> None:
    text = '{// note\n "a": "http://x", /* b */ "c": [1, 2,],}'
    assert pasted.tree(text, "json") == {"a": "http://x", "c": [1, 2]}


def test_golden_files_are_not_left_over() -> None:
    assert {one.stem for one in Path(golden.FOLDER).glob("*.txt")} == set(CLIENTS)
