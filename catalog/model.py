"""What a tool and a server's list of tools look like in the snapshot."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

# One separator that server names never contain, so an id parts in exactly one way.
SEPARATOR = ":"


@dataclass(frozen=True, slots=True)
class Hints:
    """What the server says of its own tool; believed only where the server is trusted."""

    read_only: bool | None = None
    destructive: bool | None = None
    idempotent: bool | None = None
    open_world: bool | None = None


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a tool."""

    name: str
    type: str
    description: str
    required: bool


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool as it was listed; schemas stay JSON text until someone needs them."""

    server: str
    name: str
    title: str
    description: str
    input_schema: str
    output_schema: str | None
    hints: Hints
    digest: str
    seen_at: float

    @property
    def tool_id(self) -> str:
        return f"{self.server}{SEPARATOR}{self.name}"

    def schema(self) -> dict[str, object]:
        """The input schema as JSON; a broken one reads as 'any object'."""
        try:
            parsed = json.loads(self.input_schema)
        except ValueError:
            parsed = None
        return parsed if isinstance(parsed, dict) else {"type": "object"}

    def parameters(self) -> tuple[Parameter, ...]:
        """The arguments, required ones first, each group in the schema's order."""
        schema = self.schema()
        properties = schema.get("properties")
        if not isinstance(properties, dict):
            return ()
        required = schema.get("required")
        needed = set(required) if isinstance(required, list) else set()
        found = [_parameter(name, value, name in needed) for name, value in properties.items()]
        return tuple(sorted(found, key=lambda parameter: not parameter.required))


def _parameter(name: str, value: object, required: bool) -> Parameter:
    if not isinstance(value, dict):
        return Parameter(name, "any", "", required)
    kind = value.get("type")
    if isinstance(kind, list):
        kind = "|".join(str(one) for one in kind)
    return Parameter(
        name, str(kind) if kind else "any", str(value.get("description") or ""), required
    )


def digest(
    name: str,
    title: str,
    description: str,
    schemas: tuple[str, str | None],
    hints: Hints,
) -> str:
    """One hash over everything that an approval covers."""
    covered = [name, title, description, *schemas, str(hints)]
    return hashlib.sha256(json.dumps(covered).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class ServerSnapshot:
    """Everything known of one downstream server without starting it.

    `tools` is the form that was approved; `pending` holds, by name, the form that the server
    lists now where that differs. A tool in `pending` is quarantined.
    """

    server: str
    tools: tuple[Tool, ...] = ()
    pending: Mapping[str, Tool] = field(default_factory=dict)
    title: str = ""
    instructions: str = ""
    version: str = ""
    listed_at: float = 0.0
    ttl_s: float | None = None
    stale: bool = False
    error: str = ""

    def fresh_at(self, now: float) -> bool:
        """Whether the server's own promise still holds; without one a listing never expires."""
        if self.stale or not self.listed_at:
            return False
        return self.ttl_s is None or now < self.listed_at + self.ttl_s


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All servers, by name."""

    servers: Mapping[str, ServerSnapshot] = field(default_factory=dict)

    def tools(self) -> list[Tool]:
        return [tool for name in sorted(self.servers) for tool in self.servers[name].tools]

    def with_server(self, snapshot: ServerSnapshot) -> "Snapshot":
        return Snapshot({**self.servers, snapshot.server: snapshot})

    def only(self, names: frozenset[str]) -> "Snapshot":
        return Snapshot({name: one for name, one in self.servers.items() if name in names})
