"""Fixture tools whose calls become tasks: slow ones, failing ones, and ones with questions."""

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import anyio
import anyio.abc
import mcp.types as t
from mcp.server.context import CallNext, HandlerResult
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.resolve import Elicit, Resolve
from pydantic import BaseModel

from mcp_server.server import GatewayServer
from mcp_server.tasks import Ctx, Status, Support, Task
from tests.conformance.fixture_rounds import form
from tests.conformance.fixture_tools import text

KEPT_MS = 600_000
SUPPORT = {
    "slow_compute": Support.WHERE_DECLARED,
    "failing_job": Support.REQUIRED,
    "protocol_error_job": Support.WHERE_DECLARED,
    "confirm_delete": Support.WHERE_DECLARED,
    "multi_input": Support.WHERE_DECLARED,
    "test_tool_with_task": Support.REQUIRED,
}


class Name(BaseModel):
    """Asked before the task is made."""

    name: str


def user_name() -> Elicit[Name]:
    return Elicit("What is your name?", Name)


def greet(name: str) -> str:
    """Fixture: answers at once, never a task."""
    return f"Hello, {name}!"


async def slow_compute(seconds: float = 0, label: str = "") -> str:
    """Fixture: takes a while."""
    await anyio.sleep(seconds)
    return f"computed {label}"


async def failing_job() -> str:
    """Fixture: its tool fails."""
    raise ToolError("this job always fails")


async def protocol_error_job() -> str:
    """Fixture: the protocol fails."""
    return "only as a task"


async def confirm_delete(filename: str) -> str:
    """Fixture: asks one question."""
    return f"would ask about {filename}"


async def multi_input() -> str:
    """Fixture: asks two questions at once."""
    return "would ask twice"


async def test_tool_with_task(name: Annotated[Name, Resolve(user_name)]) -> str:
    """Fixture: asks first and becomes a task then."""
    return f"Hello, {name.name}!"


def register(server: GatewayServer) -> None:
    """Add them all."""
    for tool in (
        greet,
        slow_compute,
        failing_job,
        protocol_error_job,
        confirm_delete,
        multi_input,
        test_tool_with_task,
    ):
        server.add_tool(tool, structured_output=False)


@dataclass
class Row:
    """One task in memory."""

    id: str = field(default_factory=lambda: f"fixture_{secrets.token_urlsafe(16)}")
    status: Status = Status.WORKING
    at: float = field(default_factory=time.time)
    result: t.CallToolResult | None = None
    error: t.ErrorData | None = None
    questions: dict[str, Any] = field(default_factory=dict)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    def task(self) -> Task:
        """As the extension shows it."""
        asked = self.questions if self.status is Status.INPUT_REQUIRED else None
        return Task(
            self.id,
            self.status,
            self.status.value,
            self.at,
            self.at,
            KEPT_MS,
            self.result,
            self.error,
            asked,
        )


class FixtureTasks:
    """See `tasks.Source`."""

    def __init__(self, group: anyio.abc.TaskGroup) -> None:
        self._group = group
        self._rows: dict[str, Row] = {}

    def support(self, tool: str) -> Support:
        return SUPPORT.get(tool, Support.NEVER)

    async def start(
        self, params: t.CallToolRequestParams, ctx: Ctx, call_next: CallNext
    ) -> Task | HandlerResult:
        row = Row()
        arguments = params.arguments or {}
        match params.name:
            case "confirm_delete":
                self._ask(row, "confirm")
            case "multi_input":
                self._ask(row, "first", "second")
            case "protocol_error_job":
                row.status = Status.FAILED
                row.error = t.ErrorData(code=t.INTERNAL_ERROR, message="the job crashed")
            case "test_tool_with_task":
                answer = await call_next(ctx)
                if not isinstance(answer, t.CallToolResult):
                    return answer
                row.status, row.result = Status.COMPLETED, answer
            case name:
                self._run(row, name, arguments)
        self._rows[row.id] = row
        return row.task()

    def _ask(self, row: Row, *keys: str) -> None:
        row.status = Status.INPUT_REQUIRED
        for key in keys:
            question = form(f"{key}?", "confirm", "boolean")
            row.questions[key] = question.model_dump(mode="json", by_alias=True, exclude_none=True)

    def _run(self, row: Row, name: str, arguments: Mapping[str, Any]) -> None:
        work: Callable[..., Awaitable[str]] = (
            slow_compute if name == "slow_compute" else failing_job
        )

        async def run() -> None:
            with row.scope:
                try:
                    row.result = t.CallToolResult(content=[text(await work(**arguments))])
                except ToolError as error:
                    row.result = t.CallToolResult(content=[text(str(error))], is_error=True)
                row.status = Status.COMPLETED

        self._group.start_soon(run)

    async def find(self, task_id: str, owner: str) -> Task | None:
        row = self._rows.get(task_id)
        return None if row is None else row.task()

    async def answer(self, task_id: str, owner: str, responses: Mapping[str, Any]) -> None:
        row = self._rows[task_id]
        for key in responses:
            row.questions.pop(key, None)
        if row.status is Status.INPUT_REQUIRED and not row.questions:
            row.status = Status.COMPLETED
            row.result = t.CallToolResult(content=[text("answered")])

    async def cancel(self, task_id: str, owner: str) -> None:
        row = self._rows[task_id]
        if row.status in (Status.WORKING, Status.INPUT_REQUIRED):
            row.scope.cancel()
            row.status = Status.CANCELLED
