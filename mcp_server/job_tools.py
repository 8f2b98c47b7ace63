"""Durable work over MCP: submit, look, wait a little, list, cancel. A job never depends on a connection."""

import json
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.types import CallToolResult, ResourceLink, ToolAnnotations
from pydantic import Field

from coordinator import jobs, loop, state, work
from mcp_server import caller, errors, job_body, results, words
from mcp_server.info import JOB_URI

READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
WRITES = ToolAnnotations(destructive_hint=False, open_world_hint=False)
ENDS = ToolAnnotations(destructive_hint=True, idempotent_hint=True, open_world_hint=False)

WAIT_CAP_S = 40.0
"""Most clients give a call up after 60 s; this leaves room for everything around the wait."""
PROGRESS_EVERY_S = 1.0
RESULT_SHOWN_BYTES = 24 * 1024
"""About 6,000 tokens; the whole is in the job's resource."""
LISTED = 20

_CANCELLED = {
    loop.CancelOutcome.DEQUEUED: "was still queued; nothing ran",
    loop.CancelOutcome.STOPPED: "was running; its engine was told to stop",
    loop.CancelOutcome.ALREADY_ENDED: "had ended already; nothing changed",
}


@dataclass(frozen=True, slots=True)
class JobTools:
    """The tools that speak of jobs."""

    coordinator: loop.Coordinator

    def register(self, server: MCPServer) -> None:
        """Add them; the list keeps this order."""
        server.add_tool(self.submit_job, title="Submit job", annotations=WRITES)
        server.add_tool(self.get_job, title="Get job", annotations=READS)
        server.add_tool(self.wait_for_job, title="Wait for job", annotations=READS)
        server.add_tool(self.list_jobs, title="List jobs", annotations=READS)
        server.add_tool(self.cancel_runtime_request, title="Cancel work", annotations=ENDS)

    async def submit_job(
        self,
        ctx: Context,
        model: str,
        body: Annotated[
            dict[str, Any], Field(description='OpenAI request body; chat takes {"prompt"} too')
        ],
        kind: Literal["chat", "completion", "embedding", "one_shot"] = "chat",
        priority: Annotated[
            int | Literal["batch", "normal", "interactive"], Field(description="0-100 or a name")
        ] = "normal",
        idempotency_key: Annotated[str | None, Field(max_length=200)] = None,
        max_attempts: Annotated[int, Field(ge=1, le=10)] = 2,
    ) -> Annotated[CallToolResult, results.Job]:
        """Queue work on a local model; returns a job_id at once. Survives restarts. A repeat with the same idempotency_key joins the first."""
        with errors.told():
            request = job_body.request(
                self.coordinator.registry.resolve(model),
                alias=model,
                kind=kind,
                body=body,
                priority=priority,
                owner=caller.owner(ctx),
                idempotency_key=idempotency_key,
                max_attempts=max_attempts,
            )
            submitted = await self.coordinator.submit(request)
        item = submitted.item
        answer = job(jobs.Job(item, submitted.outlook, None), joined=submitted.joined)
        return results.reply(answer, link(item))

    async def get_job(self, ctx: Context, job_id: str) -> Annotated[CallToolResult, results.Job]:
        """State, position, ETA and result of a job."""
        with errors.told():
            found = await self.coordinator.job(job_id, caller.owner(ctx))
        return told(found)

    async def wait_for_job(
        self,
        ctx: Context,
        job_id: str,
        timeout_s: Annotated[float, Field(ge=0, le=WAIT_CAP_S)] = 30,
    ) -> Annotated[CallToolResult, results.Job]:
        """As get_job, but waits for the end. Call again if it is not over; leaving early keeps the job."""
        owner = caller.owner(ctx)
        with errors.told():
            found = await self.coordinator.job(job_id, owner)
            if found.item.state not in state.TERMINAL:
                found = await self._wait(ctx, job_id, owner, timeout_s)
        return told(found)

    async def _wait(self, ctx: Context, job_id: str, owner: str, timeout_s: float) -> jobs.Job:
        """Tells how it goes meanwhile; being cancelled ends the wait alone."""
        until = anyio.current_time() + timeout_s
        told, said = 0, ""
        while True:
            left = until - anyio.current_time()
            step = max(0.0, min(PROGRESS_EVERY_S, left))
            found = await self.coordinator.wait_for(job_id, owner, step)
            if found.item.state in state.TERMINAL or left <= step:
                return found
            text = _progress(found)
            if text != said:
                told, said = told + 1, text
                await ctx.report_progress(told, message=text)

    async def list_jobs(
        self,
        ctx: Context,
        states: list[Literal["queued", "running", "succeeded", "failed", "cancelled"]]
        | None = None,
        limit: Annotated[int, Field(ge=1, le=100)] = LISTED,
        before: Annotated[int | None, Field(description="more_before of the last page")] = None,
    ) -> Annotated[CallToolResult, results.Jobs]:
        """Your jobs, newest first, without results."""
        wanted = None if states is None else {state.WorkState(one) for one in states}
        with errors.told():
            items = await self.coordinator.jobs(caller.owner(ctx), wanted, limit + 1, before)
        shown = items[:limit]
        more = shown[-1].seq if len(items) > limit else None
        rows = [brief(item, self.coordinator.outlook(item.id)) for item in shown]
        return results.reply(results.Jobs(jobs=rows, more_before=more))

    async def cancel_runtime_request(
        self, ctx: Context, job_id: str
    ) -> Annotated[CallToolResult, results.Cancelled]:
        """Cancel your queued or running work; says which it was."""
        with errors.told():
            outcome = await self.coordinator.cancel(job_id, caller.owner(ctx), "its agent")
        return results.reply(
            results.Cancelled(
                job_id=job_id, outcome=outcome.value, message=f"{job_id} {_CANCELLED[outcome]}"
            )
        )


def told(found: jobs.Job) -> CallToolResult:
    """The whole answer about one job."""
    links = () if found.result is None else (link(found.item),)
    return results.reply(job(found), *links)


def link(item: work.WorkItem) -> ResourceLink:
    """Where the whole of it can be read."""
    return ResourceLink(
        uri=uri(item.id), name=item.id, title=f"Job on {item.alias}", mime_type="application/json"
    )


def uri(job_id: str) -> str:
    """The job's resource."""
    return JOB_URI.format(job_id=job_id)


def job(
    found: jobs.Job, *, joined: bool | None = None, shown_bytes: int = RESULT_SHOWN_BYTES
) -> results.Job:
    """Everything about one job; a long result only in part, with the place of the rest."""
    item, kept = found.item, found.result
    content, cut = None, None
    if kept is not None:
        content, too_long = results.capped(shown_bytes, kept.content, decoded)
        cut = too_long or kept.truncated
    outlook = found.outlook
    return results.Job(
        job_id=item.id,
        state=item.state.value,
        model=item.alias,
        position=None if outlook is None else outlook.position,
        eta_s=None if outlook is None else outlook.eta_s,
        waits_for=None if outlook is None else outlook.waits_for,
        cancel_requested=True if item.cancel_requested_at is not None else None,
        code=item.code,
        message=item.message,
        result=content,
        result_cut=cut or None,
        resource=uri(item.id),
        joined=joined or None,
        queue_ms=item.queue_ms,
        load_ms=item.load_ms,
        prompt_tokens=item.prompt_tokens,
        output_tokens=item.output_tokens,
        next=_next(found),
    )


def brief(item: work.WorkItem, outlook: words.Outlook | None) -> results.Job:
    """One row of a list."""
    return results.Job(
        job_id=item.id,
        state=item.state.value,
        model=item.alias,
        position=None if outlook is None else outlook.position,
        eta_s=None if outlook is None else outlook.eta_s,
        code=item.code,
        created_at=round(item.created_at, 1),
    )


def decoded(content: bytes) -> Any:
    """The engine's JSON as data; text where it is none."""
    try:
        return json.loads(content)
    except ValueError:
        return content.decode("utf-8", errors="replace")


def _progress(found: jobs.Job) -> str:
    if found.item.state is state.WorkState.RUNNING:
        return f"running on {found.item.runtime}"
    return "queued" if found.outlook is None else words.waiting(found.outlook)


def _next(found: jobs.Job) -> str:
    """What an agent should do now, in words that it will follow."""
    item = found.item
    match item.state:
        case state.WorkState.QUEUED | state.WorkState.RUNNING:
            wait = "" if found.outlook is None else f" ({words.waiting(found.outlook)})"
            pause = _pause(found)
            return f"{item.state.value}{wait}. Do something else or call wait_for_job{pause}; do not submit again."
        case state.WorkState.SUCCEEDED if found.result is not None and found.result.truncated:
            return (
                f"done; the answer was longer than what is kept. {uri(item.id)} has what there is."
            )
        case state.WorkState.SUCCEEDED:
            return f"done; if result_cut, read {uri(item.id)} for the rest."
        case state.WorkState.FAILED:
            return "it will not be tried again by itself; fix the cause, then submit anew."
        case _:
            return "cancelled; submit anew if it is still wanted."


def _pause(found: jobs.Job) -> str:
    """When looking again makes sense."""
    eta = None if found.outlook is None else found.outlook.eta_s
    if eta is None or eta[0] <= WAIT_CAP_S:
        return ""
    return f" in about {math.floor(eta[0] / 10) * 10} s"
