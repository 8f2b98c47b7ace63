"""What the tools answer: small typed records, without the fields that say nothing."""

from collections.abc import Callable
from typing import Any

import pydantic
from mcp.types import CallToolResult, ResourceLink, TextContent
from pydantic import ConfigDict, SerializerFunctionWrapHandler, model_serializer


class Result(pydantic.BaseModel):
    """The base of all answers: a field that is None is left out, which is most of them, most of the time."""

    model_config = ConfigDict(frozen=True)

    @model_serializer(mode="wrap")
    def _without_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value is not None}


class Runtime(Result):
    """One runtime in a list."""

    name: str
    state: str
    running: int
    queued: int
    slots: int
    loading: str | None = None
    memory_gib: float | None = None
    retry_in_s: float | None = None
    last_error: str | None = None


class Waiting(Result):
    """One queued item, without its id: that would be the right to cancel it."""

    model: str
    position: int | None = None
    eta_s: tuple[float, float] | None = None
    waits_for: str | None = None
    priority: int
    waited_s: float


class Status(Result):
    """`gateway_status`."""

    summary: str
    ready: bool
    paused: bool
    running: int
    queued: int
    runtimes: list[Runtime]
    queue: list[Waiting]
    pool_gib: float | None = None
    held_gib: float | None = None
    tool_servers: dict[str, int] | None = None
    problems: list[str]


class Model(Result):
    """One alias, and what asking for it would mean now."""

    model: str
    also: list[str] | None = None
    runtime: str
    state: str
    can: list[str]
    context_tokens: int | None = None
    memory_gib: float | None = None
    usual_load_s: float | None = None
    usual_tokens_per_s: float | None = None
    fits_now: bool | None = None
    queued: int
    notice: str | None = None


class Models(Result):
    """`list_runtime_models`."""

    models: list[Model]


class Alternative(Result):
    """A model that would do too."""

    model: str
    why_not: str


class Recommendation(Result):
    """`recommend_local_profile`."""

    model: str | None = None
    why: list[str]
    wait_s: float | None = None
    unloads: list[str] | None = None
    alternatives: list[Alternative]


class RuntimeReport(Result):
    """`runtime_status`."""

    name: str
    engine: str
    state: str
    summary: str
    running: int
    slots: int
    queue: list[Waiting]
    memory_gib: float | None = None
    failures: int
    retry_in_s: float | None = None
    last_error: str | None = None
    log_tail: list[str]


class Job(Result):
    """One job, for all the tools that speak of jobs."""

    job_id: str
    state: str
    model: str
    position: int | None = None
    eta_s: tuple[float, float] | None = None
    waits_for: str | None = None
    cancel_requested: bool | None = None
    code: str | None = None
    message: str | None = None
    result: Any = None  # Any: the engine's own JSON
    result_cut: bool | None = None
    resource: str | None = None
    joined: bool | None = None
    queue_ms: int | None = None
    load_ms: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    created_at: float | None = None
    next: str | None = None


class Jobs(Result):
    """`list_jobs`."""

    jobs: list[Job]
    more_before: int | None = None


class Cancelled(Result):
    """`cancel_runtime_request`; the three outcomes mean different things to a caller."""

    job_id: str
    outcome: str
    message: str


class Unloaded(Result):
    """`force_unload_runtime`."""

    done: bool
    message: str
    confirm: str | None = None


class Snippet(Result):
    """One part of a client's configuration."""

    name: str
    language: str
    text: str


class ClientConfig(Result):
    """`generate_client_config`."""

    client: str
    summary: str
    snippets: list[Snippet]
    steps: list[str]
    secrets: dict[str, str]
    launch: str | None = None
    min_context: int | None = None


class Problem(Result):
    """One thing that is wrong with a configuration."""

    level: str
    code: str
    message: str


class Validation(Result):
    """`validate_client_config`."""

    ok: bool
    client: str
    findings: list[Problem]


def reply(result: Result, *links: ResourceLink) -> CallToolResult:
    """The record, as compact text for those who read text, and as data for those who read data."""
    text = TextContent(type="text", text=result.model_dump_json())
    return CallToolResult(content=[text, *links], structured_content=result.model_dump(mode="json"))


def gib(size_bytes: int | None) -> float | None:
    """Bytes as people say them."""
    return None if size_bytes is None else round(size_bytes / 2**30, 2)


def capped(limit_bytes: int, content: bytes, decode: Callable[[bytes], Any]) -> tuple[Any, bool]:
    """A result as data if it is short enough, else its beginning as text, and whether it was cut."""
    if len(content) <= limit_bytes:
        return decode(content), False
    return content[:limit_bytes].decode("utf-8", errors="ignore"), True
