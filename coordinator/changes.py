"""What the store can be told, one frozen record a fact; the loop makes them, the store writes them."""

from dataclasses import dataclass

from coordinator import state, work
from runtimes import base
from runtimes import state as runtime_state


@dataclass(frozen=True, slots=True)
class Enqueued:
    """A work item was admitted; `body` and `body_hash` are set for stored work only."""

    item: work.WorkItem
    body: bytes | None = None
    body_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """A work item changed state. Refused by the store when the row is not in `before` any more."""

    work_id: str
    before: state.WorkState
    after: state.WorkState
    at: float
    reason: str
    """One word for the event row: `granted`, `succeeded`, `client_left`, `queue_timeout`, ..."""
    code: str | None = None
    message: str | None = None
    queue_ms: int | None = None
    load_ms: int | None = None
    first_token_ms: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """Somebody asked to cancel; not a state."""

    work_id: str
    at: float


@dataclass(frozen=True, slots=True)
class Reprioritised:
    """The priority of queued work was changed."""

    work_id: str
    priority: int
    at: float


@dataclass(frozen=True, slots=True)
class ResultKept:
    """The answer of stored work, at most the configured number of bytes of it."""

    work_id: str
    content: bytes
    content_type: str
    truncated: bool


@dataclass(frozen=True, slots=True)
class RuntimeMoved:
    """A runtime changed state, or what identifies its process became known."""

    runtime: str
    before: runtime_state.RuntimeState
    after: runtime_state.RuntimeState
    at: float
    reason: str
    process: base.ProcessRecord | None = None
    exit_code: int | None = None
    failure_class: str | None = None


@dataclass(frozen=True, slots=True)
class Learned:
    """What a load or an answer taught about a runtime; None means nothing new on that point."""

    runtime: str
    at: float
    load_s: float | None = None
    footprint_bytes: int | None = None
    prefill_tokens_per_s: float | None = None
    decode_tokens_per_s: float | None = None
    run_s: float | None = None
    device: str = "pool"


@dataclass(frozen=True, slots=True)
class Setting:
    """A small durable switch, such as `paused`."""

    key: str
    value: str


Change = (
    Enqueued
    | Moved
    | CancelRequested
    | Reprioritised
    | ResultKept
    | RuntimeMoved
    | Learned
    | Setting
)
