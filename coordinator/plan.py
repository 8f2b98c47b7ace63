"""The one decision: what to grant, start, drain, stop or keep, and when to look again.

Pure. The rules, in the order in which the code below has them (docs/scheduling.md says more):

1. Rank: effective priority (priority plus what waiting earned), then sequence number. Waiting earns
   at the same pace for everybody, so the order of two items never changes while they wait.
2. Join: an item whose runtime is ready with a free slot is granted, unless rule 4 bars it.
3. Target: the best-ranked item whose runtime is not ready names the swap target. Those behind it
   are looked at in the same order, and get only what takes nothing from the ones before them.
4. Bar: what is in the target's way admits nothing that ranks behind the target's item, once that
   item has strictly higher priority or has waited `max_wait_s`. What ranks ahead is never held back.
5. Dwell: a runtime with work is neither barred nor drained before `min_residency_s`, nor before its
   stay was worth its load; an idle one goes at once. Strict FIFO (`max_wait_s` 0) knows no dwell.
6. Fit: what must go is the least that makes the target's footprint fit the pool: idle before busy,
   least recently used first, pinned never. An unknown footprint is the whole pool.
7. Swap: drain, stop when the last lease ends, settle, start. Running work is never interrupted.
8. Keep: a draining runtime that is wanted again, or that nobody needs gone any more, is kept.

The caller applies all actions and asks again until there are none. For q queued items, which come
in order of admission, and r runtimes one call costs O(q + r^2 log r).
"""

import heapq
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
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
    since: float | None = None
    """When it came into its state; only the forecast looks at it."""
    leaving: bool = False
    """Told by hand to go: it ends what it runs and stops, whatever the queue wants."""
    load_s: float | None = None
    """How long its load took, which its stay has to be worth; None is not known."""


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
    """What to do now, in this order, and when to ask again if nothing happens: at once after any action."""

    actions: tuple[Action, ...] = ()
    look_again_at: float | None = None


_State = runtime_state.RuntimeState

Ranked = tuple[float, int, Waiting]
"""A queued item behind what it is compared by; the sequence number is unique, so nothing compares items."""


def decide(
    queue: Sequence[Waiting],
    residents: Sequence[Resident],
    pool_bytes: int | None,
    knobs: settings.Knobs,
    now: float,
    paused: bool = False,
) -> Plan:
    """Decide once; calling it again with what its actions lead to must end in `Plan()`."""
    view = _View(residents, rank(queue, knobs), pool_bytes, knobs, now)
    fitted = _fit(view, () if paused else _targets(view))
    granted = () if paused else _join(view, fitted.claims)
    leaving = (*_swap(view, fitted), *_keep(view, fitted), *_unload_idle(view, fitted))
    actions = (*granted, *leaving, *(Start(name) for name in fitted.starts))
    if actions:
        return Plan(actions, now)
    return Plan((), min((at for at in view.wakes if at > now), default=None))


def _admits(resident: Resident) -> bool:
    return resident.state is _State.READY and not resident.leaving


def _goes(resident: Resident) -> bool:
    """Whether its memory comes back without our doing."""
    return resident.leaving or resident.state in (_State.STOPPING, _State.SETTLING)


# 1. Rank


def rank(queue: Iterable[Waiting], knobs: settings.Knobs) -> dict[str, list[Ranked]]:
    """Each runtime's queue with the keys that order it; the smallest key goes first.

    Whatever the clock did, an item counts as no older than those of its priority before it.
    """
    per_s = 1.0 / knobs.aging_s if knobs.aging_s > 0 else 0.0
    newest: dict[int, float] = {}
    lines: dict[str, list[Ranked]] = {}
    for item in sorted(queue, key=operator.attrgetter("seq")):
        priority, at = item.priority, item.enqueued_at
        since = newest[priority] = max(newest.get(priority, at), at)
        # Priority plus (now - since) / aging, turned round and without `now`, which all have in common.
        key = (since * per_s - priority, item.seq, item)
        lines.setdefault(item.runtime, []).append(key)
    return lines


class _View:
    """What one decision looks at, and the moments at which the clock alone would change it."""

    def __init__(
        self,
        residents: Sequence[Resident],
        lines: Mapping[str, list[Ranked]],
        pool_bytes: int | None,
        knobs: settings.Knobs,
        now: float,
    ) -> None:
        self.by_name = {resident.name: resident for resident in residents}
        self.gpu = [resident for resident in residents if resident.gpu_work]
        self.lines = lines
        self.heads = {name: min(line) for name, line in lines.items() if name in self.by_name}
        self.room = pool_bytes or 1  # an unknown pool has a single place, which any runtime fills
        self.known = bool(pool_bytes)
        self.knobs, self.now = knobs, now
        self.wakes: list[float] = []

    def reached(self, at: float) -> bool:
        """Whether it is that late; if not, that moment is one to look again at."""
        self.wakes.append(at)
        return self.now >= at

    def need(self, resident: Resident) -> int:
        """What it takes of the pool. Unknown is all of it, and more than all is all."""
        if not self.known or resident.exclusive or resident.footprint_bytes is None:
            return self.room
        return min(resident.footprint_bytes, self.room)

    def idle(self, resident: Resident) -> bool:
        """Whether it runs nothing and nobody waits for it."""
        return resident.leased == 0 and resident.name not in self.heads


# 2. Join


def _join(view: _View, claims: Mapping[str, str]) -> Iterator[Grant]:
    """Free slots of ready runtimes, to the best-ranked that may have them."""
    granted = []
    for name in view.heads:
        resident = view.by_name[name]
        free = resident.slots - resident.leased
        if free <= 0 or (resident.gpu_work and not _admits(resident)):
            continue
        for ranked in heapq.nsmallest(free, view.lines[name]):
            if name in claims and _bars(view, claims[name], resident, ranked):
                break
            granted.append(ranked)
    return (Grant(item.id, item.runtime) for _, _, item in sorted(granted))


# 3. Target


def _targets(view: _View) -> list[str]:
    """The runtimes that are waited for and not ready, best-ranked item first."""
    wanted = []
    for name, head in view.heads.items():
        resident = view.by_name[name]
        backs_off = resident.retry_at is not None and not view.reached(resident.retry_at)
        if resident.gpu_work and not _admits(resident) and not backs_off:
            wanted.append((head, name))
    return [name for _, name in sorted(wanted)]


# 4. Bar


def _bars(view: _View, target: str, resident: Resident, behind: Ranked | None) -> bool:
    """Whether `resident` may not admit `behind` (None: whatever comes next) because of the target's item."""
    ahead = view.heads[target]
    if (behind is not None and behind < ahead) or not _dwelled(view, resident):
        return False
    if behind is not None and ahead[2].priority > behind[2].priority:
        return True
    return view.knobs.max_wait_s <= 0 or view.reached(ahead[2].enqueued_at + view.knobs.max_wait_s)


# 5. Dwell


def _dwelled(view: _View, resident: Resident) -> bool:
    """Whether it has had its time since it became ready."""
    if resident.ready_since is None or view.knobs.max_wait_s <= 0:
        return True
    worth_s = view.knobs.residency_per_load * (resident.load_s or 0.0)
    return view.reached(resident.ready_since + max(view.knobs.min_residency_s, worth_s))


def _may_go(view: _View, target: str, resident: Resident) -> bool:
    """Whether it has to leave its place to the target now."""
    if resident.state is _State.STARTING:
        # A load that somebody waits for is never wasted; one that nobody waits for is no reason to wait.
        return resident.name not in view.heads
    if resident.state not in (_State.READY, _State.DRAINING):
        return False
    return view.idle(resident) or _bars(view, target, resident, view.heads.get(resident.name))


# 6. Fit


@dataclass(frozen=True, slots=True)
class _Fitted:
    """Who has to make room for whom, and who can start now."""

    claims: Mapping[str, str]  # runtime in the way -> target
    clear: frozenset[str]
    """Targets whose whole way may be cleared now. Before that nothing idle is unloaded for them in vain."""
    starts: tuple[str, ...]


def _fit(view: _View, targets: Iterable[str]) -> _Fitted:
    """Give each target a place, best-ranked first, as if those before it had theirs already."""
    holds = {r.name: view.need(r) for r in view.gpu if runtime_state.holds_memory(r.state)}
    stage = {name: size for name, size in holds.items() if not _goes(view.by_name[name])}
    held, peak = sum(holds.values()), sum(stage.values())
    claims: dict[str, str] = {}
    clear: set[str] = set()
    starts: list[str] = []
    placed: set[str] = set()
    for target in targets:
        placed.add(target)
        if target in stage:  # loading, or kept: it has its place
            continue
        resident = view.by_name[target]
        need = view.need(resident)
        victims = _victims(view, target, need, stage, placed)
        if victims is None:  # only what is pinned is in its way
            continue
        # Room now, and still room when those ahead of it have got theirs.
        fits = not victims and max(held, peak) + need <= view.room
        if fits and resident.state is _State.STOPPED:
            starts.append(target)
            held, peak = held + need, peak + need
        if all(v not in placed and _may_go(view, target, view.by_name[v]) for v in victims):
            clear.add(target)
        for victim in victims:
            del stage[victim]
            if victim not in placed:
                claims[victim] = target
        stage[target] = need
        peak = max(peak, sum(stage.values()))
    return _Fitted(claims, frozenset(clear), tuple(starts))


def _victims(
    view: _View, target: str, need: int, stage: Mapping[str, int], placed: Set[str]
) -> list[str] | None:
    """The least that has to go, or None if the target would not fit even then."""
    evictable = [view.by_name[name] for name in stage if not view.by_name[name].pinned]
    evictable.sort(key=lambda resident: _worth(view, target, resident, placed))
    excess = sum(stage.values()) + need - view.room
    chosen: list[str] = []
    for resident in evictable:
        if excess <= 0:
            break
        chosen.append(resident.name)
        excess -= stage[resident.name]
    if excess > 0:
        return None
    for name in reversed(chosen.copy()):
        if excess + stage[name] <= 0:
            chosen.remove(name)
            excess += stage[name]
    return chosen


def _worth(
    view: _View, target: str, resident: Resident, placed: Set[str]
) -> tuple[int, bool, float, str]:
    """The order of going: the smallest first."""
    if resident.state is _State.UNKNOWN:
        step = 0  # it may turn out to hold nothing
    elif resident.name in placed:
        step = 5
    elif view.idle(resident):
        step = 1 if resident.state is _State.STARTING else 2
    else:
        step = 3 if _may_go(view, target, resident) else 4
    return (step, resident.state is not _State.DRAINING, resident.last_used_at, resident.name)


# 7. Swap


def _swap(view: _View, fitted: _Fitted) -> Iterator[Drain | Stop]:
    """Make the targets' room: what is busy drains, what is not stops as soon as that is of use."""
    for name, target in fitted.claims.items():
        resident = view.by_name[name]
        if not _may_go(view, target, resident):
            continue
        if resident.leased > 0:
            if resident.state is _State.READY:
                yield Drain(name, target)
        elif target in fitted.clear or resident.state is _State.STARTING:
            yield Stop(name, "swap", target)


# 8. Keep


def _keep(view: _View, fitted: _Fitted) -> Iterator[Keep]:
    """Draining for nobody: wanted again, or what it made room for went away."""
    for resident in view.gpu:
        if resident.state is _State.DRAINING and not resident.leaving:
            target = fitted.claims.get(resident.name)
            if target is None or not _may_go(view, target, resident):
                yield Keep(resident.name)


def _unload_idle(view: _View, fitted: _Fitted) -> Iterator[Stop]:
    """Give memory back that nobody has used for long, swap or no swap."""
    for resident in view.gpu:
        if resident.pinned or not _admits(resident) or not view.idle(resident):
            continue
        if resident.idle_unload_s is None or fitted.claims.get(resident.name) in fitted.clear:
            continue
        used = max(resident.last_used_at, resident.ready_since or 0.0)
        if view.reached(max(used + resident.idle_unload_s, resident.keep_until or 0.0)):
            yield Stop(resident.name, "idle")
