"""What the loop can be told. Everybody but the loop changes state by sending one of these."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import anyio

from coordinator import entry, residency, work
from runtimes import base

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Reply(Generic[T]):
    """Where the loop puts its answer."""

    done: anyio.Event = field(default_factory=anyio.Event)
    value: T | None = None
    error: Exception | None = None

    def give(self, value: T) -> None:
        """Answer."""
        self.value = value
        self.done.set()

    def refuse(self, error: Exception) -> None:
        """Answer with an error."""
        self.error = error
        self.done.set()


@dataclass(frozen=True, slots=True)
class Placed:
    """The answer to an admission."""

    entry: entry.Entry
    joined: bool
    """An earlier submission with the same key made it; it is not the asker's to give back."""


@dataclass(slots=True, eq=False)
class Admit:
    """Give this request a place in line. Stored work is `held` until its row is committed."""

    request: work.WorkRequest
    reply: "Reply[Placed]"
    body_hash: str | None = None


@dataclass(slots=True, eq=False)
class Committed:
    """The row of held stored work is on disk (or is not: then it is forgotten)."""

    entry: entry.Entry
    kept: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the holder's part ended."""

    kind: str
    """`succeeded`, `failed`, `cancelled`, `client_left` or `given_back`."""
    reason: str
    code: str | None = None
    message: str | None = None
    first_token_ms: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    engine_lost: bool = False
    """The engine did not even accept a connection: nobody else may be sent to it."""
    written: bool = False
    """The holder has committed the final row itself (stored work with a result)."""


@dataclass(slots=True, eq=False)
class Left:
    """The holder let go, of its place or of its slot."""

    entry: entry.Entry
    outcome: Outcome


@dataclass(slots=True, eq=False)
class Progress:
    """A load got further, or its process became known."""

    resident: residency.Resident
    progress: base.LoadProgress


@dataclass(slots=True, eq=False)
class Looked:
    """An unknown runtime was looked at."""

    resident: residency.Resident
    running: base.Running | None


@dataclass(slots=True, eq=False)
class Loaded:
    """A start ended well."""

    resident: residency.Resident
    running: base.Running
    footprint_bytes: int | None


@dataclass(slots=True, eq=False)
class LoadFailed:
    """A start ended badly; nothing of the engine is left."""

    resident: residency.Resident
    exit: base.Exit


@dataclass(slots=True, eq=False)
class Died:
    """A ready engine ended, or answers nobody any more."""

    resident: residency.Resident
    exit: base.Exit


@dataclass(slots=True, eq=False)
class Gone:
    """A stopped engine has no process any more."""

    resident: residency.Resident


@dataclass(slots=True, eq=False)
class Settled:
    """The memory of a gone engine is back, or as much of it as will come."""

    resident: residency.Resident
    short_bytes: int


@dataclass(slots=True, eq=False)
class Do:
    """Anything small that must run between two decisions: a switch, a cancel, a question."""

    action: Callable[[], None]


Message = (
    Admit | Committed | Left | Progress | Looked | Loaded | LoadFailed | Died | Gone | Settled | Do
)
