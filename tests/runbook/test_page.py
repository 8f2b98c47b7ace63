"""The runbook is read as it is meant, and speaks of everything that can need an agent."""

import argparse
import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import local_model_gateway.app
import local_model_gateway.serve
from local_model_gateway import cli, errors
from local_model_gateway.doctor import catalogue
from tests.runbook import page

ROOT = Path(__file__).parents[2]
TEXT = page.PAGE.read_text(encoding="utf-8")
FAILURES = TEXT.partition("## 10. ")[2].partition("\n## 11. ")[0]
NOTHING_TO_DO = {"ok", "skip"}
ID = re.compile(r"[A-Z][A-Z0-9]+(?:-[A-Z0-9]+)*")


def doctor_ids() -> set[str]:
    """The ids of findings that are more than a good word, from the doctor's code and from its page."""
    troubleshooting = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    explained = set(re.findall(rf"^## ({ID.pattern})$", troubleshooting, re.MULTILINE))
    good: set[str] = set()
    bad: set[str] = set()
    package = ROOT / "local_model_gateway"
    for source in [*(package / "doctor").rglob("*.py"), package / "commands" / "doctor.py"]:
        for function, literal in _first_arguments(ast.parse(source.read_text(encoding="utf-8"))):
            if ID.fullmatch(literal) and (literal in explained or "-" in literal):
                (good if function in NOTHING_TO_DO else bad).add(literal)
    return bad | (explained - good)


def _first_arguments(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.args:
            for part in ast.walk(call.args[0]):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield call.func.id, part.value


def codes(kind: type[errors.GatewayError]) -> Iterator[tuple[str, int]]:
    """Every error of the command line and its exit code."""
    yield kind.code, kind.exit_code
    for below in kind.__subclasses__():
        yield from codes(below)


def rows(header: str) -> list[list[str]]:
    """The cells of the table that begins so."""
    table = FAILURES.partition(header)[2].partition("\n\n")[0]
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]
        for line in table.splitlines()[2:]
    ]


def test_every_finding_that_can_need_an_agent_has_a_row() -> None:
    listed = [name for row in rows("| finding |") for name in re.findall(r"`([^`]+)`", row[0])]
    assert len(doctor_ids()) > 30
    assert sorted(listed) == sorted(doctor_ids())


def test_what_the_doctor_asks_consent_for_the_page_does_too() -> None:
    asked = {
        name for row in rows("| finding |") if row[-1] for name in re.findall(r"`([^`]+)`", row[0])
    }
    assert set(catalogue.CONSENT) - asked == set()


def test_every_error_of_the_command_line_has_a_row_with_its_exit_code() -> None:
    assert local_model_gateway.app.StateRefused.code == "state_refused"
    listed = {
        (code, int(row[1])) for row in rows("| code |") for code in re.findall(r"`([^`]+)`", row[0])
    }
    assert listed == set(codes(errors.GatewayError))


def test_every_row_says_what_is_safe_or_what_to_ask() -> None:
    for row in [*rows("| finding |"), *rows("| code |")]:
        assert any(row[-2:]), row


def test_the_page_is_short_enough_to_be_read_as_a_whole() -> None:
    assert len(TEXT) < 16_000
    assert [block.section.partition(".")[0] for block in page.read(TEXT).blocks] == sorted(
        (block.section.partition(".")[0] for block in page.read(TEXT).blocks), key=int
    )


@pytest.mark.parametrize(
    ("comment", "holds"),
    [
        ("<!-- expect: ready = true -->", True),
        ("<!-- expect: name = tiny or small -->", True),
        ("<!-- expect: checks.GATEWAY.status = ok -->", True),
        ("<!-- expect: usage.tokens > 0 -->", True),
        ("<!-- expect: written = null -->", True),
        ("<!-- expect: exit = 0 or 1 -->", True),
        ("<!-- expect: name != tiny -->", False),
        ("<!-- expect: usage.tokens > 4 -->", False),
        ("<!-- expect: checks.OTHER.status = ok -->", False),
        ("<!-- expect: nowhere = 1 -->", False),
        ("<!-- expect: name.deeper = 1 -->", False),
        ("<!-- expect: exit = 0 -->", False),
    ],
)
def test_an_expectation_holds_or_not(comment: str, holds: bool) -> None:
    block = page.read(f"## 1. A\n```sh\ntrue\n```\n<!-- expect: exit = 1 or 0 -->\n{comment}\n")
    said = """{"ready": true, "name": "tiny", "written": null, "usage": {"tokens": 3},
               "checks": [{"id": "GATEWAY", "status": "ok"}]}"""
    assert (page.differences(block.blocks[0], 1, said) == []) is holds


@pytest.mark.parametrize(
    "text",
    [
        "```bash\ntrue\n```\n",
        "```sh\ntrue\n",
        "```sh\ntrue\n```\n<!-- expect: status ok -->\n",
        "<!-- leaves ~/x -->\n",
    ],
)
def test_what_would_be_passed_over_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"line|block"):
        page.read(text)


def quoted_commands() -> Iterator[list[str]]:
    """Every `lmg …` of the page, in its words and in its blocks."""
    scripts = [line for block in page.read(TEXT).blocks for line in block.script.splitlines()]
    for text in [*re.findall(r"`([^`\n]+)`", TEXT), *scripts]:
        for words in re.findall(r"(?:^|bin/)lmg ([a-z][^;&|]*)", text):
            yield words.split()


def test_every_command_of_the_page_has_its_verb_and_its_options() -> None:
    found = list(quoted_commands())
    assert len(found) > 25
    for verb, *words in found:
        assert verb in cli.VERBS, verb
        if verb == "mcp":
            continue  # a command line of its own
        module = importlib.import_module(f"local_model_gateway.commands.{cli.VERBS[verb].module}")
        parser = argparse.ArgumentParser()
        module.arguments(parser)
        known = parser.format_help() + " --json --config --url --help"
        for option in (word for word in words if word.startswith("--")):
            assert re.search(rf"{option}\b", known), f"lmg {verb} {option}"
