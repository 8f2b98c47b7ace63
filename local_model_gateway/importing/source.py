"""Another program's file as plain data, with the line of every key: read as that program reads it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from local_model_gateway.errors import CommandFailed

MAX_NODES = 50_000  # aliases count each time they are used, so ten lines cannot become a billion
MAX_DEPTH = 40

KeyPath = tuple[str | int, ...]
Data = dict[str, Any]  # Any: YAML data

_HEADER = re.compile(r"[ \t]*\[[ \t]*(?P<name>[^\]]+?)[ \t]*\][ \t]*(?:[;#].*)?")
_PAIR = re.compile(
    r"[ \t]*(?P<key>[A-Za-z_][A-Za-z0-9_.-]*)[ \t]*=[ \t]*(?P<value>.*?)[ \t]*(?:[;#].*)?"
)
ABOVE = "default"
"""What llama-server calls the keys above its first section."""


@dataclass(slots=True)
class Source:
    """One file."""

    file: Path
    data: Data = field(default_factory=dict)
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def line(self, *path: str | int) -> int | None:
        """Where this key stands, or the nearest one above it."""
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path[:-1]
        return None

    def section(self, *path: str | int) -> Mapping[str, Any]:  # Any: YAML data
        """The mapping there; an empty one where there is something else or nothing."""
        found: Any = self.data
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else {}


def each(value: object) -> list[Any]:  # Any: YAML data
    """The items of a list; a single word is a list of one, and anything else of none."""
    if isinstance(value, list):
        return value
    return [value] if isinstance(value, str) and value else []


def read_yaml(text: str, file: Path) -> Source:
    """Merge keys and anchors are resolved; nothing but plain data is ever made."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        source = Source(file)
        reading = _Reading(loader, source)
        data = None if node is None else reading.value(node, (), 0)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or "it cannot be read"
        raise CommandFailed(f"{file.name}{where}: this is not YAML: {what}") from None
    except RecursionError:
        raise CommandFailed(f"{file.name}: nested too deep") from None
    finally:
        loader.dispose()
    source.data = data if isinstance(data, dict) else {}
    return source


@dataclass(slots=True)
class _Reading:
    loader: yaml.SafeLoader
    source: Source
    nodes: int = 0

    def value(self, node: yaml.Node, path: KeyPath, depth: int) -> Any:  # Any: YAML data
        self.nodes += 1
        if self.nodes > MAX_NODES or depth > MAX_DEPTH:
            raise CommandFailed(f"{self.source.file.name}: too large or nested too deep")
        self.source.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            self.loader.flatten_mapping(node)
            found = {}
            for key_node, value_node in node.value:
                key = str(key_node.value)
                self.source.lines[*path, key] = key_node.start_mark.line + 1
                found[key] = self.value(value_node, (*path, key), depth + 1)
            return found
        if isinstance(node, yaml.SequenceNode):
            return [
                self.value(item, (*path, number), depth + 1)
                for number, item in enumerate(node.value)
            ]
        if node.tag.endswith(":bool") and node.value.lower() not in ("true", "false"):
            return node.value  # `off` may well be somebody's name
        try:
            return self.loader.construct_object(node)
        except (ValueError, LookupError, AttributeError):  # such as a date that no calendar has
            where = f"{self.source.file.name}:{node.start_mark.line + 1}"
            raise CommandFailed(f"{where}: {node.value!r} is no value; put it in quotes") from None


def read_ini(text: str, file: Path) -> Source:
    """As llama-server reads its presets: a later section of a name replaces an earlier one."""
    source = Source(file)
    section = ABOVE
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith((";", "#")):
            continue
        if header := _HEADER.fullmatch(line):
            section = header["name"]
            source.data[section] = {}
            source.lines[section,] = number
        elif pair := _PAIR.fullmatch(line):
            source.data.setdefault(section, {})[pair["key"]] = pair["value"]
            source.lines[section, pair["key"]] = number
            source.lines.setdefault((section,), number)
        else:
            raise CommandFailed(f"{file.name}:{number}: this is no line of a preset file")
    return source
