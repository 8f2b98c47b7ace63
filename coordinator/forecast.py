"""When and why each item's turn comes: the decision itself, played forward with what was learned.

Pure, as the decision is. Two plays, one with short times and one with long ones, give the range.
Nothing is said where nothing is known: an engine that was never loaded, or that never answered, ends
nothing in the play, so what waits behind it gets a place in line and no time.
"""

import enum
import heapq
import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from coordinator import plan, settings
from runtimes import state as runtime_state

_State, _Event = runtime_state.RuntimeState, runtime_state.RuntimeEvent

_SERVING = frozenset({_State.READY, _State.DRAINING})

LEAVE_S = (1.0, 5.0)
"""Stopping and settling, quick and slow; loads are learned, this is not, and loads dwarf it."""
STEPS = 128
"""Decisions in one play. Beyond them a place in line is given time at the pace of the play so far."""
SHORT, LONG = 0.25, 0.9
"""Which of the learned times are the ends of the range."""


class WaitsFor(enum.StrEnum):
    """Why an item is not running yet, in words that every surface shares."""

    SLOT = "slot"
    SWAP = "swap"
    LOAD = "load"
    WHOLE_GPU = "whole_gpu"
    PAUSED = "paused"
    RUNTIME_FAILED = "runtime_failed"


@dataclass(frozen=True, slots=True)
class Rates:
    """What a runtime's loads and answers took, newest samples in any order."""

    load_s: tuple[float, ...] = ()
    run_s: tuple[float, ...] = ()
    prefill_tokens_per_s: tuple[float, ...] = ()
    decode_tokens_per_s: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Running:
    """A lease that is out now."""

    runtime: str
    ran_s: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """What can be said of one queued item."""

    position: int
    """1 is the best-ranked of all that wait for the pool (or for the same remote endpoint)."""
    eta_s: tuple[float, float] | None
    """From now until it runs, at best and at worst; None if something on its way is not known."""
    waits_for: WaitsFor
    behind: str | None
    """The runtime that is in its way."""


@dataclass(frozen=True, slots=True)
class Swap:
    """A start that is to come, and what goes for it."""

    out: tuple[str, ...]
    into: str
    at_s: tuple[float, float]
    """From now."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The outlook of each queued item by id, and the swaps in the order in which they come."""

    outlooks: Mapping[str, Outlook]
    swaps: tuple[Swap, ...]


def forecast(
    queue: Sequence[plan.Waiting],
    residents: Sequence[plan.Resident],
    pool_bytes: int | None,
    knobs: settings.Knobs,
    now: float,
    learned: Mapping[str, Rates],
    running: Sequence[Running] = (),
    paused: bool = False,
    asked: Collection[str] | None = None,
) -> Mapping[str, Outlook]:
    """The outlook of every queued item, or only of those asked for."""
    return foresee(
        queue, residents, pool_bytes, knobs, now, learned, running, paused, asked
    ).outlooks


def foresee(
    queue: Sequence[plan.Waiting],
    residents: Sequence[plan.Resident],
    pool_bytes: int | None,
    knobs: settings.Knobs,
    now: float,
    learned: Mapping[str, Rates],
    running: Sequence[Running] = (),
    paused: bool = False,
    asked: Collection[str] | None = None,
) -> Forecast:
    """Outlooks and swaps; the work is bounded by `STEPS`, however long the queue is."""
    wanted = None if asked is None else frozenset(asked)
    known = {resident.name for resident in residents}
    lines = {name: sorted(line) for name, line in plan.rank(queue, knobs).items() if name in known}
    scene = _Scene(residents, pool_bytes, knobs, now, learned, running, lines, wanted)
    places = _places(scene)
    if paused:
        short = long = _Play(scene, SHORT, 0)
    else:
        short, long = (_played(scene, quantile, leave_s) for quantile, leave_s in _ENDS)
    outlooks: dict[str, Outlook] = {}
    for name, line in lines.items():
        waits_for, behind = _reason(scene, name, paused)
        for _, _, item in line:
            if wanted is None or item.id in wanted:
                place = places[item.id]
                eta_s = _range(short.until(item.id, place), long.until(item.id, place))
                outlooks[item.id] = Outlook(place, eta_s, waits_for, behind)
    return Forecast(outlooks, tuple(_swaps(short, long)))


_ENDS = tuple(zip((SHORT, LONG), LEAVE_S, strict=True))


@dataclass(frozen=True, slots=True)
class _Scene:
    """What every play begins with."""

    residents: Sequence[plan.Resident]
    pool_bytes: int | None
    knobs: settings.Knobs
    now: float
    learned: Mapping[str, Rates]
    running: Sequence[Running]
    lines: Mapping[str, list[plan.Ranked]]
    wanted: frozenset[str] | None


def _places(scene: _Scene) -> dict[str, int]:
    """Places in line: one line for the pool, one for each remote endpoint."""
    pooled = [scene.lines.get(one.name, []) for one in scene.residents if one.gpu_work]
    apart = [scene.lines.get(one.name, []) for one in scene.residents if not one.gpu_work]
    return {
        item.id: place
        for line in [sorted(itertools.chain.from_iterable(pooled)), *apart]
        for place, (_, _, item) in enumerate(line, 1)
    }


def _range(short: float | None, long: float | None) -> tuple[float, float] | None:
    # Longer answers can lead to an earlier turn, when they keep a swap from happening.
    return None if short is None or long is None else (min(short, long), max(short, long))


def _swaps(short: "_Play", long: "_Play") -> Iterable[Swap]:
    """The swaps that both plays agree on."""
    for (out, into, soon), (out_late, into_late, late) in zip(
        short.swaps, long.swaps, strict=False
    ):
        if (out, into) != (out_late, into_late):
            return
        yield Swap(out, into, (min(soon, late), max(soon, late)))


# Why it waits


def _reason(scene: _Scene, name: str, paused: bool) -> tuple[WaitsFor, str | None]:
    """What an item of this runtime waits for, and whose place it is."""
    resident = next(one for one in scene.residents if one.name == name)
    if paused:
        return WaitsFor.PAUSED, None
    if not resident.gpu_work:
        return WaitsFor.SLOT, None
    if resident.retry_at is not None and resident.retry_at > scene.now:
        return WaitsFor.RUNTIME_FAILED, None
    if resident.state is _State.STARTING:
        return WaitsFor.LOAD, None
    full = resident.leased >= resident.slots
    if resident.state is _State.READY and full and not resident.leaving:
        return WaitsFor.SLOT, None
    return _in_the_way(scene, resident)


def _in_the_way(scene: _Scene, resident: plan.Resident) -> tuple[WaitsFor, str | None]:
    """Not ready, or ready and barred: who has the place, or is about to have it."""
    others = [one for one in scene.residents if one.gpu_work and one.name != resident.name]
    if resident.leaving:
        return WaitsFor.SWAP, None
    if resident.state in _SERVING:
        # Its own place goes to the best-ranked of those that wait for another runtime.
        heads = [(scene.lines[one.name][0], one.name) for one in others if one.name in scene.lines]
        return WaitsFor.SWAP, min(heads)[1] if heads else None
    holders = [one for one in others if runtime_state.holds_memory(one.state)]
    sizes = [one.footprint_bytes for one in (resident, *holders)]
    pool, known = scene.pool_bytes or 0, [size for size in sizes if size is not None]
    together = not resident.exclusive and not any(one.exclusive for one in holders)
    if not holders or (together and len(known) == len(sizes) and sum(known) <= pool):
        return WaitsFor.LOAD, None
    busiest = max(holders, key=lambda one: (one.leased, one.last_used_at, one.name))
    return (WaitsFor.WHOLE_GPU if resident.exclusive else WaitsFor.SWAP), busiest.name


# The play


def _quantile(samples: Collection[float], quantile: float) -> float:
    """One of the samples; for ever if there are none."""
    if not samples:
        return math.inf
    ordered = sorted(samples)
    steps = (len(ordered) - 1) * quantile
    return ordered[math.ceil(steps) if quantile > 0.5 else math.floor(steps)]


def _rest(samples: Collection[float], passed_s: float, quantile: float) -> float:
    """What is left of something that has taken `passed_s` already."""
    longer = [sample for sample in samples if sample > passed_s]
    if longer or not samples:
        return _quantile(longer, quantile) - passed_s
    # Longer than ever before: it may end at once, or take as long again.
    return 0.0 if quantile < 0.5 else passed_s


@dataclass(slots=True)
class _Play:
    """One run of the decision into the future, with every time at one end of its range."""

    scene: _Scene
    quantile: float
    leave_s: float
    at: float = 0.0
    residents: dict[str, plan.Resident] = field(default_factory=dict)
    cursors: dict[str, int] = field(default_factory=dict)
    events: list[tuple[float, int, str]] = field(default_factory=list)
    """When, which comes first of two at once (a lease before a change of state), and whose."""
    granted: dict[str, float] = field(default_factory=dict)
    going: dict[str, list[str]] = field(default_factory=dict)
    """Target -> what stopped for it."""
    swaps: list[tuple[tuple[str, ...], str, float]] = field(default_factory=list)
    cut_off: bool = False
    """Whether it ended for want of steps, not of events."""

    def until(self, item: str, place: int) -> float | None:
        """Seconds until this item runs, as far as the play tells."""
        at = self.granted.get(item)
        if at is not None:
            return at - self.scene.now
        passed = self.at - self.scene.now
        if not self.cut_off or not self.granted:
            return None
        return max(passed, place * passed / len(self.granted))

    def duration(self, name: str) -> float:
        """How long an answer takes."""
        rates = self.scene.learned.get(name)
        return _quantile(rates.run_s, self.quantile) if rates else math.inf

    def due(self, after_s: float, order: int, name: str) -> None:
        """Let something happen later; what takes for ever never happens."""
        if after_s < math.inf:
            heapq.heappush(self.events, (self.at + after_s, order, name))


_LEASE_ENDS, _STATE_ENDS = 0, 1


def _played(scene: _Scene, quantile: float, leave_s: float) -> _Play:
    """Ask, act and let time pass until all that is wanted runs."""
    play = _Play(scene, quantile, leave_s, at=scene.now)
    play.residents = {resident.name: resident for resident in scene.residents}
    play.cursors = dict.fromkeys(scene.lines, 0)
    for one in scene.running:
        rates = scene.learned.get(one.runtime, Rates())
        play.due(_rest(rates.run_s, one.ran_s, quantile), _LEASE_ENDS, one.runtime)
    for resident in scene.residents:
        _await_state(play, resident)
        _leave_if_done(play, resident.name)
    left = set(scene.wanted or ())
    for _ in range(STEPS):
        queue = _next_in_line(play)
        if not queue or (scene.wanted is not None and not left):
            return play
        decision = plan.decide(
            queue, list(play.residents.values()), scene.pool_bytes, scene.knobs, play.at
        )
        for action in decision.actions:
            _act(play, action)
            if isinstance(action, plan.Grant):
                left.discard(action.item)
        if not decision.actions and not _let_time_pass(play, decision.look_again_at):
            return play
    play.cut_off = True
    return play


def _await_state(play: _Play, resident: plan.Resident) -> None:
    """When the state that a runtime is in now ends by itself."""
    passed = 0.0 if resident.since is None else max(0.0, play.scene.now - resident.since)
    if resident.state is _State.STARTING:
        rates = play.scene.learned.get(resident.name, Rates())
        play.due(_rest(rates.load_s, passed, play.quantile), _STATE_ENDS, resident.name)
    elif resident.state in (_State.STOPPING, _State.SETTLING):
        play.due(max(0.0, play.leave_s - passed), _STATE_ENDS, resident.name)


def _leave_if_done(play: _Play, name: str) -> None:
    """What was told to go by hand stops after its last lease without being asked."""
    resident = play.residents[name]
    if resident.leaving and not resident.leased and resident.state in _SERVING:
        play.residents[name] = replace(resident, state=_State.STOPPING, leaving=False)
        play.due(play.leave_s, _STATE_ENDS, name)


def _next_in_line(play: _Play) -> list[plan.Waiting]:
    """All of the queue that the next decision can touch: a head each, and what free slots could take."""
    queue: list[plan.Waiting] = []
    for name, line in play.scene.lines.items():
        begin, resident = play.cursors[name], play.residents[name]
        reach = begin + max(1, resident.slots - resident.leased)
        queue += [item for _, _, item in line[begin:reach]]
    return queue


def _act(play: _Play, action: plan.Action) -> None:
    name = action.runtime
    resident = play.residents[name]
    match action:
        case plan.Grant(item):
            play.granted[item] = play.at
            play.cursors[name] += 1
            play.residents[name] = replace(
                resident, leased=resident.leased + 1, last_used_at=play.at
            )
            play.due(play.duration(name), _LEASE_ENDS, name)
            return
        case plan.Start():
            rates = play.scene.learned.get(name, Rates())
            play.due(_quantile(rates.load_s, play.quantile), _STATE_ENDS, name)
            out = tuple(play.going.pop(name, ()))
            play.swaps.append((out, name, play.at - play.scene.now))
            event = _Event.START
        case plan.Stop(_, _, target):
            play.due(play.leave_s, _STATE_ENDS, name)
            if target is not None:
                play.going.setdefault(target, []).append(name)
            event = _Event.STOP
        case plan.Drain():
            event = _Event.DRAIN
        case plan.Keep():
            event = _Event.KEEP
    play.residents[name] = replace(resident, state=runtime_state.after(resident.state, event))


def _let_time_pass(play: _Play, look_again_at: float | None) -> bool:
    """Go on to the next moment at which something happens; False if nothing will."""
    next_at = play.events[0][0] if play.events else math.inf
    if look_again_at is not None and look_again_at < next_at:
        play.at = look_again_at
        return True
    if next_at == math.inf:
        return False
    play.at = next_at
    while play.events and play.events[0][0] <= play.at:
        _, order, name = heapq.heappop(play.events)
        resident = play.residents[name]
        if order == _LEASE_ENDS:
            leased = max(0, resident.leased - 1)
            play.residents[name] = replace(resident, leased=leased, last_used_at=play.at)
            _leave_if_done(play, name)
        elif resident.state is _State.STARTING:
            play.residents[name] = replace(
                resident,
                state=_State.READY,
                ready_since=play.at,
                load_s=_quantile(play.scene.learned[name].load_s, play.quantile),
            )
        elif resident.state in (_State.STOPPING, _State.SETTLING):
            play.residents[name] = replace(resident, state=_State.STOPPED, retry_at=None)
    return True
