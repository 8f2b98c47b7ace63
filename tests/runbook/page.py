"""The runbook as a program sees it: blocks of shell, what each must lead to, and what may remain at the end."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "agent-install.md"

_HEADING = re.compile(r"^## (.+)$")
_FENCE = re.compile(r"^```sh((?: [a-z]+)*)$")
_EXPECTED = re.compile(r"^<!-- expect: (\S+) (=|!=|>) (.+) -->$")
_LEFT = re.compile(r"^<!-- leaves: (.+) -->$")
_COMMENT = re.compile(r"^<!-- (expect|leaves)")


@dataclass(frozen=True, slots=True)
class Expectation:
    """`path = value`: what the block's JSON, or its exit code, must be."""

    path: str
    operator: str
    value: str

    def __str__(self) -> str:
        return f"{self.path} {self.operator} {self.value}"


@dataclass(frozen=True, slots=True)
class Block:
    """One block of shell, as it stands on the page."""

    section: str
    line: int
    marks: frozenset[str]
    script: str
    expected: tuple[Expectation, ...]

    @property
    def name(self) -> str:
        """Where to find it, and how it begins."""
        return f"{self.section}, line {self.line}: {self.script.splitlines()[0]}"


@dataclass(frozen=True, slots=True)
class Runbook:
    """The whole page."""

    blocks: tuple[Block, ...]
    leaves: tuple[str, ...]
    """What may remain after the last block; `~` is the home."""


def read(text: str) -> Runbook:
    """Raises `ValueError` for a fence or a comment that would silently be passed over."""
    blocks: list[Block] = []
    leaves: list[str] = []
    section, lines = "", iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if heading := _HEADING.match(line):
            section = heading[1]
        elif fence := _FENCE.match(line):
            script = "\n".join(_until_fence(lines))
            blocks.append(Block(section, number, frozenset(fence[1].split()), script, ()))
        elif line.startswith("```"):
            raise ValueError(f"line {number}: only `sh` blocks are followed, not {line!r}")
        elif expected := _EXPECTED.match(line):
            last = blocks.pop()
            wanted = (*last.expected, Expectation(expected[1], expected[2], expected[3]))
            blocks.append(Block(last.section, last.line, last.marks, last.script, wanted))
        elif left := _LEFT.match(line):
            leaves.append(left[1])
        elif _COMMENT.match(line):
            raise ValueError(f"line {number}: {line!r} is not understood")
    return Runbook(tuple(blocks), tuple(leaves))


def _until_fence(lines: Iterator[tuple[int, str]]) -> Iterator[str]:
    for _, line in lines:
        if line == "```":
            return
        yield line
    raise ValueError("a block has no end")


def differences(block: Block, exit_code: int, said: str) -> list[str]:
    """What is not as the page says; an exit code that it does not speak of must be 0."""
    wanted = block.expected
    if not any(one.path == "exit" for one in wanted):
        wanted = (Expectation("exit", "=", "0"), *wanted)
    found: list[str] = []
    for one in wanted:
        try:
            value = exit_code if one.path == "exit" else at(json.loads(said), one.path)
        except (ValueError, LookupError):
            found.append(f"{one}: not there")
            continue
        if not _holds(value, one):
            found.append(f"{one}: it is {value!r}")
    return found


def at(value: Any, path: str) -> Any:  # Any: JSON
    """`a.b` of nested objects; in a list, the member with that `id`."""
    for step in path.split("."):
        if isinstance(value, list):
            value = {one["id"]: one for one in value}[step]
        elif isinstance(value, dict):
            value = value[step]
        else:
            raise LookupError(step)
    return value


def _holds(value: Any, wanted: Expectation) -> bool:  # Any: JSON
    choices = wanted.value.split(" or ")
    text = value if isinstance(value, str) else json.dumps(value)
    match wanted.operator:
        case "=":
            return text in choices
        case "!=":
            return text not in choices
        case _:
            return isinstance(value, int | float) and value > float(wanted.value)
