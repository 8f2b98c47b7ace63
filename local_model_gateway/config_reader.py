"""YAML files read strictly into plain data, with the place of every key and value kept."""

import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from local_model_gateway import interpolation
from local_model_gateway.errors import ConfigError, Problem

MAX_BYTES = 256 * 1024
MAX_NODES = 20_000  # aliases count each time they are used, so ten lines cannot become a billion
MAX_DEPTH = 32

KeyPath = tuple[str | int, ...]

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+")
_WORDS: Mapping[str, bool | None] = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
    "null": None,
    "Null": None,
    "NULL": None,
    "~": None,
    "": None,
}
_PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "timestamp", "value", "map", "seq", "merge")
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is written; lines and columns count from one."""

    file: Path
    line: int
    column: int


@dataclass(slots=True)
class Document:
    """One file, or several merged: the data, and for every path where its key and value are written."""

    data: dict[str, Any] = field(default_factory=dict)  # Any: YAML data of any shape
    keys: dict[KeyPath, Place] = field(default_factory=dict)
    values: dict[KeyPath, Place] = field(default_factory=dict)
    written: dict[KeyPath, str] = field(default_factory=dict)
    """What the file says where a value came from the environment or from another file."""
    secrets: set[str] = field(default_factory=set)
    files: list[Path] = field(default_factory=list)


def read(file: Path, env: Mapping[str, str]) -> Document:
    """The file's data. Raises `ConfigError` for a file that cannot be trusted, read or understood."""
    return parse(_trusted_bytes(file), file, env)


def parse(content: bytes, file: Path, env: Mapping[str, str]) -> Document:
    """The data in `content`, which was found in `file`."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        _fail(Place(file, line, 1), "this is not UTF-8", "; save the file as UTF-8")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        _fail_yaml(file, error)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        _fail(Place(file, line, 1), "a control character", "; remove it")
    except RecursionError:
        _fail(Place(file, 1, 1), "nested too deep", f"; at most {MAX_DEPTH} levels")
    document = Document(files=[file])
    if node is None:
        return document
    reading = _Reading(file, env, document)
    data = reading.value(node, (), 0)
    if not isinstance(data, dict):
        _fail(reading.place(node), "a configuration is a mapping", "; begin with `version: 1`")
    document.data = data
    return document


def merge(documents: list[Document]) -> Document:
    """All of them as one; a setting that two files make is an error, so no file silently wins."""
    merged = Document()
    for document in documents:
        _merge_into(merged, document, merged.data, document.data, ())
        for name in ("keys", "values", "written"):
            for path, place in getattr(document, name).items():
                getattr(merged, name).setdefault(path, place)
        merged.secrets |= document.secrets
        merged.files += document.files
    return merged


def write_json(document: Document) -> bytes:
    """The data in the form that strict validation reads: JSON arrays become tuples, strings paths."""
    return json.dumps(document.data).encode()


def owner_problem(status: os.stat_result, uid: int) -> str | None:
    """Why this file may not say which programs we start, if so."""
    if status.st_uid not in {uid, 0}:
        return f"belongs to another user (uid {status.st_uid})"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "can be changed by other users"
    return None


@dataclass(slots=True)
class _Reading:
    file: Path
    env: Mapping[str, str]
    document: Document
    nodes: int = 0

    def value(
        self, node: yaml.Node, path: KeyPath, depth: int
    ) -> Any:  # Any: YAML data of any shape
        self.nodes += 1
        if self.nodes > MAX_NODES:
            _fail(self.place(node), f"more than {MAX_NODES:,} values", "; use fewer aliases")
        if depth > MAX_DEPTH:
            _fail(self.place(node), "nested too deep", f"; at most {MAX_DEPTH} levels")
        if node.tag not in _PLAIN_TAGS:
            _fail(self.place(node), f"the tag {_short(node.tag)} is not allowed", "; remove it")
        self.document.values[path] = self.place(node)
        self.document.keys.setdefault(path, self.place(node))
        if isinstance(node, yaml.MappingNode):
            return dict(self._pairs(node, path, depth))
        if isinstance(node, yaml.SequenceNode):
            return [
                self.value(item, (*path, index), depth + 1) for index, item in enumerate(node.value)
            ]
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node, path)

    def place(self, node: yaml.Node) -> Place:
        return Place(self.file, node.start_mark.line + 1, node.start_mark.column + 1)

    def _pairs(
        self, node: yaml.MappingNode, path: KeyPath, depth: int
    ) -> Iterator[tuple[str, Any]]:  # Any: YAML data
        seen: dict[str, Place] = {}
        for key_node, value_node in node.value:
            place = self.place(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                _fail(place, "a key must be a word", "; quote it if it holds brackets")
            key = key_node.value
            if key_node.tag.endswith(":merge"):
                _fail(place, "merge keys (`<<`) are not read", "; write the settings out")
            if key in seen:
                _fail(
                    place,
                    f"{key!r} is set twice, first in line {seen[key].line}",
                    "; keep one of them",
                )
            seen[key] = place
            self.document.keys[*path, key] = place
            yield key, self.value(value_node, (*path, key), depth + 1)

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> str | int | float | bool | None:
        text = node.value
        try:
            filled = interpolation.fill(text, self.env, self.file.parent)
        except interpolation.CannotFill as error:
            _fail(self.place(node), str(error), "")
        if filled.changed:
            self.document.written[path] = text
            self.document.secrets |= filled.secrets
        # Only a bare word is a number or a truth; "8787" in quotes stays text.
        return filled.text if node.style is not None else _plain(filled.text)


def _plain(text: str) -> str | int | float | bool | None:
    """YAML 1.2's core types, decimal only: `on`, `0o7` and `5:00` stay text and are refused by name."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text) and len(text) <= 20:
        return int(text)
    if _NUMBER.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return text


def _merge_into(
    merged: Document,
    document: Document,
    into: dict[str, Any],  # Any: YAML data
    new: dict[str, Any],
    path: KeyPath,
) -> None:
    for key, value in new.items():
        here = (*path, key)
        if here == ("version",):
            into.setdefault(key, value)
        elif key not in into:
            into[key] = value
        elif len(here) == 1 and isinstance(into[key], dict) and isinstance(value, dict):
            into[key] = dict(into[key])
            _merge_into(merged, document, into[key], value, here)
        else:
            first = merged.keys[here]
            _fail(
                document.keys[here],
                f"{'.'.join(map(str, here))} is set already in {first.file.name}:{first.line}",
                "; keep one of them",
            )


def _trusted_bytes(file: Path) -> bytes:
    try:
        # Opened once, then judged by the open file: the name could be swapped between two looks.
        with file.open("rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError([Problem("is not a plain file", "; name a YAML file", file)])
            if problem := owner_problem(status, os.geteuid()):
                fix = "; it may name programs to start: chown it to you and `chmod go-w` it"
                raise ConfigError([Problem(problem, fix, file)])
            content = stream.read(MAX_BYTES + 1)
    except IsADirectoryError:
        raise ConfigError([Problem("is a directory", "; name a YAML file", file)]) from None
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise ConfigError([Problem(reason, "; check the path", file)]) from None
    if len(content) > MAX_BYTES:
        raise ConfigError(
            [Problem(f"is larger than {MAX_BYTES // 1024} KiB", "; split it into conf.d/", file)]
        )
    return content


def _fail(place: Place, message: str, suggestion: str) -> NoReturn:
    raise ConfigError([Problem(message, suggestion, place.file, place.line, place.column)])


def _fail_yaml(file: Path, error: yaml.MarkedYAMLError) -> NoReturn:
    mark = error.problem_mark or error.context_mark
    place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file, 1, 1)
    problem = error.problem or "not valid YAML"
    if "'\\t'" in problem:
        _fail(place, "a tab", "; indent with spaces")
    if "but found another document" in problem:
        _fail(place, "a second document", "; one file holds one configuration, remove `---`")
    _fail(place, f"not valid YAML: {problem}", "; check the indentation and the quotes here")


def _short(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")
