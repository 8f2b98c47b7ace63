"""The four tools in front of every downstream server's tools; the list of them never changes."""

import functools
import json
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import mcp_types
from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError
from mcp.server.mcpserver.resolve import Elicit, Resolve
from mcp.types import CallToolResult, ResourceLink, TextContent, ToolAnnotations
from pydantic import Field

from broker import errors, rendering, service
from broker import results as kept
from catalog import errors as catalog_errors
from mcp_server import caller
from mcp_server.confirmation import Approval
from mcp_server.results import Result, reply

READS = ToolAnnotations(read_only_hint=True)
CALLS = ToolAnnotations(destructive_hint=True, open_world_hint=True)
RESULT_URI = "gateway://results/{result_id}/{page}"
SHOWN_ARGUMENTS = 400
PROGRESS_EVERY_S = 1.0
# From this revision on, a server cannot ask in the middle of a call.
NO_BACK_CHANNEL_FROM = "2026-07-28"


class Hit(Result):
    """One tool that may be the right one."""

    tool_id: str
    params: str | None = None
    summary: str
    note: str | None = None


class Search(Result):
    """`search_tools`."""

    results: list[Hit]
    hint: str | None = None


class Described(Result):
    """One tool, exactly."""

    tool_id: str
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    output_schema: Any = None  # Any: the server's JSON schema
    call: str | None = None
    stale: bool | None = None
    listed_s_ago: int | None = None
    error: str | None = None


class Sheets(Result):
    """`describe_tool`."""

    tools: list[Described]


class Called(Result):
    """`call_tool`, beside the content blocks of the tool itself."""

    ok: bool
    data: Any = None  # Any: the tool's own structured content
    resource: str | None = None
    confirm: str | None = None


class Servers(Result):
    """`list_servers`."""

    servers: list[dict[str, Any]]


def _scope_name(ctx: Context) -> str:
    """The key's name, as the scopes in the configuration know it."""
    return caller.owner(ctx).removeprefix("key:")


def register(server: MCPServer, broker: service.Broker) -> None:
    """Add the four tools and the resource that kept results are read by."""
    tools = BrokerTools(broker)
    server.add_tool(tools.search_tools, annotations=READS)
    server.add_tool(tools.describe_tool, annotations=READS)
    server.add_tool(_calling(tools), name="call_tool", annotations=CALLS)
    server.add_tool(tools.list_servers, annotations=READS)

    async def read_result(result_id: str, page: str) -> str:
        """One page of a result that was too large to answer."""
        try:
            return await broker.read_spill(result_id, int(page) if page.isdigit() else 1)
        except errors.NoSuchSpill as error:
            raise ResourceNotFoundError(str(error)) from error

    add: Callable[..., Callable[[Callable[..., Awaitable[str]]], Any]] = server.resource
    add(RESULT_URI, title="Kept result", mime_type="application/json")(read_result)


class BrokerTools:
    """The tools, as the model calls them."""

    def __init__(self, broker: service.Broker) -> None:
        self.broker = broker

    async def search_tools(
        self,
        ctx: Context,
        query: str,
        server: str | None = None,
        limit: int = 8,
    ) -> Annotated[CallToolResult, Search]:
        """Find tools of other MCP servers by task, keywords or name. Empty query: overview."""
        try:
            found = await self.broker.search(query, server, limit, caller=_scope_name(ctx))
        except catalog_errors.CatalogError as error:
            raise ToolError(f"{error.code}: {error}") from error
        return reply(Search(results=[_hit(one) for one in found.hits], hint=found.hint or None))

    async def describe_tool(
        self,
        ctx: Context,
        tool_ids: list[str],
        markdown: bool = False,
    ) -> Annotated[CallToolResult, Sheets]:
        """Exact argument schemas of up to 5 tools, for call_tool."""
        tool_ids = tool_ids[: service.MOST_DESCRIBED]
        sheets = await self.broker.describe(tool_ids, _scope_name(ctx))
        described = [
            _described(tool_id, sheet) for tool_id, sheet in zip(tool_ids, sheets, strict=True)
        ]
        answer = reply(Sheets(tools=described))
        if not markdown:
            return answer
        text = "\n\n".join(map(_as_text, sheets))
        return CallToolResult(
            content=[TextContent(type="text", text=text)],
            structured_content=answer.structured_content,
        )

    async def list_servers(self, ctx: Context) -> Annotated[CallToolResult, Servers]:
        """State, tools and changes of every server."""
        return reply(Servers(servers=await self.broker.list_servers(_scope_name(ctx))))


def _calling(tools: BrokerTools) -> Callable[..., Awaitable[CallToolResult]]:
    """`call_tool`; a function of its own because what it asks first depends on the broker."""
    broker = tools.broker

    async def ask(
        ctx: Context, tool_id: str, arguments: dict[str, Any] | None, confirm: str | None
    ) -> Elicit[Approval] | Approval:
        """Nothing to ask where the call is free, cannot be made, or a token speaks for it already."""
        if confirm is not None or not caller.can_be_asked(ctx):
            return Approval(approve=False)
        try:
            decision = broker.preview(tool_id, arguments or {}, _scope_name(ctx))
        except (errors.BrokerError, catalog_errors.CatalogError):
            return Approval(approve=False)
        if decision.action != "ask":
            return Approval(approve=False)
        # The same words in every round: an answer belongs to the question as it was put.
        shown = rendering.compact(arguments or {})[:SHOWN_ARGUMENTS]
        return Elicit(f"Call {tool_id} with {shown}? ({decision.effect}: {decision.why})", Approval)

    async def call_tool(
        ctx: Context,
        tool_id: str,
        answer: Annotated[ElicitationResult[Approval], Resolve(ask)],
        arguments: dict[str, Any] | None = None,
        confirm: Annotated[str | None, Field(description="token, after the user agreed")] = None,
    ) -> Annotated[CallToolResult, Called]:
        """Call a found tool once. May ask the user first."""
        agreed = isinstance(answer, AcceptedElicitation) and answer.data.approve
        asked = _was_asked(broker, ctx, tool_id, arguments or {}, confirm)
        if asked and not agreed:
            raise ToolError(f"declined: the user did not agree to {tool_id}; nothing was called")
        try:
            outcome = await broker.call(
                tool_id,
                arguments or {},
                caller=_scope_name(ctx),
                token=confirm,
                confirmed=agreed,
                progress=_Relay(ctx),
                elicit=_elicit(ctx),
            )
        except errors.NeedsConfirmation as error:
            called = Called(ok=False, confirm=error.token)
            return CallToolResult(
                content=[TextContent(type="text", text=f"{error.code}: {error}")],
                structured_content=called.model_dump(mode="json"),
            )
        except errors.BadArguments as error:
            schema = rendering.compact(error.schema)
            raise ToolError(f"{error.code}: {error}. The schema: {schema}") from error
        except (errors.BrokerError, catalog_errors.CatalogError) as error:
            raise ToolError(f"{error.code}: {error}") from error
        return _answer(outcome)

    return call_tool


def _was_asked(
    broker: service.Broker,
    ctx: Context,
    tool_id: str,
    arguments: dict[str, Any],
    confirm: str | None,
) -> bool:
    """Whether this call's question went to the user, so that a missing yes is a no."""
    if confirm is not None or not caller.can_be_asked(ctx):
        return False
    try:
        return broker.preview(tool_id, arguments, _scope_name(ctx)).action == "ask"
    except (errors.BrokerError, catalog_errors.CatalogError):
        return False


def _hit(found: rendering.Found) -> Hit:
    return Hit(
        tool_id=found.tool_id,
        params=found.params or None,
        summary=found.summary,
        note=found.note or None,
    )


def _described(tool_id: str, sheet: service.Sheet) -> Described:
    tool, decision = sheet.tool, sheet.decision
    if tool is None or decision is None:
        return Described(tool_id=tool_id, error=sheet.error)
    call = "changed since approval, not callable" if sheet.quarantined else decision.action
    return Described(
        tool_id=tool.tool_id,
        description=tool.description,
        input_schema=tool.schema(),
        output_schema=json.loads(tool.output_schema) if tool.output_schema else None,
        call=f"{call} ({decision.effect}: {decision.why})",
        stale=sheet.stale or None,
        listed_s_ago=round(sheet.age_s),
    )


def _as_text(sheet: service.Sheet) -> str:
    if sheet.tool is None or sheet.decision is None:
        return sheet.error
    return rendering.markdown(sheet.tool, sheet.decision)


def _answer(outcome: kept.Outcome) -> CallToolResult:
    content = list(outcome.content)
    uri = None
    if outcome.spill is not None:
        uri = RESULT_URI.format(result_id=outcome.spill.id, page=1)
        name = f"result of {outcome.size_bytes} bytes, page 1 of {outcome.spill.pages}"
        content.append(ResourceLink(type="resource_link", uri=uri, name=name))
    called = Called(ok=not outcome.is_error, data=outcome.structured, resource=uri)
    return CallToolResult(
        content=content,
        structured_content=called.model_dump(mode="json"),
        is_error=outcome.is_error,
    )


class _Relay:
    """Hands progress on to the client, about once a second: some servers send thousands."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._last = 0.0

    async def __call__(
        self, progress: float, total: float | None = None, message: str | None = None
    ) -> None:
        now = time.monotonic()
        if now - self._last >= PROGRESS_EVERY_S or (total is not None and progress >= total):
            self._last = now
            await self._ctx.report_progress(progress, total, message)


def _elicit(ctx: Context) -> Any:  # Any: a callback, or None where the client cannot be asked now
    """A downstream server's question in mid-call, relayed where the client's era has a way back."""
    version = ctx.protocol_version
    if not caller.can_be_asked(ctx) or version is None or version >= NO_BACK_CHANNEL_FROM:
        return None
    return functools.partial(_relayed, ctx)


async def _relayed(
    ctx: Context, params: mcp_types.ElicitRequestFormParams
) -> mcp_types.ElicitResult:
    asked: mcp_types.ElicitResult = await ctx.session.elicit_form(
        f"A tool asks: {params.message}"[:2000], params.requested_schema, ctx.request_id
    )
    return asked
