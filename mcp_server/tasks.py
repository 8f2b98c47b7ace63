"""The Tasks extension: its methods, checks and envelopes. What a task is, its sources know."""

import datetime
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import mcp.types as t
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.shared.exceptions import MCPError

from mcp_server import caller

IDENTIFIER = "io.modelcontextprotocol/tasks"
MODERN = frozenset({"2026-07-28"})
POLL_MS = 2000

Ctx = ServerRequestContext[Any, Any]  # Any: the SDK's own parameters, unused here


class Support(enum.Enum):
    """Whether a call of a tool becomes a task."""

    NEVER = enum.auto()
    WHERE_DECLARED = enum.auto()
    """For clients that know tasks; the others get the tool's own answer."""
    REQUIRED = enum.auto()


class Status(enum.StrEnum):
    """The extension's states."""

    WORKING = "working"
    INPUT_REQUIRED = "input_required"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Task:
    """One task as it is now. A tool that failed is a completed task whose result is an error."""

    id: str
    status: Status
    message: str
    created_at: float
    updated_at: float
    kept_ms: int
    result: t.CallToolResult | None = None
    error: t.ErrorData | None = None
    """Only where the protocol itself failed."""
    input_requests: Mapping[str, Any] | None = None  # Any: requests as they go over the wire


class Source(Protocol):
    """Where tasks come from and live. Each belongs to its owner: foreign and unknown ones are alike."""

    def support(self, tool: str) -> Support:
        """Whether calls of this tool become tasks of this source."""

    async def start(
        self, params: t.CallToolRequestParams, ctx: Ctx, call_next: CallNext
    ) -> Task | HandlerResult:
        """A task that is durable already; or another answer, such as an error or a question first."""

    async def find(self, task_id: str, owner: str) -> Task | None:
        """One task."""

    async def answer(self, task_id: str, owner: str, responses: Mapping[str, Any]) -> None:
        """What the client says to a task's questions; unknown ones are ignored."""

    async def cancel(self, task_id: str, owner: str) -> None:
        """Cancel it; one that has ended stays as it is."""


class TaskParams(t.RequestParams):
    """Which task."""

    task_id: str


class UpdateParams(TaskParams):
    """Answers to a task's questions."""

    input_responses: dict[str, Any] | None = None


class Tasks(Extension):
    """`tasks/get`, `tasks/update`, `tasks/cancel`, and calls that become tasks."""

    identifier = IDENTIFIER

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = tuple(sources)

    def methods(self) -> list[MethodBinding]:
        """In the stateless era alone; `tasks/list` and `tasks/result` are gone on purpose."""
        return [
            MethodBinding("tasks/get", TaskParams, self.get, MODERN),
            MethodBinding("tasks/update", UpdateParams, self.update, MODERN),
            MethodBinding("tasks/cancel", TaskParams, self.cancel, MODERN),
        ]

    async def get(self, ctx: Ctx, params: TaskParams) -> HandlerResult:
        """State and, at the end, the result."""
        _, task = await self._find(ctx, params)
        return {"resultType": "complete", **_detailed(task)}

    async def update(self, ctx: Ctx, params: UpdateParams) -> HandlerResult:
        """Pass answers on; what comes of them is seen with the next `tasks/get`."""
        source, task = await self._find(ctx, params)
        await source.answer(task.id, caller.owner_of(ctx), params.input_responses or {})
        return {"resultType": "complete"}

    async def cancel(self, ctx: Ctx, params: TaskParams) -> HandlerResult:
        """Cancel the work itself."""
        source, task = await self._find(ctx, params)
        await source.cancel(task.id, caller.owner_of(ctx))
        return {"resultType": "complete"}

    async def _find(self, ctx: Ctx, params: TaskParams) -> tuple[Source, Task]:
        if not _declared(ctx):
            raise _undeclared()
        _check_header(ctx, params.task_id)
        for source in self._sources:
            task = await source.find(params.task_id, caller.owner_of(ctx))
            if task is not None:
                return source, task
        raise MCPError(t.INVALID_PARAMS, f"no task {params.task_id!r}")

    async def intercept_tool_call(
        self, params: t.CallToolRequestParams, ctx: Ctx, call_next: CallNext
    ) -> HandlerResult:
        """The server decides what becomes a task; a client only says that it knows what one is."""
        for source in self._sources:
            match source.support(params.name), _declared(ctx):
                case (Support.NEVER, _) | (Support.WHERE_DECLARED, False):
                    continue
                case Support.REQUIRED, False:
                    raise _undeclared()
                case _:
                    answer = await source.start(params, ctx, call_next)
                    if isinstance(answer, Task):
                        return {"resultType": "task", **_brief(answer)}
                    return answer
        return await call_next(ctx)


def _declared(ctx: Ctx) -> bool:
    capabilities = ctx.session.client_capabilities
    extensions = None if capabilities is None else capabilities.extensions
    return ctx.protocol_version in MODERN and IDENTIFIER in (extensions or {})


def _undeclared() -> MCPError:
    return MCPError(
        t.MISSING_REQUIRED_CLIENT_CAPABILITY,
        f"declare the extension {IDENTIFIER} to use tasks",
        {"requiredCapabilities": {"extensions": {IDENTIFIER: {}}}},
    )


def _check_header(ctx: Ctx, task_id: str) -> None:
    """A client in use sends no `Mcp-Name` here, so only a wrong one is refused."""
    if ctx.request is None:
        return
    name = ctx.request.headers.get("mcp-name")
    if name is not None and name != task_id:
        raise MCPError(t.HEADER_MISMATCH, "Mcp-Name does not match params.taskId")


def _brief(task: Task) -> dict[str, Any]:
    return {
        "taskId": task.id,
        "status": task.status.value,
        "statusMessage": task.message,
        "createdAt": _when(task.created_at),
        "lastUpdatedAt": _when(task.updated_at),
        "ttlMs": task.kept_ms,
        "pollIntervalMs": POLL_MS,
    }


def _detailed(task: Task) -> dict[str, Any]:
    row = _brief(task)
    if task.input_requests is not None:
        row["inputRequests"] = dict(task.input_requests)
    if task.result is not None:
        row["result"] = task.result.model_dump(mode="json", by_alias=True, exclude_none=True)
    if task.error is not None:
        row["error"] = task.error.model_dump(mode="json", by_alias=True, exclude_none=True)
    return row


def _when(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="milliseconds")
