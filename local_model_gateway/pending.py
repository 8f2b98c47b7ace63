"""Stand-ins for settings types that other packages are about to bring; goes away when they have."""

import re
from typing import Annotated

import pydantic
from pydantic import BeforeValidator, ConfigDict

_DURATIONS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}


def _duration(value: object) -> object:
    if isinstance(value, str):
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)", value)
        if match is None:
            raise ValueError(f"{value!r} is not a duration; write it like 30s, 10m or 2h")
        return float(match[1]) * _DURATIONS[match[2]]
    return value


def _size(value: object) -> object:
    if isinstance(value, str):
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(KiB|MiB|GiB|TiB)", value)
        if match is None:
            raise ValueError(f"{value!r} is not a size; write it like 92GiB or 512MiB")
        return int(float(match[1]) * _SIZES[match[2]])
    return value


Duration = Annotated[float, BeforeValidator(_duration)]
Size = Annotated[int, BeforeValidator(_size)]


class RuntimeSettings(pydantic.BaseModel):
    """One runtime."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    engine: str
    model: str | None = None
    memory: Size | None = None
    max_concurrency: int = 1
    idle_unload: Duration = 600.0


class ServerSettings(pydantic.BaseModel):
    """One downstream server."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    command: str | None = None


class BrokerSettings(pydantic.BaseModel):
    """The broker's own options."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
