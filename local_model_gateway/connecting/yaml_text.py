"""Edits YAML as text: lines come and go, and comments, order and layout of all others stay."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from local_model_gateway.connecting import json_text


class NoPlace(ValueError):
    """The layout leaves no safe place for such lines."""


def parse(text: str) -> Any:  # Any: YAML data
    """The text as plain data; `ValueError` where it is no YAML."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        raise ValueError("it is not YAML that we can read") from None


def put(text: str, path: Sequence[str], value: object) -> str:
    """`text` with this value at this path, as the last entry of its mapping."""
    text = cut(text, path)
    node, depth = _deepest(text, path)
    value = json_text.nested(path[depth + 1 :], value)
    if node is None:
        return _appended(text, {path[0]: value})
    empty = _pairs(node).get(path[depth])
    if empty is not None:
        return _filled(text, node, path[depth], empty[1], value)
    if node.flow_style or not node.value:
        raise NoPlace
    column = node.value[0][0].start_mark.column
    return _inserted(text, _after(node), column, {path[depth]: value})


def cut(text: str, path: Sequence[str]) -> str:
    """`text` without what is at this path; a parent whose only entry it was stays, empty."""
    holder, depth = _deepest(text, path)
    if holder is None or depth != len(path) - 1 or path[-1] not in _pairs(holder):
        return text
    if holder.flow_style:
        raise NoPlace
    key, value = _pairs(holder)[path[-1]]
    if len(holder.value) == 1 and depth > 0:
        return _emptied(text, path[:-1], key, value)
    return _without(text, key, value)


def _appended(text: str, value: object) -> str:
    gap = "" if not text or text.endswith("\n") else _newline(text)
    return text + gap + "".join(_lines(value, 0, _newline(text)))


def _filled(text: str, holder: yaml.MappingNode, key: str, empty: yaml.Node, value: object) -> str:
    """An entry with nothing in it, `x:` or `x: {}`, gets its first lines."""
    if holder.flow_style or not _is_empty(empty):
        raise NoPlace
    start, end = empty.start_mark.index, empty.end_mark.index
    kept = text[:start].rstrip(" ") if end > start else text[:start]
    line = empty.start_mark.line + 1
    column = _pairs(holder)[key][0].start_mark.column + 2
    return _inserted(kept + text[end:], line, column, value)


def _inserted(text: str, line: int, column: int, value: object) -> str:
    lines, newline = text.splitlines(keepends=True), _newline(text)
    if lines and not lines[-1].endswith(("\n", "\r")):
        lines[-1] += newline
    return "".join([*lines[:line], *_lines(value, column, newline), *lines[line:]])


def _lines(value: object, column: int, newline: str) -> list[str]:
    dumped = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    return [" " * column + line + newline for line in dumped.splitlines()]


def _emptied(text: str, path: Sequence[str], key: yaml.Node, value: yaml.Node) -> str:
    """A parent that was there before us stays, with nothing in it."""
    holder, _ = _deepest(text, path)
    assert holder is not None
    name = _pairs(holder)[path[-1]][0]
    colon = text.index(":", name.end_mark.index)
    rest = _without(text, key, value)
    return f"{rest[: colon + 1]} {{}}{rest[colon + 1 :]}"


def _without(text: str, key: yaml.Node, value: yaml.Node) -> str:
    lines = text.splitlines(keepends=True)
    return "".join([*lines[: key.start_mark.line], *lines[_after(value) :]])


def _after(node: yaml.Node) -> int:
    """The line behind the last one of a value; comments that follow belong to what comes next."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(node, yaml.MappingNode) else last
    return int(node.end_mark.line) + (1 if node.end_mark.column > 0 else 0)


def _deepest(text: str, path: Sequence[str]) -> tuple[yaml.MappingNode | None, int]:
    """The innermost mapping of the path that is there, and how many keys lead to it."""
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)  # Any: PyYAML's nodes
    if not isinstance(node, yaml.MappingNode):
        return None, 0
    for depth, part in enumerate(path[:-1]):
        inner = _pairs(node).get(part)
        if inner is None or not isinstance(inner[1], yaml.MappingNode) or not inner[1].value:
            return node, depth
        node = inner[1]
    return node, len(path) - 1


def _pairs(node: yaml.MappingNode) -> Mapping[str, tuple[yaml.Node, yaml.Node]]:
    return {str(key.value): (key, value) for key, value in node.value}


def _is_empty(node: yaml.Node) -> bool:
    if isinstance(node, yaml.MappingNode):
        return not node.value
    return isinstance(node, yaml.ScalarNode) and node.value == "" and node.style is None


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
