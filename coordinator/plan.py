"""The one decision: what to grant, start, drain, stop or keep, and when to look again."""

from collections.abc import Sequence
from dataclasses import dataclass

from coordinator import settings
from runtimes import state as runtime_state


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued item, as much of it as the decision needs."""

    id: str
    seq: int
    runtime: str
    priority: int
    enqueued_at: float
    """On the same clock as `now`."""


@dataclass(frozen=True, slots=True)
class Resident:
    """A configured runtime, as much of it as the decision needs."""

    name: str
    state: runtime_state.RuntimeState
    slots: int
    leased: int
    footprint_bytes: int | None = None
    """None is unknown, and then it is the whole pool."""
    gpu_work: bool = True
    exclusive: bool = False
    pinned: bool = False
    ready_since: float | None = None
    last_used_at: float = 0.0
    idle_unload_s: float | None = None
    retry_at: float | None = None
    """Backing off after a failed start: not started, and no swap target, before this time."""
    keep_until: float | None = None
    """Loaded by hand (`lmg load`): not unloaded for being idle before this time."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Lease a free slot of a ready runtime to this item."""

    item: str
    runtime: str


@dataclass(frozen=True, slots=True)
class Start:
    """Start this runtime; all that must go first is gone and settled."""

    runtime: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Let this runtime end what it has and admit nothing new, because `target` needs its place."""

    runtime: str
    target: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop this runtime, which runs nothing; `reason` is `swap` or `idle`."""

    runtime: str
    reason: str
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Keep:
    """A draining runtime is wanted again, or nobody needs its place any more."""

    runtime: str


Action = Grant | Start | Drain | Stop | Keep


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, in this order, and when the clock alone would change the answer."""

    actions: tuple[Action, ...] = ()
    look_again_at: float | None = None


def decide(
    queue: Sequence[Waiting],
    residents: Sequence[Resident],
    pool_bytes: int | None,
    knobs: settings.Knobs,
    now: float,
    paused: bool = False,
) -> Plan:
    """Decide once; calling it again with what its actions lead to must end in `Plan()`."""
    raise NotImplementedError
