"""Durations and sizes as people write them in a configuration: `10m`, `24GiB`."""

import math
import re
from typing import Annotated

from pydantic import BeforeValidator, Field

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_DECIMAL = {"KB": "KiB", "MB": "MiB", "GB": "GiB", "TB": "TiB", "K": "KiB", "M": "MiB", "G": "GiB"}


def parse_duration(text: str) -> float:
    """Seconds; ValueError names what was expected."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)", text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration; write it like 30s, 10m or 2h")
    return float(match[1]) * _SECONDS[match[2]]


def parse_size(text: str) -> int:
    """Bytes; ValueError names what was expected."""
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)(B|KiB|MiB|GiB|TiB)", text)
    if match is None:
        raise ValueError(f"{text!r} is not a size; write it like {_suggestion(text)}")
    return round(float(match[1]) * _BYTES[match[2]])


def _suggestion(text: str) -> str:
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*", text)
    if match is None:
        return "92GiB or 512MiB"
    unit = _DECIMAL.get(match[2].upper()) or next(
        (known for known in _BYTES if known.lower() == match[2].lower()), None
    )
    return f"{match[1]}{unit}" if unit else "92GiB or 512MiB"


def _duration(value: object) -> object:
    """What pydantic then checks as a number; numbers are seconds already."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a duration must be finite; write it like 30s, 10m or 2h")
    return parse_duration(value) if isinstance(value, str) else value


def _size(value: object) -> object:
    return parse_size(value) if isinstance(value, str) else value


Duration = Annotated[float, Field(ge=0), BeforeValidator(_duration)]
"""Seconds, as a number or as text with a unit."""

Size = Annotated[int, Field(ge=0), BeforeValidator(_size)]
"""Bytes, as a whole number or as text with a binary unit."""
