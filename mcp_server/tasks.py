"""The Tasks extension as a thin view of the job table: for clients that declare it, a job is a task."""

import datetime
from collections.abc import Mapping
from typing import Any, assert_never

import mcp.types as t
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.shared.exceptions import MCPError

from coordinator import errors as coordinator_errors
from coordinator import jobs, loop, state
from mcp_server import caller, job_tools, words

IDENTIFIER = "io.modelcontextprotocol/tasks"
MODERN = frozenset({"2026-07-28"})
POLL_MS = 2000
KEPT_MS = 7 * 86_400_000
TASKABLE = frozenset({"submit_job"})
"""For these, a client that knows tasks gets one instead of a handle."""

Ctx = ServerRequestContext[Any, Any]  # Any: the SDK's own parameters, unused here


class TaskParams(t.RequestParams):
    """Which task."""

    task_id: str


class UpdateParams(TaskParams):
    """Answers to a task's questions; ours ask none once they run."""

    input_responses: dict[str, Any] | None = None


class Tasks(Extension):
    """`tasks/get`, `tasks/update`, `tasks/cancel`; and jobs as tasks where the client can take them."""

    identifier = IDENTIFIER

    def __init__(self, coordinator: loop.Coordinator) -> None:
        self._coordinator = coordinator

    def methods(self) -> list[MethodBinding]:
        """The extension's own methods, in the stateless era alone."""
        return [
            MethodBinding("tasks/get", TaskParams, self.get, MODERN),
            MethodBinding("tasks/update", UpdateParams, self.update, MODERN),
            MethodBinding("tasks/cancel", TaskParams, self.cancel, MODERN),
        ]

    async def get(self, ctx: Ctx, params: TaskParams) -> HandlerResult:
        """State and, at the end, the result."""
        return {"resultType": "complete", **detailed(await self._job(ctx, params))}

    async def update(self, ctx: Ctx, params: UpdateParams) -> HandlerResult:
        """Nothing is ever asked, so there is nothing to take; unknown tasks are refused all the same."""
        await self._job(ctx, params)
        return {"resultType": "complete"}

    async def cancel(self, ctx: Ctx, params: TaskParams) -> HandlerResult:
        """Cancel the job itself."""
        await self._job(ctx, params)
        await self._coordinator.cancel(params.task_id, caller.owner_of(ctx), "its agent")
        return {"resultType": "complete"}

    async def _job(self, ctx: Ctx, params: TaskParams) -> jobs.Job:
        _require(ctx)
        _check_header(ctx, params.task_id)
        try:
            return await self._coordinator.job(params.task_id, caller.owner_of(ctx))
        except coordinator_errors.NoSuchWork as error:
            raise MCPError(t.INVALID_PARAMS, str(error)) from error

    async def intercept_tool_call(
        self, params: t.CallToolRequestParams, ctx: Ctx, call_next: CallNext
    ) -> HandlerResult:
        """A submitted job becomes a task once it is on disk; everything else goes its own way."""
        if params.name not in TASKABLE or not _declared(ctx):
            return await call_next(ctx)
        answer = await call_next(ctx)
        job_id = _submitted(answer)
        if job_id is None:
            return answer
        found = await self._coordinator.job(job_id, caller.owner_of(ctx))
        return {"resultType": "task", **brief(found)}


def _submitted(answer: HandlerResult) -> str | None:
    """The job's id, if the tool did submit one."""
    if not isinstance(answer, t.CallToolResult) or answer.is_error:
        return None
    data = answer.structured_content
    return data.get("job_id") if isinstance(data, Mapping) else None


def _declared(ctx: Ctx) -> bool:
    capabilities = ctx.session.client_capabilities
    extensions = None if capabilities is None else capabilities.extensions
    return ctx.protocol_version in MODERN and bool(extensions) and IDENTIFIER in (extensions or {})


def _require(ctx: Ctx) -> None:
    if not _declared(ctx):
        raise MCPError(
            t.MISSING_REQUIRED_CLIENT_CAPABILITY,
            f"declare the {IDENTIFIER} extension to use tasks",
            {"requiredCapabilities": {"extensions": {IDENTIFIER: {}}}},
        )


def _check_header(ctx: Ctx, task_id: str) -> None:
    """A client in use sends no `Mcp-Name` here, so only a wrong one is refused."""
    if ctx.request is None:
        return
    name = ctx.request.headers.get("mcp-name")
    if name is not None and name != task_id:
        raise MCPError(t.HEADER_MISMATCH, "Mcp-Name does not match params.taskId")


def brief(found: jobs.Job) -> dict[str, Any]:
    """A task without its result."""
    item = found.item
    changed = item.ended_at or item.started_at or item.created_at
    return {
        "taskId": item.id,
        "status": task_status(item.state),
        "statusMessage": _message(found),
        "createdAt": _when(item.created_at),
        "lastUpdatedAt": _when(changed),
        "ttlMs": KEPT_MS,
        "pollIntervalMs": POLL_MS,
    }


def detailed(found: jobs.Job) -> dict[str, Any]:
    """A task with its result: a failed job is a complete call whose result is an error."""
    row = brief(found)
    if row["status"] == "completed":
        answer = job_tools.told(found)
        failed = found.item.state is state.WorkState.FAILED
        row["result"] = answer.model_copy(update={"is_error": failed}).model_dump(
            mode="json", by_alias=True, exclude_none=True
        )
    return row


def task_status(work_state: state.WorkState) -> str:
    """The extension's word for a state of ours."""
    match work_state:
        case state.WorkState.QUEUED | state.WorkState.RUNNING:
            return "working"
        case state.WorkState.SUCCEEDED | state.WorkState.FAILED:
            return "completed"
        case state.WorkState.CANCELLED:
            return "cancelled"
        case _:
            assert_never(work_state)


def _message(found: jobs.Job) -> str:
    if found.outlook is not None and found.item.state is state.WorkState.QUEUED:
        return words.waiting(found.outlook)
    return found.item.message or found.item.state.value


def _when(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="milliseconds")
