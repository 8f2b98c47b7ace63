"""Downstream servers as the configuration describes them; client configurations can be pasted in."""

import fnmatch
import math
import re
from datetime import datetime
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from catalog.names import usable

Action = Literal["allow", "ask", "deny"]
Effect = Literal["read", "write", "destructive", "unknown"]
Transport = Literal["stdio", "http", "sse"]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def _duration(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a duration must be finite; write it like 30s, 10m or 2h")
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)", value)
    if match is None:
        raise ValueError(f"{value!r} is not a duration; write it like 30s, 10m or 2h")
    return float(match[1]) * _UNITS[match[2]]


def _size(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(B|KiB|MiB|GiB)", value)
    if match is None:
        raise ValueError(f"{value!r} is not a size; write it like 64KiB or 16MiB")
    return round(float(match[1]) * _SIZES[match[2]])


Duration = Annotated[float, Field(gt=0), BeforeValidator(_duration)]
Size = Annotated[int, Field(ge=1), BeforeValidator(_size)]
Text = str | SecretStr


def _named(value: str) -> str:
    if not usable(value):
        raise ValueError("a server's name has up to 100 visible characters and no ':'")
    return value


ServerName = Annotated[str, AfterValidator(_named)]
"""The key of a section; it becomes the first part of its tools' ids."""

# The other spellings that clients use for the same thing.
_SAME = {"httpUrl": "url", "serverUrl": "url", "uri": "url", "type": "transport"}
_TRANSPORTS = {
    "local": "stdio",
    "remote": "http",
    "streamable-http": "http",
    "streamable_http": "http",
    "streamableHttp": "http",
}
# Grants and notes of the client that a section was pasted from; here they mean nothing.
_LEFT_OUT = ("autoApprove", "alwaysAllow", "disabledTools", "envFile")


def revealed(value: Text) -> str:
    """The plain text of a value that may be wrapped as a secret."""
    return value.get_secret_value() if isinstance(value, SecretStr) else value


class Section(pydantic.BaseModel):
    """Strict: an unknown key is an error, and nothing is converted silently."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True
    )


class ServerSettings(Section):
    """One downstream MCP server, started only when one of its tools is called."""

    command: str | None = None
    """The program of a server that speaks over its standard input and output."""
    args: list[str] = []
    """The program's arguments."""
    env: dict[str, Text] = {}
    """The only variables that it gets beside PATH, HOME and the like; best as `${env:…}` or `${file:…}`."""
    inherit_env: list[str] = []
    """Patterns of more variables to hand on from our own environment, such as `NODE_*`."""
    cwd: str | None = None
    """The folder that the program runs in."""

    url: str | None = None
    """The address of a server that runs elsewhere."""
    headers: dict[str, Text] = {}
    """Headers of every request to that address."""
    bearer: SecretStr | None = None
    """Sent as `Authorization: Bearer …` to that address."""
    auth: Literal["oauth"] | None = None
    """`oauth` signs in with the browser on `lmg mcp refresh`; the tokens are kept in the state directory."""
    transport: Transport | None = None
    """`stdio`, `http` (Streamable HTTP) or the older `sse`; found out from the rest if not set."""

    enabled: bool = True
    """Off: not searched, not started."""
    description: str = ""
    """Words that help to find its tools."""
    trust: bool = False
    """Believe what the server says of its own tools, such as that one only reads."""
    policy: Action | None = None
    """For all its tools; if not set, reading is free and everything else asks."""
    tools: dict[str, Action] = {}
    """Tool name, or a pattern such as `delete_*`, → what to do; an exact name goes before a pattern."""

    start_timeout: Duration = 30.0
    """How long it may take until it has answered with its tools."""
    call_timeout: Duration = 40.0
    """How long one call may take; past that, the call is given up but never repeated."""
    idle_close: Duration | Literal["never"] = 600.0
    """Closed after this long without a call."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    """Calls at the same time; more wait."""

    @model_validator(mode="before")
    @classmethod
    def _from_other_clients(cls, data: Any) -> Any:  # Any: whatever the file held
        if not isinstance(data, dict):
            return data
        found = {_SAME.get(key, key): value for key, value in data.items() if key not in _LEFT_OUT}
        if "disabled" in found:
            found.setdefault("enabled", not found.pop("disabled"))
        if isinstance(found.get("timeout"), int | float):
            # Clients count milliseconds; nobody means a call of several hours.
            timeout = float(found.pop("timeout"))
            found.setdefault("call_timeout", timeout / 1000 if timeout >= 1000 else timeout)
        if isinstance(found.get("transport"), str):
            found["transport"] = _TRANSPORTS.get(found["transport"], found["transport"])
        if isinstance(found.get("command"), list) and found["command"]:
            first, *rest = found["command"]
            found["command"], found["args"] = first, [*rest, *found.get("args", [])]
        return found

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if (self.command is None) == (self.url is None):
            raise ValueError("give either `command` (a program) or `url` (an address)")
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise ValueError("`url` must begin with http:// or https://")
        if self.command is not None and self.transport in {"http", "sse"}:
            raise ValueError(f"`transport: {self.transport}` needs `url`, not `command`")
        if self.url is not None and self.transport == "stdio":
            raise ValueError("`transport: stdio` needs `command`, not `url`")
        return self

    @property
    def kind(self) -> Transport:
        """How it is reached."""
        if self.transport is not None:
            return self.transport
        return "stdio" if self.command is not None else "http"

    def secrets(self) -> frozenset[str]:
        """Values that may not appear in a log or an answer."""
        values = {revealed(value) for value in (*self.env.values(), *self.headers.values())}
        if self.bearer is not None:
            values.add(self.bearer.get_secret_value())
        return frozenset(value for value in values if len(value) >= 6)


class EmbeddingSettings(Section):
    """An optional ranking by meaning, from any OpenAI-style embeddings address."""

    url: str
    """Such as `http://127.0.0.1:8787/v1/embeddings`; best a model that answers from the CPU."""
    model: str
    """The model's name there."""
    api_key: SecretStr | None = None
    """What that address asks for."""
    query_timeout: Duration = 0.15
    """A search waits this long for it, and then goes by words alone."""


class Scope(Section):
    """What one caller may use."""

    servers: list[str] = ["*"]
    """Names or patterns of servers."""
    effects: list[Effect] = ["read", "write", "destructive", "unknown"]
    """Kinds of tools."""
    expires: datetime | None = None
    """After this time, nothing."""

    def covers(self, server: str) -> bool:
        return any(fnmatch.fnmatchcase(server, pattern) for pattern in self.servers)


class BrokerSettings(Section):
    """Options of the tool broker."""

    result_limit: Size = 32 * 1024
    """A larger result is kept as a resource, and only its beginning is answered."""
    keep_results: Duration = 3 * 86400.0
    """How long such results are kept."""
    confirm_within: Duration = 300.0
    """How long a confirmation token is good for."""
    embedding: EmbeddingSettings | None = None
    scopes: dict[str, Scope] = {}
    """Caller (the name of its key) → what it may use; a caller that is not named here may use everything."""
