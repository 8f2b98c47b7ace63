"""Short words for queues and runtimes, so that an example fits on one screen."""

from collections.abc import Sequence

from coordinator import plan, settings
from runtimes import state as runtime_state

State = runtime_state.RuntimeState
GIB = 1024**3
NOW = 1000.0
KNOBS = settings.Knobs(max_wait_s=30.0, min_residency_s=10.0, aging_s=60.0)
STRICT = settings.Knobs(max_wait_s=0.0, min_residency_s=10.0, aging_s=60.0)


def waiting(
    seq: int, runtime: str, *, priority: int = 50, waited: float = 0.0, now: float = NOW
) -> plan.Waiting:
    """A queued item; its id is its runtime and its number."""
    return plan.Waiting(f"{runtime}{seq}", seq, runtime, priority, now - waited)


def resident(
    name: str,
    state: State = State.STOPPED,
    *,
    slots: int = 1,
    leased: int = 0,
    gib: float | None = None,
    gpu_work: bool = True,
    exclusive: bool = False,
    pinned: bool = False,
    ready_for: float | None = None,
    used: float = 0.0,
    idle_unload_s: float | None = None,
    retry_at: float | None = None,
    keep_until: float | None = None,
    since: float | None = None,
    load_s: float | None = None,
    leaving: bool = False,
) -> plan.Resident:
    """A runtime; `ready_for` is how long it has been ready, `used` how long ago it was used."""
    if ready_for is None and state in {State.READY, State.DRAINING}:
        ready_for = 500.0
    return plan.Resident(
        name=name,
        state=state,
        slots=slots,
        leased=leased,
        footprint_bytes=None if gib is None else int(gib * GIB),
        gpu_work=gpu_work,
        exclusive=exclusive,
        pinned=pinned,
        ready_since=None if ready_for is None else NOW - ready_for,
        last_used_at=NOW - used,
        idle_unload_s=idle_unload_s,
        retry_at=retry_at,
        keep_until=keep_until,
        since=since,
        load_s=load_s,
        leaving=leaving,
    )


def decide(
    queue: Sequence[plan.Waiting],
    residents: Sequence[plan.Resident],
    *,
    pool_gib: float | None = 80,
    knobs: settings.Knobs = KNOBS,
    now: float = NOW,
    paused: bool = False,
) -> plan.Plan:
    """The decision at `NOW` with a pool of 80 GiB."""
    pool = None if pool_gib is None else int(pool_gib * GIB)
    return plan.decide(queue, residents, pool, knobs, now, paused)
