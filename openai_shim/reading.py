"""What a request asks for: read once, checked as far as routing and the engines' safety need it."""

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pydantic_core
from starlette.types import Scope

from coordinator import work
from openai_shim import identity
from openai_shim.errors import InvalidRequest

MAX_VALUES = 500_000
"""Thirty megabytes of `[],[],…` hold any parser for seconds; no honest body has this many values."""
LONGEST_NAME = 200
LONGEST_WAIT_S = 7 * 86400.0
INT64 = 2**63

_RANGES: Mapping[str, tuple[float, float]] = {
    "best_of": (1, 128),
    "dimensions": (1, 1_000_000),
    "frequency_penalty": (-2, 2),
    "max_completion_tokens": (-1, 2**31 - 1),
    "max_output_tokens": (1, 2**31 - 1),
    "max_tokens": (-1, 2**31 - 1),
    "min_p": (0, 1),
    "n": (1, 128),
    "n_keep": (-1, 2**31 - 1),
    "n_predict": (-2, 2**31 - 1),
    "n_probs": (0, 100_000),
    "num_ctx": (1, 2**31 - 1),
    "presence_penalty": (-2, 2),
    "repeat_last_n": (-1, 2**31 - 1),
    "repeat_penalty": (0, 100),
    "repetition_penalty": (0, 100),
    "seed": (-(2**63), 2**64 - 1),
    "temperature": (0, 2),
    "top_k": (-1, 2**31 - 1),
    "top_logprobs": (0, 100),
    "top_p": (0, 1),
    "typical_p": (0, 1),
}
"""An engine in C takes what it gets: a negative number in the wrong field has written out of bounds."""
_WHOLE_NUMBERS = frozenset(
    {
        "best_of",
        "dimensions",
        "max_completion_tokens",
        "max_output_tokens",
        "max_tokens",
        "n",
        "n_keep",
        "n_predict",
        "n_probs",
        "num_ctx",
        "repeat_last_n",
        "seed",
        "top_k",
        "top_logprobs",
    }
)
_TYPES: Mapping[str, tuple[type, ...]] = {
    "echo": (bool,),
    "encoding_format": (str,),
    "functions": (list,),
    "logit_bias": (dict,),
    "metadata": (dict,),
    "parallel_tool_calls": (bool,),
    "response_format": (dict,),
    "stop": (str, list),
    "stream": (bool,),
    "stream_options": (dict,),
    "suffix": (str,),
    "tool_choice": (str, dict),
    "tools": (list,),
    "user": (str,),
}
_NAMES = {str: "a string", list: "a list", dict: "an object", bool: "true or false"}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as the handler needs it."""

    fields: dict[str, Any]
    """The body, less nothing: what is ours is taken out on the way to the engine."""
    model: str
    stream: bool
    priority: int
    max_queue_wait_s: float | None
    run_timeout_s: float | None
    idempotency_key: str | None
    respond_async: bool
    whitespace: bool


def parse(body: bytes) -> dict[str, Any]:
    """The body as an object; raises `InvalidRequest` for whatever else it is."""
    if body.count(b"[") + body.count(b"{") + body.count(b",") > MAX_VALUES:
        raise InvalidRequest(f"The JSON has more than {MAX_VALUES:,} values; send it in parts.")
    try:
        fields = pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.") from error
    if not isinstance(fields, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return fields


def finite(fields: dict[str, Any], written: bytes) -> bytes:
    """`written`, unless one of its numbers overflowed: 1e400 is valid JSON, and no number that could be passed on.

    The parser makes it infinite and the writer `Infinity`, which is quicker to look for than the number itself.
    """
    if b"Infinity" in written:
        _refuse_infinity(fields)
    return written


def _refuse_infinity(value: Any) -> None:  # any JSON
    match value:
        case float() if math.isinf(value):
            raise InvalidRequest("The JSON has a number that is too large.")
        case dict():
            for inner in value.values():
                _refuse_infinity(inner)
        case list():
            for inner in value:
                _refuse_infinity(inner)


def asked(scope: Scope, fields: dict[str, Any]) -> Asked:
    """What the body and the headers say; raises `InvalidRequest` that names the field."""
    check(fields)
    return Asked(
        fields=fields,
        model=model(fields),
        stream=fields.get("stream") is True,
        priority=_priority(_either(scope, fields, "priority")),
        max_queue_wait_s=_seconds(
            _either(scope, fields, "max_queue_wait_s"), "max_queue_wait_s", 0
        ),
        run_timeout_s=_seconds(_either(scope, fields, "run_timeout_s"), "run_timeout_s", 0.001),
        idempotency_key=idempotency_key(scope),
        respond_async=b"respond-async" in (identity.header(scope, b"prefer") or b"").lower(),
        whitespace=identity.header(scope, b"x-lmg-keepalive") == b"whitespace",
    )


def model(fields: Mapping[str, Any]) -> str:
    """The alias that is asked for."""
    name = fields.get("model")
    if not isinstance(name, str) or not name:
        raise InvalidRequest("`model` is missing; GET /v1/models lists what is here.", "model")
    name = unicodedata.normalize("NFC", name)
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise InvalidRequest("`model` is no name that a model here could have.", "model")
    return name


def check(fields: Mapping[str, Any]) -> None:
    """Types of what is read here, and ranges of numbers that engines trust."""
    for name, value in fields.items():
        if value is None:
            continue
        if name in _TYPES and not isinstance(value, _TYPES[name]):
            wanted = " or ".join(_NAMES[kind] for kind in _TYPES[name])
            raise InvalidRequest(f"`{name}` must be {wanted}.", name)
        if name in _RANGES:
            _check_range(name, value)
        elif isinstance(value, int) and not -INT64 <= value < INT64 * 2:
            raise InvalidRequest(f"`{name[:80]}` is too large a number.", name[:80])


def _check_range(name: str, value: object) -> None:
    low, high = _RANGES[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f"`{name}` must be a number.", name)
    if name in _WHOLE_NUMBERS and value != int(value):
        raise InvalidRequest(f"`{name}` must be a whole number.", name)
    if not low <= value <= high:
        raise InvalidRequest(f"`{name}` must be between {low:g} and {high:g}.", name)


def messages(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The conversation; raises `InvalidRequest` for what is none."""
    given = fields.get("messages")
    if not isinstance(given, list) or not given:
        raise InvalidRequest("`messages` must be a list with at least one message.", "messages")
    for number, message in enumerate(given):
        where = f"messages[{number}]"
        if not isinstance(message, dict):
            raise InvalidRequest(f"`{where}` must be an object.", where)
        if not isinstance(message.get("role"), str):
            raise InvalidRequest(f"`{where}.role` must be a string.", f"{where}.role")
        _check_content(message.get("content"), f"{where}.content")
    return given


def _check_content(content: object, where: str) -> None:
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise InvalidRequest(f"`{where}` must be a string or a list of parts.", where)
    for number, part in enumerate(content):
        if not isinstance(part, dict):
            raise InvalidRequest(f"`{where}[{number}]` must be an object.", f"{where}[{number}]")


def text_or_list(fields: Mapping[str, Any], name: str) -> None:
    """`prompt` and `input`: text, a list of texts, or token ids."""
    value = fields.get(name)
    if isinstance(value, str):
        return
    if not isinstance(value, list) or not value:
        raise InvalidRequest(f"`{name}` must be a string or a list that is not empty.", name)
    for number, item in enumerate(value):
        if isinstance(item, bool) or not isinstance(item, str | int | list | dict):
            where = f"{name}[{number}]"
            raise InvalidRequest(f"`{where}` must be text or token ids.", where)


def idempotency_key(scope: Scope) -> str | None:
    """The client's own name for this request, so that a retry is not a second one."""
    value = identity.header(scope, b"idempotency-key")
    if value is None:
        return None
    if not 1 <= len(value) <= LONGEST_NAME or not value.isascii() or b"\0" in value:
        raise InvalidRequest(
            "`Idempotency-Key` must have 1 to 200 ASCII characters.", "idempotency-key"
        )
    return value.decode("ascii")


def _either(scope: Scope, fields: Mapping[str, Any], name: str) -> object:
    """The body's value, else that of the header `x-lmg-…`."""
    if fields.get(name) is not None:
        return fields[name]
    value = identity.header(scope, b"x-lmg-" + name.replace("_", "-").encode())
    if value is None:
        return None
    text = value.decode("latin-1").strip()
    try:
        return float(text)
    except ValueError:
        return text


def _priority(value: object) -> int:
    if value is None:
        return work.PRIORITIES["normal"]
    if isinstance(value, str) and value in work.PRIORITIES:
        return work.PRIORITIES[value]
    number = _number(value)
    if number is not None and 0 <= number <= 100 and number == int(number):
        return int(number)
    names = ", ".join(work.PRIORITIES)
    raise InvalidRequest(f"`priority` must be 0 to 100, or one of {names}.", "priority")


def _seconds(value: object, name: str, least: float) -> float | None:
    if value is None:
        return None
    number = _number(value)
    if number is not None and least <= number <= LONGEST_WAIT_S:
        return number
    raise InvalidRequest(f"`{name}` must be a number of seconds, at least {least:g}.", name)


def _number(value: object) -> float | None:
    """A finite number; JSON's true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -INT64 < value < INT64 else None
