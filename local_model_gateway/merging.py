"""Adds a few keys to somebody else's JSON or YAML, and nothing else; pure, from text to text."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import yaml

Format = Literal["json", "toml", "yaml"]
Keys = Sequence[Sequence[str]]
Data = dict[str, Any]  # Any: JSON or YAML data


class CannotMerge(Exception):
    """Changing this file could lose something of its owner's; a person has to do it."""


def merge(text: str, format_: Format, keys: Keys, block: str) -> str:
    """`text` with the values that `block` has at `keys`; unchanged where they are there already."""
    match format_:
        case "json":
            wanted = _json(block)
            data = _json(text) if text.strip() else {}
            changed = _with(data, keys, wanted)
            return text if changed == data else _as_json(changed, text)
        case "yaml":
            return _merge_yaml(text, keys, _yaml(block))
        case _:
            raise CannotMerge("this kind of file is not changed by programs")


def without(text: str, format_: Format, keys: Keys) -> str:
    """`text` without what is at `keys`, for a file that its owner has changed since."""
    match format_:
        case "json":
            data = _json(text)
            changed = _less(data, keys)
            return text if changed == data else _as_json(changed, text)
        case "yaml":
            for path in keys:
                text = _cut_yaml(text, path)
            return text
        case _:
            raise CannotMerge("this kind of file is not changed by programs")


def _at(data: object, path: Sequence[str]) -> object:
    for part in path:
        if not isinstance(data, dict) or part not in data:
            return None
        data = data[part]
    return data


def _with(data: Data, keys: Keys, wanted: Data) -> Data:
    changed: Data = json.loads(json.dumps(data))
    for path in keys:
        inside = changed
        for part in path[:-1]:
            inside = inside.setdefault(part, {})
            if not isinstance(inside, dict):
                raise CannotMerge(f"`{part}` is no mapping there")
        inside[path[-1]] = _at(wanted, path)
    return changed


def _less(data: Data, keys: Keys) -> Data:
    changed: Data = json.loads(json.dumps(data))
    for path in keys:
        inside = _at(changed, path[:-1])
        if isinstance(inside, dict):
            inside.pop(path[-1], None)
    return changed


def _json(text: str) -> Data:
    try:
        data = json.loads(text, object_pairs_hook=_no_twins)
    except ValueError:
        raise CannotMerge(
            "it is not plain JSON (comments?), which we could not write back"
        ) from None
    if not isinstance(data, dict):
        raise CannotMerge("it holds no JSON object")
    return data


def _no_twins(pairs: list[tuple[str, Any]]) -> Data:  # Any: JSON
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key twice")
    return dict(pairs)


def _as_json(data: Data, like: str) -> str:
    """Indented as the file was."""
    found = re.search(r"\n([ \t]+)\S", like)
    indent: str | int = found[1] if found else 2
    ending = "" if like and not like.endswith("\n") else "\n"
    return json.dumps(data, indent=indent, ensure_ascii=False) + ending


def _yaml(text: str) -> Data:
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError:
        raise CannotMerge("it is not YAML that we can read") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise CannotMerge("it holds no mapping")
    return data


def _merge_yaml(text: str, keys: Keys, wanted: Data) -> str:
    """New lines between the old ones: comments and order stay as they are."""
    data = _yaml(text)
    expected = _with(data, keys, wanted)
    for path in keys:
        if _at(data, path) == _at(wanted, path):
            continue
        text = _insert_yaml(_cut_yaml(text, path), path, _at(wanted, path))
    if _yaml(text) != expected:
        raise CannotMerge("its layout leaves no safe place for new lines")
    return text


def _insert_yaml(text: str, path: Sequence[str], value: object) -> str:
    parent, depth = _deepest(text, path)
    rest: object = value
    for part in reversed(path[depth:]):
        rest = {part: rest}
    dumped = yaml.safe_dump(rest, sort_keys=False, allow_unicode=True)
    if parent is None:
        gap = "" if not text or text.endswith("\n") else "\n"
        return text + gap + dumped
    if parent.flow_style or not parent.value:
        raise CannotMerge("its layout leaves no safe place for new lines")
    first = parent.value[0][0].start_mark
    lines = text.splitlines(keepends=True)
    added = [" " * first.column + line + "\n" for line in dumped.splitlines()]
    return "".join([*lines[: first.line], *added, *lines[first.line :]])


def _cut_yaml(text: str, path: Sequence[str]) -> str:
    """Without the lines of one key; where it was the only one, without its parent too."""
    parent, depth = _deepest(text, path)
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if depth != len(path) - 1 and not (depth == 0 and len(path) == 1):
        return text
    inside = parent if parent is not None else root
    if not isinstance(inside, yaml.MappingNode):
        return text
    pairs = {key.value: (key, value) for key, value in inside.value}
    if path[-1] not in pairs:
        return text
    if inside.flow_style:
        raise CannotMerge("its layout leaves no safe way to take lines out")
    if len(pairs) == 1 and len(path) > 1:
        return _cut_yaml(text, path[:-1])
    key, value = pairs[path[-1]]
    lines = text.splitlines(keepends=True)
    end = value.end_mark.line + (1 if value.end_mark.column > 0 and _ends_inside(value) else 0)
    return "".join([*lines[: key.start_mark.line], *lines[max(end, key.start_mark.line + 1) :]])


def _ends_inside(node: yaml.Node) -> bool:
    """A scalar, or a flow collection, ends on its own line; a block ends where the next thing begins."""
    return isinstance(node, yaml.ScalarNode) or bool(getattr(node, "flow_style", False))


def _deepest(text: str, path: Sequence[str]) -> tuple[yaml.MappingNode | None, int]:
    """The innermost mapping of the path that is there, and how many keys lead to it."""
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)  # Any: PyYAML's nodes
    if not isinstance(node, yaml.MappingNode):
        return None, 0
    depth = 0
    for part in path[:-1]:
        pairs: Mapping[str, yaml.Node] = {key.value: value for key, value in node.value}
        inner = pairs.get(part)
        if not isinstance(inner, yaml.MappingNode):
            break
        node, depth = inner, depth + 1
    return node, depth
