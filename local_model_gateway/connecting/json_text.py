"""Edits JSON as text: what is set or taken out moves, and every other character stays. Comments may be there."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_BLANK = re.compile(r"(?:\s|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_SAME_LINE = re.compile(r"(?:[ \t]|/\*[^\n]*?\*/)*(?://[^\r\n]*)?")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_WORD = re.compile(r"[-+.\w]+")
_INDENT = re.compile(r"\n([ \t]+)[^\s/*]")


@dataclass(frozen=True, slots=True)
class Node:
    """One value and where it stands."""

    start: int
    end: int
    value: Any  # JSON
    members: "tuple[Member, ...] | None" = None
    """An object's, in their order."""

    def member(self, key: str) -> "Member | None":
        """The one of this name."""
        return next((one for one in self.members or () if one.key == key), None)


@dataclass(frozen=True, slots=True)
class Member:
    """One key of an object with its value."""

    key: str
    start: int
    node: Node
    comma: int | None
    """Where the comma behind it stands."""


def parse(text: str) -> Node:
    """The whole text; raises `ValueError` where it is no JSON, holds a key twice, or is too deep."""
    try:
        node, at = _value(text, _blank(text, 0))
    except (IndexError, RecursionError):
        raise ValueError("it ends too early, or is too deep") from None
    if _blank(text, at) != len(text):
        raise ValueError(f"more than one value, at {at}")
    return node


def put(text: str, path: Sequence[str], value: object) -> str:
    """`text` with this value at this path."""
    inside = parse(text)
    for depth, part in enumerate(path):
        found = inside.member(part)
        if found is None:
            return _insert(text, inside, part, nested(path[depth + 1 :], value))
        inside = found.node
        if inside.value is None:
            value = nested(path[depth + 1 :], value)
            break
    dumped = _dumped(value, text, _indent_at(text, inside.start))
    return text[: inside.start] + dumped + text[inside.end :]


def cut(text: str, path: Sequence[str]) -> str:
    """`text` without the member at this path; the same where there is none."""
    holder = parse(text)
    for part in path[:-1]:
        found = holder.member(part)
        if found is None:
            return text
        holder = found.node
    member = holder.member(path[-1])
    return text if member is None else _remove(text, holder, member)


def nested(path: Sequence[str], value: object) -> object:
    """The value inside the objects that this path goes through."""
    for key in reversed(path):
        value = {key: value}
    return value


def _value(text: str, at: int) -> tuple[Node, int]:
    match text[at]:
        case "{":
            return _object(text, at)
        case "[":
            return _array(text, at)
    found = _STRING.match(text, at) or _WORD.match(text, at)
    if found is None:
        raise ValueError(f"no value at {at}")
    return Node(at, found.end(), json.loads(found[0])), found.end()


def _object(text: str, start: int) -> tuple[Node, int]:
    members: list[Member] = []
    at = _blank(text, start + 1)
    while text[at] != "}":
        if members and members[-1].comma is None:
            raise ValueError(f"no comma before {at}")
        found = _STRING.match(text, at)
        if found is None:
            raise ValueError(f"no key at {at}")
        key, begun = json.loads(found[0]), at
        at = _blank(text, found.end())
        if text[at] != ":":
            raise ValueError(f"no colon at {at}")
        node, at = _value(text, _blank(text, at + 1))
        at = _blank(text, at)
        comma = at if text[at] == "," else None
        members.append(Member(key, begun, node, comma))
        at = at if comma is None else _blank(text, at + 1)
    value = {one.key: one.node.value for one in members}
    if len(value) != len(members):
        raise ValueError("a key twice")
    return Node(start, at + 1, value, tuple(members)), at + 1


def _array(text: str, start: int) -> tuple[Node, int]:
    values: list[Any] = []
    at, comma = _blank(text, start + 1), True
    while text[at] != "]":
        if not comma:
            raise ValueError(f"no comma before {at}")
        node, at = _value(text, at)
        values.append(node.value)
        at = _blank(text, at)
        comma = text[at] == ","
        at = _blank(text, at + 1) if comma else at
    return Node(start, at + 1, values), at + 1


def _insert(text: str, holder: Node, key: str, value: object) -> str:
    """As the last member, written as the others are."""
    if holder.members is None:
        raise ValueError(f"no object to put {key} into")
    newline, outer = _newline(text), _indent_at(text, holder.start)
    if not holder.members:
        inner = outer + _unit(text)
        kept = text[holder.start + 1 : holder.end - 1].rstrip()
        entry = f"{json.dumps(key)}: {_dumped(value, text, inner)}"
        made = f"{{{kept}{newline}{inner}{entry}{newline}{outer}}}"
        return text[: holder.start] + made + text[holder.end :]
    first, last = holder.members[0], holder.members[-1]
    behind = last.node.end if last.comma is None else last.comma + 1
    if "\n" not in text[holder.start : holder.end]:
        entry = f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}"
        made = f",{entry}" if last.comma is None else f"{entry},"
        return text[:behind] + made + text[behind:]
    own_line = text[text.rfind("\n", 0, first.start) + 1 : first.start]
    inner = own_line if not own_line.strip() else outer + _unit(text)
    same_line = _SAME_LINE.match(text, behind)
    place = same_line.end() if same_line is not None else behind
    if text[place : place + 1] not in ("", "\r", "\n"):
        place = behind
    comma, own = (",", "") if last.comma is None else ("", ",")
    entry = f"{newline}{inner}{json.dumps(key)}: {_dumped(value, text, inner)}{own}"
    return text[:behind] + comma + text[behind:place] + entry + text[place:]


def _remove(text: str, holder: Node, member: Member) -> str:
    """Its lines, its comma, and nothing else."""
    members = holder.members or ()
    if len(members) == 1:
        end = member.node.end if member.comma is None else member.comma + 1
        inner = text[holder.start + 1 : member.start] + text[end : holder.end - 1]
        kept = f"{{{inner}}}" if inner.strip() else "{}"
        return text[: holder.start] + kept + text[holder.end :]
    end = member.node.end if member.comma is None else member.comma + 1
    start = member.start
    line = text.rfind("\n", 0, start) + 1
    if text[line:start].strip() == "" and text[end : end + 2].lstrip("\r")[:1] == "\n":
        start, end = line, text.index("\n", end) + 1
    elif member is members[-1]:
        start = len(text[:start].rstrip())
    else:
        end += len(text[end:]) - len(text[end:].lstrip(" \t"))
    rest = text[:start] + text[end:]
    before = members[members.index(member) - 1].comma if member is members[-1] else None
    if member.comma is None and before is not None:
        rest = rest[:before] + rest[before + 1 :]
    return rest


def _dumped(value: object, like: str, indent: str) -> str:
    """The value on lines of its own, indented as the file is."""
    lines = json.dumps(value, indent=_unit(like), ensure_ascii=False).split("\n")
    return (_newline(like) + indent).join(lines)


def _unit(text: str) -> str:
    found = _INDENT.search(text)
    return found[1] if found else "  "


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _indent_at(text: str, at: int) -> str:
    """The white space that the line of this place begins with."""
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _blank(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return at if found is None else found.end()
