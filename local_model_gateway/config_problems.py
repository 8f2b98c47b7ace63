"""Validation errors as one line each: what is wrong, where it is written, and what to write instead."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import pydantic
from pydantic_core import ErrorDetails

from local_model_gateway.config_reader import Document, KeyPath, Place
from local_model_gateway.errors import Problem

_EXPECTED: Mapping[str, str] = {
    "string_type": "text (put it in quotes)",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "path_type": "a path",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "enum": "{expected}",
}
# Of several branches of a union that all refused, the one whose message helps most.
_HELPFUL = ("value_error", "extra_forbidden", "missing", "literal_error", "enum")

_SECRETIVE = frozenset({"keys", "api_key", "bearer", "env", "headers", "key", "token", "password"})
_NOTHING = object()


def explain(
    error: pydantic.ValidationError, document: Document, model: type[pydantic.BaseModel]
) -> list[Problem]:
    """One problem for each place, in the order of the files."""
    by_path: dict[KeyPath, ErrorDetails] = {}
    for details in error.errors(include_url=False):
        path = _path_in_data(details, document.data)
        if path not in by_path or _rank(details) < _rank(by_path[path]):
            by_path[path] = details
    problems = [
        _without_secrets(_problem(details, path, document, model), document)
        for path, details in by_path.items()
        # A union reports its member types once more on the way; the innermost place is the one meant.
        if not any(other != path and other[: len(path)] == path for other in by_path)
    ]
    order = {file: number for number, file in enumerate(document.files)}
    return sorted(
        problems,
        key=lambda problem: (
            order.get(problem.file, 0) if problem.file else 0,
            problem.line or 0,
            problem.column or 0,
        ),
    )


def at(
    document: Document, path: KeyPath, message: str, suggestion: str, key: bool = False
) -> Problem:
    """A problem with the value (or the key) at `path`, or with the nearest thing around it that is written."""
    places = document.keys if key else document.values
    for length in range(len(path), -1, -1):
        place: Place | None = places.get(path[:length]) or document.values.get(path[:length])
        if place is not None:
            return Problem(message, suggestion, place.file, place.line, place.column)
    file = document.files[0] if document.files else None
    return Problem(message, suggestion, file)


def did_you_mean(word: str, known: typing.Iterable[str]) -> str:
    """`, did you mean 'x'?` for something near, else a list of what is known."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f", did you mean {near[0]!r}?"
    return f"; known here: {', '.join(names)}" if names else "; remove it"


def named(path: KeyPath) -> str:
    """`runtimes.qwen.aliases[0]`, as a person would point at it."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the configuration"


def _without_secrets(problem: Problem, document: Document) -> Problem:
    message = problem.message
    for secret in document.secrets:
        message = message.replace(secret, "[redacted]")
    return dataclasses.replace(problem, message=message)


def _problem(
    details: ErrorDetails, path: KeyPath, document: Document, model: type[pydantic.BaseModel]
) -> Problem:
    kind = details["type"]
    if kind == "extra_forbidden":
        around = f" in {named(path[:-1])}" if len(path) > 1 else ""
        known = _known_keys(model, path[:-1], document.data)
        message = f"unknown key {str(path[-1])!r}{around}"
        return at(document, path, message, did_you_mean(str(path[-1]), known), key=True)
    if kind == "missing":
        message = f"{named(path[:-1])} has no {str(path[-1])!r}"
        return at(document, path[:-1], message, "; add it", key=True)
    shown = document.written.get(path)
    if kind == "value_error":
        reason = str(details["ctx"]["error"])
        # A rule of the whole section speaks for itself; a value needs its name in front.
        return at(document, path, f"{named(path)}: {reason}", "")
    value = shown if shown is not None else _shown(details["input"])
    if shown is None and _SECRETIVE.intersection(path):
        value = "what is written there"
    context = details.get("ctx", {})
    if kind in _EXPECTED:
        expected = _EXPECTED[kind].format(**context)
        message = f"{named(path)} must be {expected}, not {value}"
        return at(document, path, message, _fix(kind, details))
    return at(document, path, f"{named(path)}: {details['msg'].lower()}, not {value}", "")


def _fix(kind: str, details: ErrorDetails) -> str:
    value = details["input"]
    if kind in {"literal_error", "enum"} and isinstance(value, str):
        allowed = str(details.get("ctx", {}).get("expected", "")).replace(" or ", ", ").split(", ")
        near = difflib.get_close_matches(value, [word.strip("'") for word in allowed], n=1)
        return f", did you mean {near[0]!r}?" if near else ""
    if kind == "bool_type" and isinstance(value, str):
        words = {"on": "true", "yes": "true", "off": "false", "no": "false"}
        if value.lower() in words:
            return f"; write {words[value.lower()]}"
    if kind in {"int_type", "float_type"} and isinstance(value, str) and value.isdigit():
        return "; remove the quotes"
    return ""


def _rank(details: ErrorDetails) -> int:
    kind = details["type"]
    return _HELPFUL.index(kind) if kind in _HELPFUL else len(_HELPFUL)


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = "true" if value is True else "false" if value is False else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _path_in_data(details: ErrorDetails, data: object) -> KeyPath:
    """Where the error is in the file: pydantic's location also names union branches and validators."""
    path: list[str | int] = []
    location = details["loc"]
    for number, part in enumerate(location):
        last = number == len(location) - 1
        inside = _inside_data(data, part)
        if inside is not _NOTHING:
            data = inside
        elif not (last and details["type"] == "missing" and isinstance(data, dict)):
            continue
        path.append(part)
    return tuple(path)


def _inside_data(data: object, part: str | int) -> object:
    if isinstance(data, dict):
        return data.get(part, _NOTHING)
    if isinstance(data, list) and isinstance(part, int) and part < len(data):
        return data[part]
    return _NOTHING


def _known_keys(model: type[pydantic.BaseModel], path: KeyPath, data: object) -> set[str]:
    here: list[Any] = [model]  # Any: type expressions
    for part in path:
        here = [inner for one in here for inner in _inside(one, part)]
    fields: set[str] = set()
    for one in here:
        for candidate in _members(one):
            if isinstance(candidate, type) and issubclass(candidate, pydantic.BaseModel):
                fields |= {field.alias or name for name, field in candidate.model_fields.items()}
    return fields


def _inside(annotation: Any, part: str | int) -> Iterator[Any]:  # Any: type expressions
    for member in _members(annotation):
        origin, arguments = typing.get_origin(member), typing.get_args(member)
        if isinstance(member, type) and issubclass(member, pydantic.BaseModel):
            if part in member.model_fields:
                yield member.model_fields[str(part)].annotation
        elif origin in {dict, list, tuple, Mapping} and arguments:
            yield arguments[1] if origin in {dict, Mapping} else arguments[0]


def _members(annotation: Any) -> Iterator[Any]:  # Any: type expressions
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _members(typing.get_args(annotation)[0])
    elif origin in {typing.Union, types.UnionType}:
        for argument in typing.get_args(annotation):
            yield from _members(argument)
    else:
        yield annotation
