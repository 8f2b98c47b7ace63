"""The broker: finds, describes and calls tools of servers that sleep until they are called."""

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.abc

from broker import arguments as checks
from broker import audit, confirm, connect, meaning, policy, rendering, reports, results
from broker.downstream import Downstream, Elicit, Progress
from broker.errors import BadArguments, BrokerError, NeedsConfirmation, Refused, ServerUnavailable
from broker.holdings import Held, Holdings
from broker.settings import BrokerSettings, Effect, Scope, ServerSettings
from catalog.diff import Listing
from catalog.errors import CatalogError, UnknownTool
from catalog.library import Match
from catalog.model import Tool

logger = logging.getLogger(__name__)

LOOK_AGAIN_S = 2.0
MOST_DESCRIBED = 5
MOST_HITS = 50
FIRST_LISTINGS_AT_ONCE = 2
_EVERYTHING = Scope()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search found."""

    hits: list[rendering.Found]
    total: int
    hint: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """One described tool, or why there is none."""

    tool: Tool | None
    decision: policy.Decision | None
    quarantined: bool
    age_s: float
    stale: bool
    error: str = ""


class Broker:
    """Open it with `async with`; everything it started is gone when the block ends."""

    def __init__(
        self,
        servers: Mapping[str, ServerSettings],
        state_dir: Path,
        settings: BrokerSettings | None = None,
        interactive: bool = False,
        list_unknown: bool = True,
    ) -> None:
        self.servers, self.settings = dict(servers), settings or BrokerSettings()
        folder = state_dir / "broker"
        self._holdings = Holdings(folder / "snapshot", self.servers)
        self._spills = results.Spills(folder / "results", self.settings.keep_results)
        self._audit = audit.Audit(folder / "audit.jsonl")
        self._places = connect.Places(folder / "tokens.json", interactive)
        self._asked = confirm.Confirmations(self.settings.confirm_within, time.monotonic)
        self._meaning = meaning.open_meaning(self.settings.embedding, folder / "vectors")
        self._list_unknown = list_unknown
        self._looked_at = -LOOK_AGAIN_S
        self._stack = contextlib.AsyncExitStack()
        self._downstreams: dict[str, Downstream] = {}
        self._group: anyio.abc.TaskGroup

    async def __aenter__(self) -> Self:
        await self._holdings.load()
        await anyio.to_thread.run_sync(self._spills.sweep)
        self._group = await self._stack.enter_async_context(anyio.create_task_group())
        for name, server in self.servers.items():
            if server.enabled:
                self._downstreams[name] = Downstream(
                    name, server, self._group, self._places, self._listed, self._spills.new_path
                )
        if self._meaning is not None:
            self._group.start_soon(self._meaning.keep_up, lambda: self.held.library.tools)
        if self._list_unknown:
            self._group.start_soon(self._first_listings)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as closing:
                for downstream in self._downstreams.values():
                    closing.start_soon(downstream.close)
        self._group.cancel_scope.cancel()
        # Without the error: it is not our tasks' and must not come out wrapped in a group.
        await self._stack.__aexit__(None, None, None)
        return None

    @property
    def held(self) -> Held:
        return self._holdings.held

    def downstream(self, name: str) -> Downstream:
        """The actor of one enabled server."""
        return self._downstreams[name]

    # Finding

    async def search(
        self,
        query: str,
        server: str | None = None,
        limit: int = 8,
        effect: Effect | None = None,
        caller: str = "",
    ) -> Answer:
        """The tools that fit best; nothing is started and nothing is listed for it."""
        await self._look()
        held, scope = self.held, self._scope(caller)
        if server is not None:
            server = held.library.server(server)
        if not query.strip():
            return self._overview(held, server)

        def allow(tool: Tool) -> bool:
            decision = held.decision(tool)
            return (
                (server is None or tool.server == server)
                and (effect is None or decision.effect == effect)
                and (scope is _EVERYTHING or self._in_scope(scope, tool.server, decision))
            )

        free = server is None and effect is None and scope is _EVERYTHING
        ranking = await self._meaning.rank(query) if self._meaning is not None else None
        matches = await anyio.to_thread.run_sync(
            held.library.search,
            query[:1000],
            max(1, min(limit, MOST_HITS)),
            None if free else allow,
            ranking,
        )
        hint = "" if matches else reports.nothing_fits(held.snapshot, held.library.nearest(query))
        return Answer(self._shown(held, matches), len(matches), hint)

    def _shown(self, held: Held, matches: Sequence[Match]) -> list[rendering.Found]:
        return rendering.hits(
            (match, held.decision(match.tool), held.pending(match.tool) is not None)
            for match in matches
        )

    def _overview(self, held: Held, server: str | None) -> Answer:
        tools = [tool for tool in held.library.tools if server in {None, tool.server}]
        if server is None:
            return Answer([], len(tools), reports.overview(held.snapshot))
        matches = [Match(tool, 0.0, "") for tool in tools[:MOST_HITS]]
        return Answer(self._shown(held, matches), len(tools), "")

    async def describe(self, tool_ids: Sequence[str], caller: str = "") -> list[Sheet]:
        """Exact schemas and what a call would meet; an unknown id gets the nearest ones instead."""
        await self._look()
        return [self._sheet(tool_id, caller) for tool_id in tool_ids[:MOST_DESCRIBED]]

    def _sheet(self, tool_id: str, caller: str) -> Sheet:
        held = self.held
        try:
            tool = held.library.resolve(tool_id)
        except UnknownTool as error:
            return Sheet(None, None, False, 0.0, False, str(error))
        decision = held.decision(tool)
        if not self._in_scope(self._scope(caller), tool.server, decision):
            return Sheet(None, None, False, 0.0, False, str(UnknownTool(tool_id, ())))
        server = held.snapshot.servers[tool.server]
        now = time.time()
        quarantined = held.pending(tool) is not None
        stale = not server.fresh_at(now)
        return Sheet(tool, decision, quarantined, now - server.listed_at, stale)

    # Calling

    def preview(self, tool_id: str, arguments: dict[str, Any], caller: str = "") -> policy.Decision:
        """What a call would meet; raises what the call itself would raise before anything is started."""
        held = self.held
        tool = held.library.resolve(tool_id)
        decision = held.decision(tool)
        if not self._in_scope(self._scope(caller), tool.server, decision):
            raise Refused(tool.tool_id, "this key may not use it")
        if held.pending(tool) is not None:
            raise Refused(
                tool.tool_id,
                f"it changed since it was approved; the user can look with `lmg mcp diff {tool.server}` "
                f"and accept with `lmg mcp approve {tool.server}`",
            )
        problems = checks.problems(tool, arguments)
        if problems:
            raise BadArguments(tool.tool_id, problems, tool.schema())
        return decision

    async def call(
        self,
        tool_id: str,
        arguments: dict[str, Any],
        caller: str = "",
        token: str | None = None,
        confirmed: bool = False,
        progress: Progress | None = None,
        elicit: Elicit | None = None,
    ) -> results.Outcome:
        """Call one tool once. Raises a `BrokerError` or `CatalogError` whose message says what to do."""
        began = time.monotonic()
        await self._look()
        row = audit.Row(tool_id[:200], caller, "unknown", "", "", "")
        outcome, size = "cancelled", 0
        try:
            decision = self.preview(tool_id, arguments, caller)
            tool = self.held.library.resolve(tool_id)
            call = confirm.digest(tool.tool_id, tool.digest, arguments, caller)
            row = audit.Row(tool.tool_id, caller, decision.effect, decision.action, "", call)
            if decision.action == "ask" and not confirmed:
                confirmed = self._confirmed(tool, decision, call, token)
            result = await self._made(tool, arguments, progress, elicit)
            size = result.size_bytes
            outcome = "tool_error" if result.is_error else "ok"
            return result
        except (BrokerError, CatalogError) as error:
            outcome = error.code
            raise
        finally:
            spent = (time.monotonic() - began) * 1000
            await self._record(row, outcome, spent, size, confirmed)

    def _confirmed(
        self, tool: Tool, decision: policy.Decision, call: str, token: str | None
    ) -> bool:
        if token is not None and self._asked.redeem(token, call):
            return True
        why = f"{decision.effect}: {decision.why}"
        if token is not None:
            why = "that token is spent, expired or for another call"
        ttl = self.settings.confirm_within
        raise NeedsConfirmation(tool.tool_id, why, self._asked.ask(call), ttl)

    async def _made(
        self,
        tool: Tool,
        arguments: dict[str, Any],
        progress: Progress | None,
        elicit: Elicit | None,
    ) -> results.Outcome:
        def still_approved() -> None:
            # Opening a server lists its tools; what changed in its sleep is found out before the call.
            if not self.held.current(tool):
                raise Refused(tool.tool_id, "the server does not offer it any more")
            if self.held.pending(tool) is not None:
                raise Refused(tool.tool_id, "it changed since it was approved; see `lmg mcp diff`")

        downstream = self._downstreams[tool.server]
        result = await downstream.call(tool.name, arguments, still_approved, progress, elicit)
        return await results.outcome(result, self._spills, self.settings.result_limit)

    async def _record(
        self, row: audit.Row, outcome: str, ms: float, size: int, confirmed: bool
    ) -> None:
        whole = audit.Row(
            row.tool,
            row.caller,
            row.effect,
            row.action,
            outcome,
            row.arguments_digest,
            round(ms, 1),
            size,
            confirmed,
        )
        with anyio.CancelScope(shield=True):
            try:
                await anyio.to_thread.run_sync(self._audit.write, whole)
            except OSError:
                logger.exception("the audit row of %s could not be written", row.tool)

    async def read_spill(self, spill_id: str, page: int = 1) -> str:
        """One page of a kept result; raises `NoSuchSpill`."""
        return await anyio.to_thread.run_sync(self._spills.read, spill_id, page)

    # Running it

    async def refresh(self, server: str) -> None:
        """List one server's tools now, starting it if need be; raises `ServerUnavailable`."""
        name = self._configured(server)
        downstream = self._downstreams.get(name)
        if downstream is None:
            raise ServerUnavailable(name, "it is not enabled")
        downstream.forgive()
        try:
            await downstream.refresh()
        except ServerUnavailable as error:
            await self._holdings.failed(name, str(error))
            raise

    async def approve(self, server: str, names: Sequence[str] | None = None) -> None:
        """Accept what changed; only ever on a person's word, so no tool of ours reaches it."""
        await self._holdings.approve(self._configured(server), names)

    async def list_servers(self, caller: str = "") -> list[dict[str, Any]]:
        """Every server with its state, and what waits in quarantine."""
        await self._look()
        scope = self._scope(caller)
        return [
            reports.server(name, one, self.held.snapshot, self._downstreams.get(name))
            for name, one in self.servers.items()
            if scope.covers(name)
        ]

    def counts(self) -> dict[str, int]:
        """The broker in three numbers."""
        return reports.counts(self.held, self._downstreams)

    def status(self) -> dict[str, Any]:
        """Facts for /status and the dashboard."""
        return reports.status(self.servers, self.held, self._downstreams)

    async def reload(self) -> None:
        """See at once what another process wrote; otherwise it is seen within seconds."""
        await self._holdings.load()

    async def changed(self, enough: Callable[[Held], bool]) -> None:
        """Until what is known of the tools is as wanted."""
        await self._holdings.changed(enough)

    async def understands(self) -> None:
        """Until every tool has its vector; at once where no embedding is configured."""
        if self._meaning is not None:
            await self._meaning.ready.wait()

    async def _listed(self, listing: Listing) -> None:
        await self._holdings.absorb(listing)

    async def _first_listings(self) -> None:
        """Make servers that were never listed searchable, a few at a time, and let them sleep again."""
        limiter = anyio.CapacityLimiter(FIRST_LISTINGS_AT_ONCE)

        async def first(name: str) -> None:
            async with limiter:
                with contextlib.suppress(ServerUnavailable):
                    await self.refresh(name)
                    await self._downstreams[name].close()

        async with anyio.create_task_group() as group:
            for name, one in self.held.snapshot.servers.items():
                if not one.listed_at and self.servers[name].auth is None:
                    group.start_soon(first, name)

    async def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked_at >= LOOK_AGAIN_S:
            self._looked_at = now
            await self._holdings.load()

    def _configured(self, server: str) -> str:
        if server in self.servers:
            return server
        return self.held.library.server(server, self.servers)

    def _scope(self, caller: str) -> Scope:
        return self.settings.scopes.get(caller, _EVERYTHING)

    @staticmethod
    def _in_scope(scope: Scope, server: str, decision: policy.Decision) -> bool:
        if scope.expires is not None and datetime.now(UTC) >= scope.expires.astimezone(UTC):
            return False
        return scope.covers(server) and decision.effect in scope.effects
