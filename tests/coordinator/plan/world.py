"""A pretend coordinator with pretend engines: carries decisions out on a clock of its own, and checks each one.

What it checks is written from what the queue promises, not from how the decision is made: the two
share no code but the tables of states.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, assert_never

from coordinator import plan, settings
from runtimes import state as runtime_state

State: TypeAlias = runtime_state.RuntimeState
Event: TypeAlias = runtime_state.RuntimeEvent
_TO_READY = (Event.START, Event.BECAME_READY)
_PATHS = {
    State.STARTING: _TO_READY[:1],
    State.READY: _TO_READY,
    State.STOPPING: (*_TO_READY, Event.STOP),
    State.SETTLING: (*_TO_READY, Event.STOP, Event.GONE),
}
Decide = Callable[
    [Sequence[plan.Waiting], Sequence[plan.Resident], int | None, settings.Knobs, float, bool],
    plan.Plan,
]

# Whole seconds and an aging that is a power of two keep all arithmetic exact.
LONGEST_RUN_S = 12
LONGEST_LOAD_S = 8
LONGEST_STOP_S = 3
LONGEST_SETTLE_S = 3
BACKOFF_S = 5
LOOK_S = 2
FAR = 1e9


@dataclass(slots=True)
class Engine:
    """A runtime of the pretend world."""

    name: str
    slots: int = 1
    footprint: int | None = None
    learned: int | None = None
    """The footprint that becomes known once it has been ready."""
    gpu_work: bool = True
    exclusive: bool = False
    idle_unload_s: float | None = None
    load_s: int = 3
    took_s: float | None = None
    """What its load is known to have taken."""
    stop_s: int = 1
    settle_s: int = 1
    state: State = State.STOPPED
    since: float | None = None
    due: float | None = None
    """When the present state ends by itself."""
    pinned: bool = False
    ready_since: float | None = None
    last_used_at: float = 0.0
    retry_at: float | None = None
    leases: dict[str, float] = field(default_factory=dict)
    """Item -> when it ends."""
    leaving: bool = False
    """Told by hand to go."""
    was_up: bool = False
    """What a look after a restart finds."""

    def resident(self) -> plan.Resident:
        """As the decision sees it."""
        return plan.Resident(
            name=self.name,
            state=self.state,
            slots=self.slots,
            leased=len(self.leases),
            footprint_bytes=self.footprint,
            gpu_work=self.gpu_work,
            exclusive=self.exclusive,
            pinned=self.pinned,
            ready_since=self.ready_since,
            last_used_at=self.last_used_at,
            idle_unload_s=self.idle_unload_s,
            retry_at=self.retry_at,
            since=self.since,
            load_s=self.took_s,
            leaving=self.leaving,
        )


@dataclass(slots=True)
class Ticket:
    """A queued item, how long it will run, and whom it has to let pass."""

    waiting: plan.Waiting
    run_s: int
    ahead: int = 0
    """How many ranked ahead of it when it came."""
    passed_by: int = 0
    """How many came later and ranked ahead of it."""
    promised: bool = True
    """False once a failure, a pin, a pause or a restart has voided the bound."""


class World:
    """Queue, runtimes, clock; `settle` is the loop, `advance` is time."""

    def __init__(
        self, engines: Sequence[Engine], pool: int | None, knobs: settings.Knobs, decide: Decide
    ) -> None:
        self.engines = {engine.name: engine for engine in engines}
        self.pool, self.knobs, self.decide = pool, knobs, decide
        self.now = 100.0
        self.paused = False
        self.queue: dict[str, Ticket] = {}
        self.running: dict[str, Ticket] = {}
        self.ended: list[str] = []
        self.granted: dict[str, float] = {}
        self.starts: list[str] = []
        self.last_seq = 0
        self.look_again_at: float | None = None

    # Traffic

    def submit(self, runtime: str, priority: int, run_s: int) -> str:
        """Admit an item and let the coordinator react."""
        name = self.admit(runtime, priority, run_s)
        self.settle()
        return name

    def admit(self, runtime: str, priority: int, run_s: int) -> str:
        """Admit an item; the coordinator has not looked yet."""
        self.last_seq += 1
        name = f"{runtime}-{self.last_seq}"
        waiting = plan.Waiting(name, self.last_seq, runtime, priority, self.now)
        ticket = Ticket(waiting, run_s, promised=self.calm())
        for other in self.queue.values():
            if self.ahead(other.waiting, waiting):
                ticket.ahead += 1
            else:
                other.passed_by += 1
        self.queue[name] = ticket
        return name

    def cancel(self, name: str) -> None:
        """Take an item away wherever it is."""
        if self.queue.pop(name, None) is None:
            self._release(name)
        self.ended.append(name)
        self.settle()

    def _release(self, name: str) -> Ticket:
        ticket = self.running.pop(name)
        engine = self.engines[ticket.waiting.runtime]
        del engine.leases[name]
        engine.last_used_at = self.now
        self._leave(engine)
        return ticket

    def unload(self, engine: Engine, drains: bool) -> None:
        """Somebody wants it gone, whatever the queue wants; it need not be called draining for that."""
        self.disturb()
        engine.leaving = True
        if drains and engine.state is State.READY and engine.leases:
            self.move(engine, Event.DRAIN)
        self._leave(engine)
        self.settle()

    def _leave(self, engine: Engine) -> None:
        if engine.leaving and not engine.leases and engine.state in {State.READY, State.DRAINING}:
            self.move(engine, Event.STOP)

    # Trouble

    def disturb(self) -> None:
        """From here on nobody who waits is owed the bound."""
        for ticket in self.queue.values():
            ticket.promised = False

    def calm(self) -> bool:
        """Whether nothing is going on that voids the bound."""
        return not self.paused and not any(
            engine.pinned or engine.state is State.UNKNOWN or (engine.retry_at or 0) > self.now
            for engine in self.engines.values()
        )

    def die(self, engine: Engine) -> None:
        """A healthy engine ends by itself; what ran on it fails."""
        self.disturb()
        engine.leaving = False
        for name in list(engine.leases):
            self._release(name)
            self.ended.append(name)
        self.move(engine, Event.DIED)
        self.settle()

    def fail_load(self, engine: Engine) -> None:
        """A start that comes to nothing, with a pause before the next."""
        self.disturb()
        engine.retry_at = self.now + BACKOFF_S
        self.move(engine, Event.LOAD_FAILED)
        self.settle()

    def restart(self, requeue: bool) -> None:
        """The gateway was killed and is back: engines have to be looked at, attempts are given back or lost."""
        self.disturb()
        for engine in self.engines.values():
            engine.leaving = False
        for name in list(self.running):
            ticket = self._release(name)
            ticket.promised = False
            if requeue:
                self.queue[name] = ticket
            else:
                self.ended.append(name)
        for engine in self.engines.values():
            if engine.gpu_work and runtime_state.holds_memory(engine.state):
                engine.was_up = engine.state in {State.READY, State.DRAINING}
                engine.state, engine.due, engine.ready_since = (
                    State.UNKNOWN,
                    self.now + LOOK_S,
                    None,
                )
        self.settle()

    # Engines

    def place(self, engine: Engine, state: State) -> None:
        """Begin with this runtime in this state, if it fits beside those that were placed before it."""
        path = _PATHS.get(state, ())
        if engine.gpu_work and path and self.held() + self.need(engine) <= self.room:
            for event in path:
                self.move(engine, event)

    def move(self, engine: Engine, event: Event) -> None:
        """Change a state by the table, and set when the new one ends."""
        engine.state, engine.since = runtime_state.after(engine.state, event), self.now
        lasts = {
            State.STARTING: engine.load_s,
            State.STOPPING: engine.stop_s,
            State.SETTLING: engine.settle_s,
        }.get(engine.state)
        engine.due = None if lasts is None else self.now + lasts
        engine.leaving = engine.leaving and engine.state in {State.READY, State.DRAINING}
        if event in {Event.BECAME_READY, Event.FOUND}:
            engine.took_s = engine.load_s if event is Event.BECAME_READY else None
            engine.ready_since, engine.retry_at = self.now, None
            engine.footprint = engine.learned if engine.footprint is None else engine.footprint

    def _due(self, engine: Engine) -> None:
        match engine.state:
            case State.STARTING:
                self.move(engine, Event.BECAME_READY)
            case State.STOPPING:
                self.move(engine, Event.GONE)
            case State.SETTLING:
                self.move(engine, Event.SETTLED)
            case State.UNKNOWN:
                self.move(engine, Event.FOUND if engine.was_up else Event.NOT_FOUND)
            case State.STOPPED | State.READY | State.DRAINING:
                raise AssertionError(f"{engine.name} is {engine.state}, which does not end")
            case _ as never:
                assert_never(never)

    # Time

    def advance(self, seconds: float) -> None:
        """Let time pass, from one event to the next."""
        until = self.now + seconds
        while (at := self._next_event()) <= until:
            self.now = at
            for engine in self.engines.values():
                if engine.due is not None and engine.due <= self.now:
                    self._due(engine)
                for name in [name for name, ends in engine.leases.items() if ends <= self.now]:
                    self._release(name)
                    self.ended.append(name)
            self.settle()
        self.now = until
        self.settle()

    def _next_event(self) -> float:
        times = [e.due for e in self.engines.values() if e.due is not None]
        times += [ends for e in self.engines.values() for ends in e.leases.values()]
        if self.look_again_at is not None:
            times.append(self.look_again_at)
        return min(times, default=FAR)

    # The loop

    def ask(self, now: float) -> plan.Plan:
        """The decision for the present state at the time `now`."""
        queue = [ticket.waiting for ticket in self.queue.values()]
        residents = [engine.resident() for engine in self.engines.values()]
        return self.decide(queue, residents, self.pool, self.knobs, now, self.paused)

    def settle(self) -> None:
        """Ask and act until there is nothing more to do; then nothing may be left undone."""
        for _ in range(50):
            decision = self.ask(self.now)
            if not decision.actions:
                break
            assert decision.look_again_at == self.now, "acted, and would not look what came of it"
            for action in decision.actions:
                self.act(action)
        else:
            raise AssertionError(f"the decision never comes to rest: {decision.actions}")
        self.look_again_at = decision.look_again_at
        assert decision.look_again_at is None or decision.look_again_at > self.now
        until = FAR if decision.look_again_at is None else decision.look_again_at - 0.25
        assert not self.ask(max(until, self.now)).actions, "the clock alone changed the answer"
        self.check_rest()

    def act(self, action: plan.Action) -> None:
        """Carry one action out, if it is allowed."""
        engine = self.engines[action.runtime]
        match action:
            case plan.Grant(item):
                self._grant(engine, self.queue[item])
            case plan.Start():
                self._check_start(engine)
                self.starts.append(engine.name)
                self.move(engine, Event.START)
                assert self.held() <= self.room, "memory is promised twice"
            case plan.Drain():
                self._check_leave(engine)
                assert engine.leases, "what runs nothing need not drain"
                self.move(engine, Event.DRAIN)
            case plan.Stop(_, reason):
                assert not engine.leases, "a busy runtime was stopped"
                if reason == "idle":
                    self._check_unload(engine)
                else:
                    self._check_leave(engine)
                self.move(engine, Event.STOP)
            case plan.Keep():
                assert not engine.leaving, "kept what was told to go"
                self.move(engine, Event.KEEP)
            case _ as never:
                assert_never(never)

    def _grant(self, engine: Engine, ticket: Ticket) -> None:
        waiting = ticket.waiting
        assert not self.paused, "granted while paused"
        assert waiting.runtime == engine.name
        assert not engine.gpu_work or engine.state is State.READY, f"granted on {engine.state}"
        assert not engine.leaving, "granted on a runtime that was told to go"
        assert len(engine.leases) < engine.slots, "more leases than slots"
        for other in self.waiting_for(engine.name):
            assert not self.ahead(other, waiting), f"{waiting} overtook {other} in its own queue"
        self._check_overtaking(engine, waiting)
        self.check_bound(ticket)
        del self.queue[waiting.id]
        self.running[waiting.id] = ticket
        engine.leases[waiting.id] = self.now + ticket.run_s
        engine.last_used_at = self.now
        self.granted[waiting.id] = self.now

    # What is promised

    @property
    def room(self) -> int:
        """The pool; an unknown one has a single place."""
        return 1 if self.pool is None else self.pool

    def need(self, engine: Engine) -> int:
        """What it takes of the pool."""
        if self.pool is None or engine.exclusive or engine.footprint is None:
            return self.room
        return min(engine.footprint, self.pool)

    def held(self) -> int:
        """What all that may hold memory holds together."""
        return sum(
            self.need(engine)
            for engine in self.engines.values()
            if engine.gpu_work and runtime_state.holds_memory(engine.state)
        )

    def pinned(self, but: Sequence[Engine] = ()) -> int:
        """What can never be had back."""
        return sum(
            self.need(engine)
            for engine in self.engines.values()
            if engine not in but
            and engine.pinned
            and not engine.leaving
            and engine.gpu_work
            and engine.state not in {State.STOPPED, State.STOPPING, State.SETTLING}
        )

    def waiting_for(self, runtime: str) -> list[plan.Waiting]:
        """What is queued for a runtime."""
        return [t.waiting for t in self.queue.values() if t.waiting.runtime == runtime]

    def worth(self, waiting: plan.Waiting) -> float:
        """Effective priority."""
        aging_s = self.knobs.aging_s
        return waiting.priority + ((self.now - waiting.enqueued_at) / aging_s if aging_s else 0.0)

    def ahead(self, one: plan.Waiting, other: plan.Waiting) -> bool:
        """Whether one ranks ahead of the other."""
        a, b = self.worth(one), self.worth(other)
        return a > b or (a == b and one.seq < other.seq)

    def meet(self, one: Engine, other: Engine) -> bool:
        """Whether two runtimes can be up together, with what is pinned."""
        both = self.need(one) + self.need(other) + self.pinned(but=(one, other))
        return both <= self.room

    def targets(self) -> list[plan.Waiting]:
        """What waits for a runtime that is not ready and could be, best-ranked first."""
        found = [
            ticket.waiting
            for ticket in self.queue.values()
            if (engine := self.engines[ticket.waiting.runtime]).gpu_work
            and (engine.state is not State.READY or engine.leaving)
            and (engine.retry_at is None or engine.retry_at <= self.now)
            and self.need(engine) + self.pinned(but=(engine,)) <= self.room
        ]
        found.sort(key=lambda waiting: (-self.worth(waiting), waiting.seq))
        return [] if self.paused else found

    def dwelled(self, engine: Engine) -> bool:
        """Whether it has had its time."""
        if self.knobs.max_wait_s == 0 or engine.ready_since is None:
            return True
        worth_s = self.knobs.residency_per_load * (engine.took_s or 0)
        return self.now >= engine.ready_since + max(self.knobs.min_residency_s, worth_s)

    def _check_overtaking(self, engine: Engine, waiting: plan.Waiting) -> None:
        targets = self.targets()
        if not engine.gpu_work or not targets:
            return
        target = targets[0]
        other = self.engines[target.runtime]
        if self.meet(engine, other) or not self.ahead(target, waiting) or not self.dwelled(engine):
            return
        assert self.now - target.enqueued_at < self.knobs.max_wait_s, f"{waiting} overtook {target}"
        assert target.priority <= waiting.priority, f"{waiting} overtook {target}"

    def bound_s(self, ticket: Ticket) -> float:
        """The longest that it may wait, as docs/scheduling.md states it."""
        knobs = self.knobs
        swap_s = LONGEST_STOP_S + LONGEST_SETTLE_S + LONGEST_LOAD_S
        stay_s = max(knobs.min_residency_s, knobs.residency_per_load * LONGEST_LOAD_S)
        turn_s = stay_s + LONGEST_RUN_S + swap_s
        let_pass_s = ticket.passed_by * (knobs.max_wait_s + 2 * turn_s)
        return knobs.max_wait_s + (ticket.ahead + 2) * turn_s + let_pass_s

    def check_bound(self, ticket: Ticket) -> None:
        """Nobody waits longer than the knobs imply for the place in line."""
        if ticket.promised:
            waited = self.now - ticket.waiting.enqueued_at
            assert waited <= self.bound_s(ticket), f"{ticket} has waited {waited} s"

    def _check_start(self, engine: Engine) -> None:
        assert engine.gpu_work
        assert not self.paused, "started while paused"
        assert self.waiting_for(engine.name), "started for nobody"
        assert engine.retry_at is None or engine.retry_at <= self.now, "did not back off"
        if any(other.pinned for other in self.engines.values()):
            return
        mine = self.waiting_for(engine.name)
        for target in self.targets():
            if target.runtime != engine.name and all(self.ahead(target, own) for own in mine):
                assert self.meet(engine, self.engines[target.runtime]), "took a better one's room"

    def _check_leave(self, engine: Engine) -> None:
        assert engine.gpu_work
        assert not engine.pinned, "a pinned runtime had to go"
        assert self.targets(), "made room for nobody"
        mine = self.waiting_for(engine.name)
        if engine.state is State.STARTING:
            assert not mine, "a load that somebody waits for was cut short"
        elif engine.leases or mine:
            assert self.dwelled(engine), "did not get its time"
        for waiting in mine:
            assert any(self.ahead(target, waiting) for target in self.targets()), "went too early"

    def _check_unload(self, engine: Engine) -> None:
        assert engine.gpu_work
        assert not engine.pinned, "a pinned runtime was unloaded"
        assert not self.waiting_for(engine.name), "unloaded though wanted"
        assert engine.idle_unload_s is not None
        used = max(engine.last_used_at, engine.ready_since or 0)
        assert self.now >= used + engine.idle_unload_s, "unloaded too early"

    def check_rest(self) -> None:
        """What must hold whenever there is nothing more to do."""
        for ticket in self.queue.values():
            self.check_bound(ticket)
        targets = self.targets()
        for engine in self.engines.values():
            self._check_slots(engine, targets)
            if engine.state is State.DRAINING and not engine.leaving:
                assert targets, "drains for nobody"
                assert not engine.pinned, "a pinned runtime drains"
                assert all(
                    self.ahead(targets[0], waiting) for waiting in self.waiting_for(engine.name)
                ), "drains though it is wanted first"
        if targets:
            self._check_target(self.engines[targets[0].runtime])

    def _check_slots(self, engine: Engine, targets: list[plan.Waiting]) -> None:
        """Nobody is forgotten before a free slot."""
        if self.paused or len(engine.leases) >= engine.slots:
            return
        if engine.gpu_work and (engine.state is not State.READY or engine.leaving):
            return
        for waiting in self.waiting_for(engine.name):
            assert engine.gpu_work, "a remote endpoint waits for nothing but a slot"
            assert any(self.ahead(target, waiting) for target in targets), (
                "left waiting before a free slot"
            )

    def _check_target(self, target: Engine) -> None:
        """The way of the best-ranked target is being cleared, and nothing loads in it for nobody."""
        if target.state is not State.STOPPED:
            return
        assert self.held() + self.need(target) > self.room, "could start and does not"
        for engine in self.engines.values():
            if not engine.gpu_work or engine.pinned or self.meet(engine, target):
                continue
            unwanted = not engine.leases and not self.waiting_for(engine.name)
            assert not (engine.state is State.STARTING and unwanted), "loads for nobody in the way"
        others = [e for e in self.engines.values() if e.gpu_work and e.state is not State.STOPPED]
        if all(e.state is State.READY and not e.leases and not e.pinned for e in others):
            assert any(self.waiting_for(e.name) for e in others), "idle runtimes in the way stay"
