"""Jobs as tasks: for clients that know tasks, a submitted job is one. The job table is the only store."""

from collections.abc import Mapping
from typing import Any, assert_never

import mcp.types as t
from mcp.server.context import CallNext, HandlerResult

from coordinator import errors as coordinator_errors
from coordinator import jobs, loop, state
from mcp_server import caller, job_tools, words
from mcp_server.tasks import Ctx, Status, Support, Task

TASKABLE = frozenset({"submit_job"})


class JobTasks:
    """See `tasks.Source`."""

    def __init__(self, coordinator: loop.Coordinator) -> None:
        self._coordinator = coordinator

    def support(self, tool: str) -> Support:
        """Submitting only; every other tool answers at once anyway."""
        return Support.WHERE_DECLARED if tool in TASKABLE else Support.NEVER

    async def start(
        self, params: t.CallToolRequestParams, ctx: Ctx, call_next: CallNext
    ) -> Task | HandlerResult:
        """The tool does what it always does: its job is on disk when it answers."""
        answer = await call_next(ctx)
        if not isinstance(answer, t.CallToolResult) or answer.is_error:
            return answer
        job_id = (answer.structured_content or {}).get("job_id")
        task = None if job_id is None else await self.find(job_id, caller.owner_of(ctx))
        return answer if task is None else task

    async def find(self, task_id: str, owner: str) -> Task | None:
        """One of the owner's jobs."""
        try:
            found = await self._coordinator.job(task_id, owner)
        except coordinator_errors.NoSuchWork:
            return None
        return self._task(found)

    async def answer(self, task_id: str, owner: str, responses: Mapping[str, Any]) -> None:
        """Jobs ask nothing."""

    async def cancel(self, task_id: str, owner: str) -> None:
        """Cancel the job."""
        await self._coordinator.cancel(task_id, owner, "its agent")

    def _task(self, found: jobs.Job) -> Task:
        item = found.item
        status = _status(item.state)
        result = None
        if status is Status.COMPLETED:
            failed = item.state is state.WorkState.FAILED
            result = job_tools.told(found).model_copy(update={"is_error": failed})
        return Task(
            id=item.id,
            status=status,
            message=_message(found),
            created_at=item.created_at,
            updated_at=item.ended_at or item.started_at or item.created_at,
            kept_ms=max(1, int(self._coordinator.limits.history_s * 1000)),
            result=result,
        )


def _status(work_state: state.WorkState) -> Status:
    match work_state:
        case state.WorkState.QUEUED | state.WorkState.RUNNING:
            return Status.WORKING
        case state.WorkState.SUCCEEDED | state.WorkState.FAILED:
            return Status.COMPLETED
        case state.WorkState.CANCELLED:
            return Status.CANCELLED
        case _:
            assert_never(work_state)


def _message(found: jobs.Job) -> str:
    if found.outlook is not None and found.item.state is state.WorkState.QUEUED:
        return words.waiting(found.outlook)
    return found.item.message or found.item.state.value
