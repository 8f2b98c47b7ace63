"""Arguments held against the tool's schema before anything is started."""

import functools
import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator
from rapidfuzz import fuzz, process

from catalog.model import Tool

MOST_PROBLEMS = 5
_ELSEWHERE = re.compile(r'"\$(?:dynamicR|r)ef"\s*:\s*"(?!#)')
ALIKE_FROM = 60


def problems(tool: Tool, arguments: dict[str, Any]) -> list[str]:
    """What is wrong with the arguments, most useful first; nothing is wrong with what we cannot check."""
    validator = _validator(tool.input_schema)
    if validator is None:
        return []
    found = sorted(validator.iter_errors(arguments), key=lambda error: list(map(str, error.path)))
    return [line for error in found for line in _lines(error, tool, arguments)][:MOST_PROBLEMS]


@functools.lru_cache(maxsize=256)
def _validator(schema: str) -> Validator | None:
    """None where the schema itself is broken: then the server has to judge."""
    if _ELSEWHERE.search(schema):
        return None  # a reference to another machine is never fetched
    try:
        parsed = json.loads(schema)
        kind = jsonschema.validators.validator_for(parsed, jsonschema.Draft202012Validator)
        kind.check_schema(parsed)
        return kind(parsed)
    except (SchemaError, ValueError, TypeError, RecursionError):
        return None


def _lines(
    error: jsonschema.ValidationError, tool: Tool, arguments: dict[str, Any]
) -> Iterator[str]:
    where = "/".join(map(str, error.path))
    wanted: Any = error.validator_value  # Any: whatever the schema holds at this keyword
    names = [parameter.name for parameter in tool.parameters()]
    match error.validator:
        case "required" if not error.path:
            for name in wanted:
                if name not in arguments:
                    yield f"{name!r} is missing{_sent(name, [one for one in arguments if one not in names])}"
        case "additionalProperties" if not error.path:
            for name in arguments:
                if name not in names:
                    yield f"{name!r} is no argument{_instead(name, names)}"
        case "enum":
            allowed = ", ".join(json.dumps(one) for one in list(wanted)[:8])
            yield f"{where or 'the value'!r} must be one of {allowed}"
        case "type":
            yield f"{where!r} must be of type {wanted}, not {_kind(error.instance)}"
        case _:
            yield f"{where + ': ' if where else ''}{error.message[:200]}"


def _sent(name: str, unknown: list[str]) -> str:
    near = process.extractOne(name, unknown, scorer=fuzz.ratio, score_cutoff=ALIKE_FROM)
    return f" (you sent {near[0]!r})" if near else ""


def _instead(name: str, known: list[str]) -> str:
    near = process.extractOne(name, known, scorer=fuzz.ratio, score_cutoff=ALIKE_FROM)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _kind(value: object) -> str:
    names = {
        dict: "object",
        list: "array",
        str: "string",
        bool: "boolean",
        int: "integer",
        float: "number",
        type(None): "null",
    }
    return names.get(type(value), type(value).__name__)
