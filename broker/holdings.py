"""The snapshot in memory: what is searched now, replaced whole whenever a listing or an approval changes it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

from broker import policy
from broker.settings import ServerSettings
from catalog import diff, lexicon
from catalog.library import Library
from catalog.model import ServerSnapshot, Snapshot, Tool
from catalog.store import SnapshotStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Held:
    """One consistent picture: tools, index and decisions belong together."""

    snapshot: Snapshot
    library: Library
    decisions: Mapping[str, policy.Decision]
    schema_chars: int

    def decision(self, tool: Tool) -> policy.Decision:
        return self.decisions[tool.tool_id]

    def pending(self, tool: Tool) -> Tool | None:
        """The changed form of a tool in quarantine."""
        return self.snapshot.servers[tool.server].pending.get(tool.name)

    def current(self, tool: Tool) -> bool:
        """Whether the tool is still listed in the form that was approved."""
        server = self.snapshot.servers.get(tool.server)
        return server is not None and any(
            one.name == tool.name and one.digest == tool.digest for one in server.tools
        )


def build(
    snapshot: Snapshot,
    servers: Mapping[str, ServerSettings],
    words: lexicon.Lexicon | None = None,
) -> Held:
    """Read a snapshot for the servers that are configured and enabled; tools that are denied are left out."""
    enabled = {name: one for name, one in servers.items() if one.enabled}
    decisions: dict[str, policy.Decision] = {}
    shown: dict[str, ServerSnapshot] = {}
    for name, settings in enabled.items():
        known = snapshot.servers.get(name, ServerSnapshot(name))
        rules = policy.Rules(settings.policy, settings.tools, settings.trust)
        tools: list[Tool] = []
        for tool in known.tools:
            decision = policy.decide(tool.name, tool.hints, rules)
            if decision.action != "deny":
                decisions[tool.tool_id] = decision
                tools.append(tool)
        shown[name] = diff.with_tools(known, tools, settings.description)
    kept = Snapshot(shown)
    chars = sum(
        len(tool.name) + len(tool.description) + len(tool.input_schema) for tool in kept.tools()
    )
    return Held(kept, Library(kept, words), decisions, chars)


class Holdings:
    """Owns the snapshot's files and the picture made of them; one change at a time."""

    def __init__(self, folder: Path, servers: Mapping[str, ServerSettings]) -> None:
        self._store = SnapshotStore(folder)
        self._servers = servers
        self._stamp: object = None
        self._lock = anyio.Lock()
        self._changed = anyio.Event()
        self._snapshot = Snapshot()
        # Empty until `load`: reading the lexicon here would block whoever makes a broker.
        self.held = build(Snapshot(), {}, lexicon.EMPTY)

    async def load(self) -> None:
        """Read the files if another process changed them since; `lmg mcp approve` is such a process."""
        stamp = await anyio.to_thread.run_sync(self._store.stamp)
        if stamp == self._stamp:
            return
        async with self._lock:
            self._snapshot = await anyio.to_thread.run_sync(self._store.load)
            self._stamp = stamp
            for name, problem in self._store.unreadable.items():
                logger.warning("the snapshot of %s is left out: %s", name, problem)
            await self._rebuild()

    async def absorb(self, listing: diff.Listing) -> diff.Changes:
        """Take a listing in; on return it is on the disk and searched."""
        async with self._lock:
            known = self._snapshot.servers.get(listing.server)
            snapshot, changes = diff.absorb(known, listing)
            if changes or known is None or known.stale or known.pending != snapshot.pending:
                await self._replace(snapshot)
            else:
                self._snapshot = self._snapshot.with_server(snapshot)
        if changes.changed:
            names = ", ".join(changes.changed)
            logger.warning(
                "%s changed %s since it was approved; see `lmg mcp diff`", listing.server, names
            )
        return changes

    async def failed(self, server: str, error: str) -> None:
        """Keep what is known of a server that could not be listed, marked stale."""
        async with self._lock:
            known = self._snapshot.servers.get(server)
            await self._replace(diff.failed(known, server, error))

    async def approve(self, server: str, names: Sequence[str] | None) -> None:
        async with self._lock:
            known = self._snapshot.servers.get(server)
            if known is not None:
                await self._replace(diff.approve(known, names))

    async def _replace(self, snapshot: ServerSnapshot) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._store.save, snapshot)
            self._snapshot = self._snapshot.with_server(snapshot)
            self._stamp = await anyio.to_thread.run_sync(self._store.stamp)
            await self._rebuild()

    async def _rebuild(self) -> None:
        self.held = await anyio.to_thread.run_sync(build, self._snapshot, self._servers)
        before, self._changed = self._changed, anyio.Event()
        before.set()

    async def changed(self, enough: Callable[[Held], bool]) -> None:
        """Until the picture is as wanted."""
        while not enough(self.held):
            await self._changed.wait()
