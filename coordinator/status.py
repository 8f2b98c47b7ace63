"""What there is to see of the queue, as plain data: one picture for every surface."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import anyio

from coordinator import forecast, settings
from coordinator.entry import Entry
from coordinator.keeper import Keeper
from coordinator.learning import Lessons
from coordinator.residency import Resident

if TYPE_CHECKING:
    from coordinator.loop import Coordinator


@dataclass(frozen=True, slots=True)
class WorkLine:
    """One live work item. Its owner is shown as a kind and a short tail, never as a key."""

    id: str
    alias: str
    runtime: str
    state: str
    surface: str
    durability: str
    priority: int
    waited_s: float
    running_s: float | None
    position: int | None
    eta_s: tuple[float, float] | None
    waits_for: str | None
    behind: str | None


@dataclass(frozen=True, slots=True)
class RuntimeLine:
    """One configured runtime."""

    name: str
    engine: str
    aliases: tuple[str, ...]
    state: str
    slots: int
    running: int
    queued: int
    context_tokens: int | None
    footprint_bytes: int | None
    pinned: bool
    notice: str | None
    draining_for: str | None
    load_phase: str | None
    load_fraction: float | None
    usual_load_s: float | None
    usual_tokens_per_s: float | None
    failures: int
    retry_in_s: float | None
    last_error: Mapping[str, Any] | None
    capabilities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SwapLine:
    """A swap that is to come."""

    out: tuple[str, ...]
    into: str
    at_s: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole picture at one moment."""

    ready: bool
    stopping: bool
    paused: bool
    version: int
    pool_bytes: int | None
    held_bytes: int | None
    running: tuple[WorkLine, ...]
    queue: tuple[WorkLine, ...]
    swaps: tuple[SwapLine, ...]
    """What will be stopped for what, and when, if nothing else comes."""
    runtimes: tuple[RuntimeLine, ...]
    finished_today: Mapping[str, int]
    finished_ever: Mapping[str, int]
    storage_problem: str | None
    at: float


def foresee(
    keeper: Keeper, lessons: Lessons, limits: settings.CoordinatorSettings
) -> forecast.Forecast:
    """The decision played forward from now."""
    return forecast.foresee(
        keeper.ledger.line.places(),
        [resident.view() for resident in keeper.fleet.residents.values()],
        limits.pool_bytes,
        limits.knobs,
        anyio.current_time(),
        lessons.rates(),
        running=[_running(entry) for entry in keeper.ledger.running.values()],
        paused=keeper.paused,
    )


def snapshot(coordinator: "Coordinator") -> Snapshot:
    """Everything, read between two passes of the keeper."""
    keeper, lessons = coordinator.keeper, coordinator.lessons
    residents = keeper.fleet.residents.values()
    held = [one.footprint_bytes for one in residents if one.running is not None]
    known = [size for size in held if size is not None]
    counts = coordinator.store.counts()
    return Snapshot(
        ready=coordinator.ready,
        stopping=keeper.stopping,
        paused=keeper.paused,
        version=keeper.version,
        pool_bytes=coordinator.limits.pool_bytes,
        held_bytes=sum(known) if len(known) == len(held) else None,
        running=tuple(_line(entry, None) for entry in keeper.ledger.running.values()),
        queue=tuple(
            _line(entry, coordinator.outlook(entry.id)) for entry in keeper.ledger.line.entries()
        ),
        swaps=tuple(SwapLine(one.out, one.into, one.at_s) for one in coordinator.foresee().swaps),
        runtimes=tuple(_runtime(resident, keeper, lessons) for resident in residents),
        finished_today=dict(counts.today),
        finished_ever=dict(counts.ever),
        storage_problem=None if coordinator.store.healthy else coordinator.store.problem,
        at=time.time(),
    )


def as_json(picture: Snapshot) -> dict[str, Any]:
    """JSON-ready, with a schema id."""
    return {"schema": "lmg.status/1", **asdict(picture)}


def _line(entry: Entry, outlook: forecast.Outlook | None) -> WorkLine:
    now, item = anyio.current_time(), entry.item
    granted = entry.granted_at
    return WorkLine(
        id=item.id,
        alias=item.alias,
        runtime=item.runtime,
        state=item.state.value,
        surface=item.surface,
        durability=item.durability.value,
        priority=item.priority,
        waited_s=round((granted or now) - entry.place.enqueued_at, 3),
        running_s=None if granted is None else round(now - granted, 3),
        position=None if outlook is None else outlook.position,
        eta_s=None if outlook is None else outlook.eta_s,
        waits_for=None if outlook is None else outlook.waits_for.value,
        behind=None if outlook is None else outlook.behind,
    )


def _runtime(resident: Resident, keeper: Keeper, lessons: Lessons) -> RuntimeLine:
    now, spec, exit_ = anyio.current_time(), resident.spec, resident.last_exit
    backing_off = resident.retry_at is not None and resident.retry_at > now
    return RuntimeLine(
        name=spec.name,
        engine=spec.engine,
        aliases=spec.aliases,
        state=resident.state.value,
        slots=spec.max_concurrency,
        running=len(resident.leases),
        queued=sum(e.item.runtime == spec.name for e in keeper.ledger.line.entries()),
        context_tokens=_context(resident),
        footprint_bytes=resident.footprint_bytes,
        pinned=spec.pinned,
        notice=spec.notice,
        draining_for=resident.target,
        load_phase=None if resident.progress is None else resident.progress.phase,
        load_fraction=None if resident.progress is None else resident.progress.fraction,
        usual_load_s=lessons.typical_load_s(spec.name),
        usual_tokens_per_s=lessons.typical_tokens_per_s(spec.name),
        failures=resident.failures,
        retry_in_s=round((resident.retry_at or now) - now, 1) if backing_off else None,
        last_error=None
        if exit_ is None
        else {
            "class": exit_.failure_class.value,
            "exit_code": exit_.exit_code,
            "log_tail": list(exit_.log_tail),
        },
        capabilities=tuple(sorted(spec.capabilities)),
    )


def _context(resident: Resident) -> int | None:
    """What the engine itself says comes before what it was told."""
    said = None if resident.running is None else resident.running.context_tokens
    return said or resident.spec.context_tokens


def _running(entry: Entry) -> forecast.Running:
    return forecast.Running(
        entry.item.runtime, anyio.current_time() - (entry.granted_at or anyio.current_time())
    )
