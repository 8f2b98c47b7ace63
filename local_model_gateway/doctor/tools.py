"""Checks of downstream MCP servers: whether their programs are there, and how old their snapshots are."""

import shlex
import time
from collections.abc import Iterator

from broker.settings import ServerSettings
from catalog.model import ServerSnapshot
from catalog.store import SnapshotStore
from local_model_gateway import phrases
from local_model_gateway.doctor import programs
from local_model_gateway.doctor.finding import Case, Finding, fail, mend, note, ok, show

SUBJECT = "Tools"
OLD_S = 30 * 86400.0
"""A server that promises nothing is asked again only when one of its tools is called."""


def servers(case: Case) -> Iterator[Finding]:
    """Every server that is switched on."""
    if case.settings is None or not case.settings.mcp_servers:
        return
    known = SnapshotStore(case.state_dir / "broker" / "snapshot").load().servers
    bad = 0
    for name, server in case.settings.mcp_servers.items():
        if server.enabled:
            program = list(_program(case, name, server))
            # What cannot be started cannot be listed either: one finding is enough.
            findings = program or list(_snapshot(case, name, known.get(name)))
            bad += bool(findings)
            yield from findings
    if not bad:
        count = phrases.count(len(case.settings.mcp_servers), "server")
        tools = sum(len(one.tools) for one in known.values())
        yield ok("TOOLS", SUBJECT, f"{count}, {phrases.count(tools, 'tool')} known")


def _program(case: Case, name: str, server: ServerSettings) -> Iterator[Finding]:
    if server.command is None:
        return
    if programs.missing(server.command, case.env):
        yield fail(
            "MCP-COMMAND-MISSING",
            SUBJECT,
            f"{name}: the program {server.command} is not on the PATH",
            "Its tools can be found and not called.",
            show(f"command -v {shlex.quote(server.command)}"),
        )
    elif closed := programs.not_executable("MCP-NOT-EXECUTABLE", SUBJECT, name, server.command):
        yield closed


def _snapshot(case: Case, name: str, known: ServerSnapshot | None) -> Iterator[Finding]:
    now, listed_at = time.time(), known.listed_at if known else 0.0
    age = f"listed {phrases.span(now - listed_at)} ago" if listed_at else "never listed"
    if known is None or not known.fresh_at(now) or now - listed_at > OLD_S:
        said = f": {known.error[:120]}" if known and known.error else ""
        yield note(
            "MCP-STALE",
            SUBJECT,
            f"{name}: its tools were {age}{said}",
            "Tools that are not in the snapshot are not found.",
            mend(case.command(f"mcp refresh {shlex.quote(name)}")),
        )
    if known is not None and known.pending:
        yield note(
            "MCP-CHANGED",
            SUBJECT,
            f"{name}: {phrases.count(len(known.pending), 'tool')} changed since they were approved",
            "They cannot be called until somebody has looked at the change.",
            show(case.command(f"mcp diff {shlex.quote(name)}")),
        )
