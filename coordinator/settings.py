"""The knobs of the queue and of the decision, with their defaults."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Knobs:
    """What the decision may be tuned by."""

    max_wait_s: float = 30.0
    """How long the best-ranked item of another runtime may wait before the resident one admits nothing new. 0: strict FIFO."""
    min_residency_s: float = 10.0
    """How long a runtime with work of its own keeps its place after it became ready."""
    aging_s: float = 60.0
    """Waiting this long earns one point of priority, so that nothing waits for ever. 0: no aging."""
    residency_per_load: float = 1.0
    """And at least this many times what its load took, so that under contention no more time goes into loads than into work. 0: `min_residency_s` alone."""


@dataclass(frozen=True, slots=True)
class CoordinatorSettings:
    """Everything the coordinator is configured by."""

    knobs: Knobs = Knobs()
    pool_bytes: int | None = None
    """What all runtimes together may hold; None is unknown, and then one heavy runtime at a time."""
    max_queue: int = 500
    max_queue_per_client: int = 250
    max_queue_wait_s: float = 600.0
    run_timeout_s: float | None = None
    max_result_bytes: int = 4 * 1024 * 1024
    history_s: float = 7 * 86400.0
    settle_cap_s: float = 60.0
    drain_s: float = 60.0
    backoff_first_s: float = 2.0
    backoff_cap_s: float = 120.0
