"""Which runtime holds memory: each runtime's state, and the tasks that carry a decision out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import anyio

from coordinator import plan
from runtimes import base
from runtimes import state as runtime_state

if TYPE_CHECKING:
    from coordinator import entry

State = runtime_state.RuntimeState
Event = runtime_state.RuntimeEvent

LOG_LINES = 20


class Memory(Protocol):
    """What residency asks of the machine's memory."""

    async def free(self) -> int | None:
        """Bytes that a new engine could have now; None if nobody can tell."""

    async def settle(
        self, expected_bytes: int | None, free_before: int | None, cap_s: float
    ) -> int:
        """Wait until a gone engine's memory is back; the bytes still missing (0 when it is all there)."""


@dataclass(slots=True, eq=False)
class Resident:
    """One configured runtime. Only the loop writes these fields."""

    spec: base.RuntimeSpec
    lifecycle: base.Lifecycle
    state: State = State.UNKNOWN
    leases: "set[entry.Entry]" = field(default_factory=set)
    running: base.Running | None = None
    footprint_bytes: int | None = None
    """Measured at the last load, else what the spec says."""
    progress: base.LoadProgress | None = None
    since: float | None = None
    """When it came into its present state."""
    starting_since: float | None = None
    ready_since: float | None = None
    last_used_at: float = 0.0
    keep_until: float | None = None
    retry_at: float | None = None
    failures: int = 0
    last_exit: base.Exit | None = None
    missing_bytes: int = 0
    """What did not come back after the last stop."""
    leaving: bool = False
    """Told to unload by hand: it stops when its last lease ends, whatever the plan would keep."""
    successor: "Resident | None" = None
    """What takes its place once it is stopped: the same name with other settings."""
    retired: bool = False
    """Not configured any more: forgotten once it is stopped."""
    target: str | None = None
    """Why it drains: who needs its place."""
    free_before_load: int | None = None
    recorded: base.ProcessRecord | None = None
    watched: anyio.Event = field(default_factory=anyio.Event)
    """Set when the watch of the engine has ended."""
    tasks: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """Around the load or the watch that runs now."""

    @property
    def load_s(self) -> float | None:
        """How long the load took that made it ready."""
        if self.starting_since is None or self.ready_since is None:
            return None
        return self.ready_since - self.starting_since

    @property
    def name(self) -> str:
        """The runtime's name."""
        return self.spec.name

    def view(self) -> plan.Resident:
        """As much of it as the decision needs."""
        return plan.Resident(
            name=self.spec.name,
            state=self.state,
            slots=self.spec.max_concurrency,
            leased=len(self.leases),
            footprint_bytes=self.footprint_bytes,
            gpu_work=self.spec.gpu_work,
            exclusive=self.spec.exclusive,
            pinned=self.spec.pinned,
            ready_since=self.ready_since,
            last_used_at=self.last_used_at,
            idle_unload_s=self.spec.idle_unload_s,
            retry_at=self.retry_at,
            keep_until=self.keep_until,
            leaving=self.leaving,
            load_s=self.load_s,
            since=self.since,
        )


class Tasks:
    """The side of residency that waits: it runs lifecycles and tells the loop what came of it.

    Each method runs as a task of its own and ends with exactly one call of `tell`.
    """

    def __init__(
        self, memory: Memory, settle_cap_s: float, missing_bytes: Callable[[], int]
    ) -> None:
        self._memory, self._settle_cap_s = memory, settle_cap_s
        self.missing_bytes = missing_bytes

    async def look(
        self,
        resident: Resident,
        known: base.ProcessRecord | None,
        looked: "Callable[[Resident, base.Running | None], None]",
    ) -> None:
        """Adopt the healthy engine of an earlier gateway, or reap what is left of it."""
        looked(resident, await resident.lifecycle.look(known))

    async def load(
        self,
        resident: Resident,
        report: Callable[[base.LoadProgress], None],
        loaded: Callable[[base.Running, int | None], None],
        failed: Callable[[base.Exit], None],
        gone: Callable[[], None],
    ) -> None:
        """Start it; a cancelled load tells `gone` once nothing of it is left."""
        with resident.tasks:
            free = resident.free_before_load = await self._memory.free()
            try:
                self._check_room(resident, free)
                running = await resident.lifecycle.start(report)
            except base.EngineFailed as error:
                failed(error.exit)
                return
            loaded(running, resident.lifecycle.memory_used())
            return
        gone()

    def _check_room(self, resident: Resident, free: int | None) -> None:
        """Memory that an earlier engine did not give back must not turn into a spurious out-of-memory."""
        need = resident.footprint_bytes
        if self.missing_bytes() and free is not None and need is not None and free < need:
            line = f"{_gib(self.missing_bytes())} of an earlier engine's memory is not back; {_gib(free)} is free, {_gib(need)} is needed"
            exit_ = base.Exit(None, base.FailureClass.OUT_OF_MEMORY, (line,))
            raise base.EngineFailed(resident.name, exit_, line)

    async def watch(self, resident: Resident, died: Callable[[base.Exit], None]) -> None:
        """Wait for a ready engine to end by itself."""
        try:
            with resident.tasks:
                exit_ = await resident.lifecycle.died()
                if not resident.tasks.cancel_called:
                    died(exit_)
        finally:
            resident.watched.set()

    async def unload(self, resident: Resident, gone: Callable[[], None]) -> None:
        """Stop a ready or draining engine, whatever it takes."""
        # A watch that saw a death is still clearing up after it; what it clears must not be the next engine.
        await resident.watched.wait()
        await resident.lifecycle.stop()
        gone()

    async def settle(self, resident: Resident, settled: Callable[[int], None]) -> None:
        """Wait for the memory of an engine that is gone."""
        if not resident.spec.gpu_work:
            settled(0)
            return
        settled(
            await self._memory.settle(
                resident.footprint_bytes, resident.free_before_load, self._settle_cap_s
            )
        )


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
