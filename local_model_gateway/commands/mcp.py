"""`lmg mcp`: downstream MCP servers and their tools, mostly from the snapshot on disk and without a gateway."""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
from cyclopts import Parameter

from local_model_gateway import config, errors, paths
from local_model_gateway.terminal import Terminal

if TYPE_CHECKING:
    from broker.holdings import Held

IMPORTED = "mcp-imported.yaml"


@Parameter(name="*")
@dataclass
class Everywhere:
    """What every verb takes."""

    json: Annotated[bool, Parameter(negative="", help="one JSON object")] = False
    no_color: Annotated[bool, Parameter(negative="", help="also by the variable NO_COLOR")] = False
    file: Annotated[Path | None, Parameter("--config", help="the configuration to use")] = None
    url: Annotated[str | None, Parameter(help="not needed: these verbs read files")] = None

    def terminal(self) -> Terminal:
        return Terminal(wants_json=self.json, no_color=self.no_color)

    def settings(self) -> config.Config:
        return config.load(self.file, os.environ)


class Verbs(cyclopts.App):
    """Takes options that stand before the verb, as the rest of `lmg` does."""

    def __call__(self, tokens: Any = None, **options: Any) -> Any:  # Any: as cyclopts declares it
        if isinstance(tokens, list):
            tokens = _verb_first(tokens)
        return super().__call__(tokens, **options)


def _verb_first(tokens: Sequence[str]) -> list[str]:
    rest, before = list(tokens), []
    while rest and rest[0] in {"--json", "--no-color", "--config", "--url"}:
        before.append(rest.pop(0))
        if before[-1] in {"--config", "--url"} and rest:
            before.append(rest.pop(0))
    return [*rest[:1], *before, *rest[1:]] if rest else before or ["ls"]


app = Verbs(
    name="lmg mcp",
    help="Downstream MCP servers and their tools.",
    version_flags=[],
    result_action="return_value",
)


def _held(settings: config.Config) -> "Held":
    """The snapshot on disk for the configured servers."""
    from broker import holdings
    from catalog.store import SnapshotStore

    store = SnapshotStore(_folder(settings))
    snapshot = store.load()
    for problem in store.unreadable.values():
        sys.stderr.write(f"left out: {problem}\n")
    return holdings.build(snapshot, settings.mcp_servers)


def _folder(settings: config.Config) -> Path:
    return settings.state_path(os.environ) / "broker" / "snapshot"


@app.command
def ls(*, everywhere: Everywhere | None = None) -> int:
    """Servers, their tools, and what waits for a look."""
    given = everywhere or Everywhere()
    settings, terminal = given.settings(), given.terminal()
    held = _held(settings)
    rows, content = [], []
    for name, server in settings.mcp_servers.items():
        known = held.snapshot.servers.get(name)
        tools = len(known.tools) if known else 0
        listed = _ago(known.listed_at) if known and known.listed_at else "never"
        notes = _notes(server.enabled, known)
        content.append(
            {
                "name": name,
                "transport": server.kind,
                "tools": tools,
                "listed": listed,
                "notes": notes,
            }
        )
        rows.append((name, server.kind, str(tools), listed, ", ".join(notes)))
    text = "no servers: `lmg mcp import` finds those of your clients, or add `mcp_servers:`"
    if rows:
        text = terminal.table(("SERVER", "BY", "TOOLS", "LISTED", ""), rows)
    terminal.result("lmg.mcp.servers/1", {"servers": content}, text)
    return 0


def _notes(enabled: bool, known: Any) -> list[str]:  # Any: a ServerSnapshot, not imported here
    notes = [] if enabled else ["off"]
    if known is not None and known.stale:
        notes.append(f"stale: {known.error[:80]}")
    if known is not None and known.pending:
        notes.append(f"{len(known.pending)} changed, see `lmg mcp diff`")
    return notes


@app.command
def search(
    *query: str,
    server: str | None = None,
    limit: int = 8,
    everywhere: Everywhere | None = None,
) -> int:
    """Find a tool by what it does, by keywords or by a misspelt name."""
    from broker import rendering
    from catalog.errors import CatalogError

    given = everywhere or Everywhere()
    terminal, held = given.terminal(), _held(given.settings())
    try:
        wanted = held.library.server(server) if server else None
    except CatalogError as error:
        raise errors.NoSuchThing(str(error)) from None
    matches = held.library.search(
        " ".join(query), limit, (lambda tool: tool.server == wanted) if wanted else None
    )
    found = rendering.hits(
        (match, held.decision(match.tool), held.pending(match.tool) is not None)
        for match in matches
    )
    content = [
        {"tool_id": one.tool_id, "params": one.params, "summary": one.summary, "note": one.note}
        for one in found
    ]
    lines = [
        f"{terminal.paint('bold', one.tool_id)} {terminal.paint('dim', one.params)}\n    {one.summary}"
        + (f"  [{one.note}]" if one.note else "")
        for one in found
    ]
    near = ", ".join(held.library.nearest(" ".join(query)))
    empty = "nothing found" + (f"; similar names: {near}" if near else "")
    terminal.result("lmg.mcp.search/1", {"results": content}, "\n".join(lines) or empty)
    return 0 if found else errors.NoSuchThing.exit_code


@app.command
def describe(*tools: str, markdown: bool = False, everywhere: Everywhere | None = None) -> int:
    """The exact schema of tools, and what a call would meet."""
    import json

    from broker import rendering
    from catalog.errors import CatalogError

    given = everywhere or Everywhere()
    terminal, held = given.terminal(), _held(given.settings())
    content, texts = [], []
    for tool_id in tools:
        try:
            tool = held.library.resolve(tool_id)
        except CatalogError as error:
            raise errors.NoSuchThing(str(error)) from None
        decision = held.decision(tool)
        content.append(
            {
                "tool_id": tool.tool_id,
                "description": tool.description,
                "input_schema": tool.schema(),
                "effect": decision.effect,
                "action": decision.action,
                "why": decision.why,
                "changed": held.pending(tool) is not None,
            }
        )
        plain = f"{tool.tool_id}\n{tool.description}\n{json.dumps(tool.schema(), indent=2)}"
        texts.append(rendering.markdown(tool, decision) if markdown else plain)
    terminal.result("lmg.mcp.tools/1", {"tools": content}, "\n\n".join(texts))
    return 0


@app.command
def diff(server: str | None = None, *, everywhere: Everywhere | None = None) -> int:
    """What changed in tools since they were approved; such tools cannot be called."""
    from catalog import diff as changes

    given = everywhere or Everywhere()
    settings, terminal = given.settings(), given.terminal()
    held = _held(settings)
    found: dict[str, list[str]] = {}
    for name in [_known(settings, server)] if server else settings.mcp_servers:
        known = held.snapshot.servers.get(name)
        approved = {tool.name: tool for tool in known.tools} if known else {}
        for tool_name, new in known.pending.items() if known else ():
            if tool_name in approved:
                found[new.tool_id] = changes.lines(approved[tool_name], new)
    text = "\n\n".join("\n".join(lines) for lines in found.values())
    if found:
        text += "\n\nlook closely, then: lmg mcp approve SERVER [TOOL ...]"
    terminal.result("lmg.mcp.diff/1", {"changed": found}, text or "nothing changed")
    return 0


@app.command
def approve(server: str, *tools: str, everywhere: Everywhere | None = None) -> int:
    """Accept the changed form of a server's tools, all of them or those named."""
    from catalog import diff as changes
    from catalog.store import SnapshotStore

    given = everywhere or Everywhere()
    settings, terminal = given.settings(), given.terminal()
    name = _known(settings, server)
    store = SnapshotStore(_folder(settings))
    known = store.load().servers.get(name)
    waiting = dict(known.pending) if known else {}
    missing = [tool for tool in tools if tool not in waiting]
    if known is None or missing or not waiting:
        what = f"{', '.join(missing)} of {name}" if missing else name
        raise errors.NoSuchThing(f"nothing of {what} waits for approval; see `lmg mcp diff`")
    store.save(changes.approve(known, tools or None))
    accepted = sorted(tools or waiting)
    terminal.result(
        "lmg.mcp.approved/1",
        {"server": name, "tools": accepted},
        f"approved: {', '.join(accepted)}; a running gateway sees it within seconds",
    )
    return 0


@app.command
def refresh(*servers: str, everywhere: Everywhere | None = None) -> int:
    """Start servers once to list their tools; signs in with the browser where a server asks for it."""
    import anyio

    given = everywhere or Everywhere()
    settings, terminal = given.settings(), given.terminal()
    names = [_known(settings, name) for name in servers] or [
        name for name, server in settings.mcp_servers.items() if server.enabled
    ]
    outcome = anyio.run(_refreshed, settings, names, terminal)
    failed = {name: why for name, why in outcome.items() if isinstance(why, str)}
    lines = [
        f"{name}: {why}" if isinstance(why, str) else f"{name}: {why} tools"
        for name, why in outcome.items()
    ]
    terminal.result("lmg.mcp.refreshed/1", {"servers": outcome}, "\n".join(lines))
    return 1 if failed else 0


async def _refreshed(
    settings: config.Config, names: Sequence[str], terminal: Terminal
) -> dict[str, int | str]:
    from broker.errors import BrokerError
    from broker.service import Broker

    outcome: dict[str, int | str] = {}
    async with Broker(
        settings.mcp_servers,
        settings.state_path(os.environ),
        settings.broker,
        interactive=terminal.interactive,
        list_unknown=False,
    ) as broker:
        for name in names:
            terminal.progress(f"listing {name}")
            try:
                await broker.refresh(name)
                outcome[name] = len(broker.held.snapshot.servers[name].tools)
            except BrokerError as error:
                outcome[name] = str(error)
    return outcome


@app.command(name="import")
def import_(*clients: str, write: bool = False, everywhere: Everywhere | None = None) -> int:
    """Servers that your clients already have, as a section for the configuration; secrets by reference.

    Parameters
    ----------
    clients
        Only these, such as claude-code or cursor; all known ones if none is named.
    write
        Put it into the configuration folder, as a file of its own.
    """
    from broker import importing

    given = everywhere or Everywhere()
    terminal = given.terminal()
    known = {client.name: client for client in importing.CLIENTS}
    strange = [name for name in clients if name not in known]
    if strange:
        raise errors.NoSuchThing(f"no client {strange[0]!r}; known: {', '.join(sorted(known))}")
    chosen = [known[name] for name in clients] or list(known.values())
    found = importing.read(chosen, Path.home(), Path.cwd())
    for what, why in found.skipped.items():
        terminal.note(f"left out {paths.shown(Path(what))}: {why}")
    for name, variables in found.variables.items():
        terminal.note(f"{name} needs {', '.join(variables)} in the gateway's environment")
    content = {"servers": found.servers, "found_in": found.found_in, "variables": found.variables}
    text = importing.as_yaml(found.servers) if found.servers else "no servers found"
    if write and found.servers:
        path = paths.config_dir(os.environ) / "conf.d" / IMPORTED
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# Written by `lmg mcp import`; it may be written again.\n{text}", "utf-8")
        text = f"{len(found.servers)} servers in {paths.shown(path)}; now: lmg mcp refresh"
    terminal.result("lmg.mcp.import/1", content, text.rstrip())
    return 0


def _known(settings: config.Config, server: str) -> str:
    from catalog.library import similar

    if server in settings.mcp_servers:
        return server
    near = similar(server, list(settings.mcp_servers))
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    raise errors.NoSuchThing(f"no server {server!r} is configured{hint}")


def _ago(then: float) -> str:
    seconds = max(0.0, time.time() - then)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
