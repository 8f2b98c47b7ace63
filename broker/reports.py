"""What list_servers, /status and the dashboard say of the broker; pure."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from broker.downstream import Downstream
from broker.holdings import Held
from broker.rendering import DIFF_LINES, approximate_tokens
from broker.settings import ServerSettings
from catalog import diff
from catalog.model import ServerSnapshot, Snapshot

# The four tools as they stand in tools/list; `make bench-broker` measures it.
OWN_TOKENS = 400
MOST_NAMED = 40


def overview(snapshot: Snapshot) -> str:
    """All servers on one line."""
    named = [f"{name} ({len(one.tools)})" for name, one in sorted(snapshot.servers.items())]
    more = f", and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    return f"Servers: {', '.join(named[:MOST_NAMED])}{more}." if named else "No servers are set up."


def nothing_fits(snapshot: Snapshot, near: Sequence[str]) -> str:
    """What to do after a search that found nothing."""
    unlisted = [name for name, one in snapshot.servers.items() if not one.listed_at]
    said = ["Nothing fits."]
    if near:
        said.append(f"Similar names: {', '.join(near)}.")
    if unlisted:
        said.append(f"Not listed yet: {', '.join(unlisted[:10])}; `lmg mcp refresh` lists them.")
    return " ".join([*said, overview(snapshot)])


def server(
    name: str, settings: ServerSettings, snapshot: Snapshot, downstream: Downstream | None
) -> dict[str, Any]:
    """One server, with a short diff of each tool in quarantine."""
    known = snapshot.servers.get(name, ServerSnapshot(name))
    facts: dict[str, Any] = {
        "name": name,
        "state": _state(settings, downstream),
        "tools": len(known.tools),
        "about": " ".join((settings.description or known.instructions or known.title).split())[
            :120
        ],
    }
    if known.listed_at:
        facts["age_s"] = round(time.time() - known.listed_at)
    if known.stale or not known.listed_at:
        facts["stale"] = True
    error = downstream.last_error if downstream and downstream.last_error else known.error
    if error:
        facts["error"] = error[:300]
    if known.pending:
        facts["quarantined"] = quarantined(known)
    return facts


def quarantined(known: ServerSnapshot) -> dict[str, list[str]]:
    """Tool → the lines that changed."""
    approved = {tool.name: tool for tool in known.tools}
    return {
        name: [
            line[:160]
            for line in diff.lines(approved[name], new)[2:]
            if line.startswith(("+", "-"))
        ][:DIFF_LINES]
        for name, new in known.pending.items()
        if name in approved
    }


def counts(held: Held, downstreams: Mapping[str, Downstream]) -> dict[str, int]:
    """Servers that are set up, those that run now, and their tools."""
    running = sum(one.state in {"starting", "ready"} for one in downstreams.values())
    return {"servers": len(downstreams), "running": running, "tools": len(held.library.tools)}


def status(
    servers: Mapping[str, ServerSettings], held: Held, downstreams: Mapping[str, Downstream]
) -> dict[str, Any]:
    """Tokens saved, calls, p95 and state per server."""
    now = time.time()
    schemas = approximate_tokens(held.schema_chars)
    listed = [one.listed_at for one in held.snapshot.servers.values() if one.listed_at]
    return {
        "tools": len(held.library.tools),
        "snapshot_age_s": round(now - min(listed)) if listed else None,
        "tokens": {
            "schemas": schemas,
            "broker": OWN_TOKENS,
            "saved_percent": round(100 * max(0.0, 1 - OWN_TOKENS / schemas), 2) if schemas else 0.0,
        },
        "servers": [_row(name, one, held, downstreams.get(name)) for name, one in servers.items()],
    }


def _row(
    name: str, settings: ServerSettings, held: Held, downstream: Downstream | None
) -> dict[str, Any]:
    known = held.snapshot.servers.get(name, ServerSnapshot(name))
    facts = downstream.facts if downstream else None
    p95 = facts.p95_ms() if facts else None
    return {
        "name": name,
        "transport": settings.kind,
        "state": _state(settings, downstream),
        "tools": len(known.tools),
        "quarantined": len(known.pending),
        "stale": known.stale or not known.listed_at,
        "calls": facts.calls if facts else 0,
        "errors": facts.errors if facts else 0,
        "starts": facts.starts if facts else 0,
        "p95_ms": None if p95 is None else round(p95, 1),
        "policy": settings.policy or "reads free, the rest asks",
        "last_error": (downstream.last_error if downstream else "") or known.error,
        "retry_in_s": round(downstream.retry_in_s) if downstream else 0,
    }


def _state(settings: ServerSettings, downstream: Downstream | None) -> str:
    if not settings.enabled or downstream is None:
        return "off"
    return downstream.state
