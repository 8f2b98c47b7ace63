"""Work as the rest of the gateway sees it: what is asked for, and the row that it becomes."""

import enum
import secrets
from dataclasses import dataclass

from coordinator import state

PRIORITIES = {"batch": 20, "normal": 50, "interactive": 80}


class Durability(enum.StrEnum):
    """`CONNECTION` work dies with its client and its body is never stored; `STORED` work survives us."""

    CONNECTION = "connection"
    STORED = "stored"


@dataclass(frozen=True, slots=True)
class WorkRequest:
    """What a surface asks for, with the runtime already resolved from the alias."""

    runtime: str
    alias: str
    path: str
    """The OpenAI route that the engine will be asked on, e.g. `/v1/chat/completions`."""
    owner: str
    """Who asks: a key's id, else a session or a connection. Cancelling and looking up go by it."""
    surface: str
    durability: Durability = Durability.CONNECTION
    priority: int = PRIORITIES["normal"]
    max_queue_wait_s: float | None = None
    run_timeout_s: float | None = None
    max_attempts: int = 1
    idempotency_key: str | None = None
    body: bytes | None = None
    """Only for stored work: the request to send to the engine."""
    prompt_tokens: int | None = None
    """An estimate, for the forecast."""
    join_key: str | None = None
    """A hash of owner, route and body: an identical retry takes the place that its first copy left."""


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One row of the queue. Times are wall-clock seconds since the epoch."""

    id: str
    seq: int
    """The place in line: grows by one per admission, kept over a restart, never taken from a clock."""
    runtime: str
    alias: str
    path: str
    owner: str
    surface: str
    durability: Durability
    priority: int
    state: state.WorkState
    created_at: float
    max_queue_wait_s: float | None = None
    run_timeout_s: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    cancel_requested_at: float | None = None
    attempts: int = 0
    max_attempts: int = 1
    idempotency_key: str | None = None
    code: str | None = None
    """Why it failed: `queue_timeout`, `run_timeout`, `interrupted`, `engine_load_failed`, `upstream_error`, ..."""
    message: str | None = None
    queue_ms: int | None = None
    load_ms: int | None = None
    first_token_ms: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None


def new_id() -> str:
    """An unguessable handle: on a shared gateway, knowing it is the right to look at it."""
    return f"work_{secrets.token_urlsafe(18)}"
