"""What the store answers with, beside work items."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from coordinator import state, work
from runtimes import base
from runtimes import state as runtime_state


@dataclass(frozen=True, slots=True)
class EventRow:
    """One transition of one work item; `before` is None for its admission."""

    n: int
    at: float
    before: state.WorkState | None
    after: state.WorkState
    reason: str
    code: str | None = None


@dataclass(frozen=True, slots=True)
class RuntimeEventRow:
    """One transition of one runtime."""

    n: int
    runtime: str
    at: float
    before: runtime_state.RuntimeState
    after: runtime_state.RuntimeState
    reason: str
    exit_code: int | None = None
    failure_class: str | None = None


@dataclass(frozen=True, slots=True)
class LearnedRow:
    """What past loads and answers of one runtime taught: the last samples of each kind, oldest first."""

    load_s: tuple[float, ...] = ()
    prefill_tokens_per_s: tuple[float, ...] = ()
    decode_tokens_per_s: tuple[float, ...] = ()
    run_s: tuple[float, ...] = ()
    footprint_bytes: Mapping[str, int] = field(default_factory=dict)
    """The newest one of each device."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a takeover found and put in order."""

    epoch: int
    next_seq: int
    queued: tuple[work.WorkItem, ...]
    """In the order of their places in line."""
    processes: Mapping[str, base.ProcessRecord]
    """Engines that may still be there, by runtime."""
    learned: Mapping[str, LearnedRow]
    settings: Mapping[str, str]
    interrupted: int = 0
    """Work that the last owner's end cut off for good."""
    given_back: int = 0
    """Stored work that will run again."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What ended and what was swapped, kept in memory; never counted from the rows."""

    today: Mapping[str, int]
    """By `succeeded`, `failed`, `cancelled` and `swap`; a kind that never happened is not there."""
    ever: Mapping[str, int]
