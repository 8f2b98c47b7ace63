"""What changed between two listings of a server, and what that means for what was approved."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from catalog.model import ServerSnapshot, Tool


@dataclass(frozen=True, slots=True)
class Changes:
    """Names of tools, by what happened to them."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


@dataclass(frozen=True, slots=True)
class Listing:
    """What a server answered when it was asked for its tools."""

    server: str
    tools: Sequence[Tool]
    title: str
    instructions: str
    version: str
    listed_at: float
    ttl_s: float | None


def absorb(known: ServerSnapshot | None, listing: Listing) -> tuple[ServerSnapshot, Changes]:
    """Take a new listing in: new tools are approved as first seen, a changed one waits in `pending`."""
    before: Mapping[str, Tool] = {tool.name: tool for tool in known.tools} if known else {}
    approved: list[Tool] = []
    pending: dict[str, Tool] = {}
    added: list[str] = []
    changed: list[str] = []
    for tool in {tool.name: tool for tool in listing.tools}.values():
        old = before.get(tool.name)
        if old is None:
            added.append(tool.name)
            approved.append(tool)
        elif old.digest == tool.digest:
            approved.append(replace(old, seen_at=tool.seen_at))
        else:
            changed.append(tool.name)
            approved.append(old)
            pending[tool.name] = tool
    listed = {tool.name for tool in listing.tools}
    removed = tuple(sorted(name for name in before if name not in listed))
    snapshot = ServerSnapshot(
        server=listing.server,
        tools=tuple(approved),
        pending=pending,
        title=listing.title,
        instructions=listing.instructions,
        version=listing.version,
        listed_at=listing.listed_at,
        ttl_s=listing.ttl_s,
    )
    return snapshot, Changes(tuple(added), removed, tuple(changed))


def with_tools(snapshot: ServerSnapshot, tools: Sequence[Tool], description: str) -> ServerSnapshot:
    """The same server with some of its tools, and the user's own words about it first."""
    words = " ".join(filter(None, (description, snapshot.instructions)))
    return replace(snapshot, tools=tuple(tools), instructions=words)


def failed(known: ServerSnapshot | None, server: str, error: str) -> ServerSnapshot:
    """The tools stay searchable, marked stale, with the reason why they were not listed again."""
    return replace(known or ServerSnapshot(server), stale=True, error=error)


def approve(snapshot: ServerSnapshot, names: Sequence[str] | None = None) -> ServerSnapshot:
    """Accept the pending form of these tools, or of all of them."""
    taken = set(snapshot.pending if names is None else names)
    return replace(
        snapshot,
        tools=tuple(
            snapshot.pending[tool.name]
            if tool.name in taken and tool.name in snapshot.pending
            else tool
            for tool in snapshot.tools
        ),
        pending={name: tool for name, tool in snapshot.pending.items() if name not in taken},
    )


def lines(old: Tool, new: Tool) -> list[str]:
    """A unified diff of everything that an approval covers."""
    return list(
        difflib.unified_diff(
            _rendered(old),
            _rendered(new),
            f"approved {old.tool_id}",
            "listed now",
            lineterm="",
            n=2,
        )
    )


def _rendered(tool: Tool) -> list[str]:
    return [
        f"title: {tool.title}",
        *(f"description: {line}" for line in tool.description.splitlines()),
        *_schema_lines("input", tool.input_schema),
        *_schema_lines("output", tool.output_schema),
        f"hints: {tool.hints}",
    ]


def _schema_lines(kind: str, schema: str | None) -> list[str]:
    if not schema:
        return []
    try:
        pretty = json.dumps(json.loads(schema), indent=1, ensure_ascii=False)
    except ValueError:
        pretty = schema
    return [f"{kind}: {line}" for line in pretty.splitlines()]
