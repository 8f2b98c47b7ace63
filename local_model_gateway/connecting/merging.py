"""Adds a few keys to somebody else's JSON or YAML, and nothing else; pure, from text to text."""

import copy
from collections.abc import Sequence
from typing import Any, Literal

from local_model_gateway.connecting import json_text, yaml_text

Format = Literal["json", "toml", "yaml"]
Path = Sequence[str]
Keys = Sequence[Path]
Data = dict[str, Any]  # Any: JSON or YAML data
BOM = "\ufeff"


class CannotMerge(Exception):
    """Changing this file could lose something of its owner's; a person has to do it."""


def merge(text: str, format_: Format, keys: Keys, block: str) -> str:
    """`text` with the values that `block` has at `keys`; unchanged where they are there already."""
    mark, changed = _marked(text)
    wanted, data = _data(block, format_), _data(changed, format_)
    expected = copy.deepcopy(data)
    for path in keys:
        value = _at(wanted, path)
        if _at(data, path) != value:
            _set(expected, path, value)
            changed = _edited(changed, format_, path, value)
    return mark + _checked(changed, format_, expected)


def without(text: str, format_: Format, keys: Keys, before: str) -> str:
    """`text` with `keys` as `before` had them, for a file that its owner has changed since."""
    mark, changed = _marked(text)
    old, expected = _data(_marked(before)[1], format_), _data(changed, format_)
    for path in keys:
        if _at(expected, path) is None:
            continue
        value = _at(old, path)
        if value is None:
            path = _emptied(expected, old, path)
            _at(expected, path[:-1]).pop(path[-1])
        else:
            _set(expected, path, value)
        changed = _edited(changed, format_, path, value)
    whole = mark + _checked(changed, format_, expected)
    # A last line without an end got one when ours came behind it.
    return before if whole.rstrip("\r\n") == before.rstrip("\r\n") else whole


def held(text: str, format_: Format, keys: Keys) -> list[Path]:
    """Those of `keys` that are there; none where the text cannot be read."""
    try:
        data = _data(_marked(text)[1], format_)
    except CannotMerge:
        return []
    return [path for path in keys if _has(data, path)]


def _edited(text: str, format_: Format, path: Path, value: object) -> str:
    """`text` with this value there; None takes it out."""
    try:
        if format_ == "json":
            if not text.strip():
                text = "{}\n"
            return json_text.cut(text, path) if value is None else json_text.put(text, path, value)
        return yaml_text.cut(text, path) if value is None else yaml_text.put(text, path, value)
    except ValueError:
        raise CannotMerge("its layout leaves no safe place for the change") from None


def _checked(text: str, format_: Format, expected: Data) -> str:
    """The text, read back: an edit that did anything else than meant is not made."""
    if _data(text, format_) != expected:
        raise CannotMerge("its layout leaves no safe place for the change")
    return text


def _data(text: str, format_: Format) -> Data:
    if not text.strip():
        return {}
    try:
        match format_:
            case "json":
                data = json_text.parse(text).value
            case "yaml":
                data = yaml_text.parse(text)
            case _:
                raise CannotMerge("this kind of file is not changed by programs")
    except ValueError as error:
        raise CannotMerge(f"it cannot be read: {error}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise CannotMerge("it holds a list or a single value, and no keys")
    return data


def _set(data: Data, path: Path, value: object) -> None:
    for part in path[:-1]:
        if data.get(part) is None:
            data[part] = {}
        data = data[part]
        if not isinstance(data, dict):
            raise CannotMerge(f"`{part}` holds no keys there")
    data[path[-1]] = value


def _emptied(data: Data, old: Data, path: Path) -> Path:
    """The key to take out: this one, or the outermost one that would be left empty and is not the owner's."""
    while len(path) > 1 and len(_at(data, path[:-1])) == 1 and not _has(old, path[:-1]):
        path = path[:-1]
    return path


def _has(data: Data, path: Path) -> bool:
    inside = _at(data, path[:-1])
    return isinstance(inside, dict) and path[-1] in inside


def _at(data: Any, path: Path) -> Any:  # Any: JSON or YAML data
    for part in path:
        if not isinstance(data, dict) or part not in data:
            return None
        data = data[part]
    return data


def _marked(text: str) -> tuple[str, str]:
    """The byte order mark that some editors begin a file with, and the rest."""
    return (BOM, text[1:]) if text.startswith(BOM) else ("", text)
