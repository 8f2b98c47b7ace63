"""A live work item as the loop holds it: the row, its place in line, and whoever waits for it."""

from dataclasses import dataclass, field

import anyio

from coordinator import errors, plan, state, work
from coordinator.residency import Resident


@dataclass(slots=True, eq=False)
class Entry:
    """Only the loop writes these fields; the holder reads them after `decided` is set."""

    item: work.WorkItem
    place: plan.Waiting
    deadline: float
    """When waiting ends, on the loop's clock."""
    join_key: str | None = None
    body_hash: str | None = None
    decided: anyio.Event = field(default_factory=anyio.Event)
    """Set at the grant, or with `error`."""
    ended: anyio.Event = field(default_factory=anyio.Event)
    error: errors.CoordinatorError | None = None
    """Why it did not run, or why its holder is being cancelled."""
    resident: Resident | None = None
    """The runtime that it holds a slot of."""
    awaits: Resident | None = None
    """The runtime that it waits for."""
    granted_at: float | None = None
    load_s: float = 0.0
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """Around whatever the holder does with its grant."""
    received: bool = False
    """Whether the holder has seen its grant: one that nobody received is not counted."""
    failed_loads: int = 0
    told: state.WorkState = state.WorkState.QUEUED
    """The state that the store was told last; a job's runner writes its own grant and its own end."""
    on_disk: anyio.Event = field(default_factory=anyio.Event)
    """Stored work: its row is committed, or (then `kept` is false) never will be."""
    kept: bool = False

    @property
    def id(self) -> str:
        """The work item's id."""
        return self.item.id

    @property
    def stored(self) -> bool:
        """Whether this work survives its client and us."""
        return self.item.durability is work.Durability.STORED
