"""What the order of work costs: traces replayed through the real decision, under four policies.

`python -m benchmarks.scheduling` prints the table that docs/scheduling.md shows. The policies differ
only in what they ask of the same `plan.decide`; time is pretended, so the figures are the same on any machine.
"""

import argparse
import heapq
import itertools
import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, assert_never

import yaml

from coordinator import forecast, plan, settings
from runtimes import state as runtime_state

State, Event = runtime_state.RuntimeState, runtime_state.RuntimeEvent
GIB = 1024**3
TRACES = Path(__file__).parent / "traces"


@dataclass(frozen=True, slots=True)
class Model:
    """A runtime of a trace."""

    name: str
    gib: float
    slots: int
    load_s: float
    leave_s: float
    """Stopping, and its memory coming back."""


@dataclass(frozen=True, slots=True)
class Agent:
    """A client that asks, waits for all its answers, thinks, and asks again."""

    start_s: float
    priority: int
    think_s: float
    steps: tuple[tuple[tuple[str, float], ...], ...]
    """Each step is calls made at once: (runtime, seconds that the answer takes)."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Who asks for what, and what there is to ask."""

    name: str
    about: str
    pool_gib: float
    models: tuple[Model, ...]
    agents: tuple[Agent, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A way to schedule, as questions to the one decision."""

    name: str
    knobs: settings.Knobs
    priorities: bool = True
    one_at_a_time: bool = False
    """One request at a time, whatever it asks for."""


OURS = Policy("ours", settings.Knobs())
STRICT = Policy("strict FIFO", settings.Knobs(max_wait_s=0, aging_s=0), priorities=False)
LOCK = Policy("global lock", STRICT.knobs, priorities=False, one_at_a_time=True)
RESIDENT = Policy(
    "resident first", settings.Knobs(max_wait_s=math.inf, aging_s=0), priorities=False
)
POLICIES = (OURS, STRICT, LOCK, RESIDENT)


def load(path: Path) -> Trace:
    """A hand-written trace."""
    given: dict[str, Any] = yaml.safe_load(path.read_text())  # our own files, made by hand
    models = tuple(Model(name, **model) for name, model in given["runtimes"].items())
    agents = []
    for group in given["agents"]:
        steps = tuple(
            tuple((name, run_s) for name, runs in step.items() for run_s in _runs(runs))
            for step in group["steps"]
        )
        for number in range(group.get("count", 1)):
            start_s = group["start_s"] + number * group.get("apart_s", 0)
            agents.append(
                Agent(
                    start_s,
                    group.get("priority", 50),
                    group.get("think_s", 0),
                    steps * group.get("repeat", 1),
                )
            )
    return Trace(path.stem, given["about"], given["pool_gib"], models, tuple(agents))


def _runs(given: str | Sequence[float]) -> list[float]:
    """How long each of the calls takes: `[8, 12]`, or `300 x 15`."""
    if not isinstance(given, str):
        return [float(run_s) for run_s in given]
    count, run_s = given.split(" x ")
    return [float(run_s)] * int(count)


def generate(seed: int, every_s: float, priorities: Sequence[int] = (50,)) -> Trace:
    """Independent requests for three models, as a shared machine sees them, with favourites that change."""
    rng = random.Random(seed)
    models = tuple(Model(name, 40, 2, 15 + 10 * n, 3) for n, name in enumerate("abc"))
    agents, at, favourite = [], 0.0, "a"
    for _ in range(150):
        at += rng.expovariate(1 / every_s)
        favourite = rng.choice("abc") if rng.random() < 0.2 else favourite
        name = favourite if rng.random() < 0.6 else rng.choice("abc")
        agents.append(Agent(at, rng.choice(priorities), 0, (((name, rng.uniform(3, 20)),),)))
    about = f"150 independent requests for three models, one each {every_s:g} s on average"
    about += "." if len(priorities) == 1 else ", of three priorities."
    kind = "equal" if len(priorities) == 1 else "mixed"
    return Trace(f"drawn-{kind}-{every_s:g}s", about, 48, models, tuple(agents))


def traces() -> list[Trace]:
    """Those written by hand, then those drawn: an easy load, and more than swapping leaves room for."""
    mixed = (20, 50, 50, 50, 80)
    drawn = [generate(1, 30), generate(2, 12), generate(1, 30, mixed), generate(2, 12, mixed)]
    return [load(path) for path in sorted(TRACES.glob("*.yaml"))] + drawn


@dataclass(slots=True, eq=False)
class Call:
    """One request while it is under way."""

    waiting: plan.Waiting
    run_s: float
    agent: "Turn"
    ahead: int
    passed_by: int = 0


@dataclass(slots=True, eq=False)
class Turn:
    """Where an agent is in its script."""

    agent: Agent
    step: int = 0
    open: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a policy made of a trace."""

    swaps: int
    makespan_s: float
    waits_s: tuple[tuple[int, float], ...]
    """The agent's priority, and how long a request of its waited."""
    of_bound: float
    """The largest share of its own bound that any request waited; only our knobs promise one."""

    def percentile(self, share: float, urgent: bool = False) -> float:
        """A wait that this share of all (or of the most urgent) requests stays within."""
        most = max(priority for priority, _ in self.waits_s)
        ordered = sorted(wait for priority, wait in self.waits_s if not urgent or priority == most)
        return ordered[math.ceil(share * len(ordered)) - 1]


@dataclass(slots=True)
class Replay:
    """One trace under one policy, on a clock of its own."""

    trace: Trace
    policy: Policy
    now: float = 0.0
    residents: dict[str, plan.Resident] = field(default_factory=dict)
    queue: dict[str, Call] = field(default_factory=dict)
    events: list[tuple[float, int, Turn | Call | str]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    swaps: int = 0
    waits_s: list[tuple[int, float]] = field(default_factory=list)
    of_bound: float = 0.0
    look_again_at: float | None = None

    def run(self) -> Outcome:
        """To the last answer."""
        for model in self.trace.models:
            slots = 1 if self.policy.one_at_a_time else model.slots
            size = None if self.policy.one_at_a_time else int(model.gib * GIB)
            self.residents[model.name] = plan.Resident(
                model.name, State.STOPPED, slots, 0, footprint_bytes=size, load_s=model.load_s
            )
        for agent in self.trace.agents:
            self.later(agent.start_s, Turn(agent))
        ended_at = 0.0
        while self.events or self.queue:
            times = [self.events[0][0]] if self.events else []
            times += [] if self.look_again_at is None else [self.look_again_at]
            self.now = min(times)
            while self.events and self.events[0][0] <= self.now:
                what = heapq.heappop(self.events)[2]
                ended_at = self.now if isinstance(what, Call) else ended_at
                self.happen(what)
            self.settle()
        return Outcome(self.swaps, ended_at, tuple(self.waits_s), self.of_bound)

    def later(self, after_s: float, what: Turn | Call | str) -> None:
        """Let an agent ask, an answer end, or a runtime's state end."""
        heapq.heappush(self.events, (self.now + after_s, next(self.numbers), what))

    def happen(self, what: Turn | Call | str) -> None:
        """The time of an event has come."""
        match what:
            case Turn():
                self.ask(what)
            case Call():
                self.answered(what)
            case str():
                resident = self.residents[what]
                ready = resident.state is State.STARTING
                state = State.READY if ready else State.STOPPED
                since = self.now if ready else None
                self.residents[what] = replace(resident, state=state, ready_since=since)
            case _ as never:
                assert_never(never)

    def ask(self, turn: Turn) -> None:
        """Make all calls of the agent's next step."""
        for name, run_s in turn.agent.steps[turn.step]:
            number = next(self.numbers)
            priority = turn.agent.priority if self.policy.priorities else 50
            waiting = plan.Waiting(str(number), number, name, priority, self.now)
            call = Call(waiting, run_s, turn, 0)
            for other in self.queue.values():
                if self.worth(other) >= self.worth(call):
                    call.ahead += 1
                else:
                    other.passed_by += 1
            self.queue[waiting.id] = call
            turn.open += 1

    def worth(self, call: Call) -> float:
        """Effective priority."""
        aging_s, waiting = self.policy.knobs.aging_s, call.waiting
        return waiting.priority + ((self.now - waiting.enqueued_at) / aging_s if aging_s else 0)

    def answered(self, call: Call) -> None:
        """Free the slot; after the last answer of a step the agent thinks, and goes on."""
        name, turn = call.waiting.runtime, call.agent
        resident = self.residents[name]
        self.residents[name] = replace(resident, leased=resident.leased - 1, last_used_at=self.now)
        turn.open -= 1
        if turn.open == 0:
            turn.step += 1
            if turn.step < len(turn.agent.steps):
                self.later(turn.agent.think_s, turn)

    def settle(self) -> None:
        """Decide until there is nothing more to do."""
        pool = None if self.policy.one_at_a_time else int(self.trace.pool_gib * GIB)
        while True:
            queue = [call.waiting for call in self.queue.values()]
            residents = list(self.residents.values())
            decision = plan.decide(queue, residents, pool, self.policy.knobs, self.now)
            for action in decision.actions:
                self.act(action)
            if not decision.actions:
                break
        self.look_again_at = decision.look_again_at

    def act(self, action: plan.Action) -> None:
        """Carry an action out."""
        resident = self.residents[action.runtime]
        model = next(model for model in self.trace.models if model.name == action.runtime)
        match action:
            case plan.Grant(item):
                self.grant(self.queue.pop(item))
                return
            case plan.Start():
                self.later(model.load_s, model.name)
                event = Event.START
            case plan.Stop():
                self.swaps += 1
                self.later(model.leave_s, model.name)
                event = Event.STOP
            case plan.Drain():
                event = Event.DRAIN
            case plan.Keep():
                event = Event.KEEP
            case _ as never:
                assert_never(never)
        state = runtime_state.after(resident.state, event)
        self.residents[model.name] = replace(resident, state=state)

    def grant(self, call: Call) -> None:
        """A request runs."""
        resident = self.residents[call.waiting.runtime]
        self.residents[resident.name] = replace(
            resident, leased=resident.leased + 1, last_used_at=self.now
        )
        waited_s = self.now - call.waiting.enqueued_at
        self.waits_s.append((call.agent.agent.priority, waited_s))
        self.of_bound = max(self.of_bound, waited_s / self.bound_s(call))
        self.later(call.run_s, call)

    def bound_s(self, call: Call) -> float:
        """What docs/scheduling.md promises to a request with this place in line."""
        knobs, models = OURS.knobs, self.trace.models
        steps = [step for agent in self.trace.agents for step in agent.steps]
        longest_run_s = max(run_s for step in steps for _, run_s in step)
        swap_s = max(m.leave_s for m in models) + max(m.load_s for m in models)
        stay_s = max(
            knobs.min_residency_s, knobs.residency_per_load * max(m.load_s for m in models)
        )
        turn_s = stay_s + longest_run_s + swap_s
        let_pass_s = call.passed_by * (knobs.max_wait_s + 2 * turn_s) if call.passed_by else 0.0
        return knobs.max_wait_s + (call.ahead + 2) * turn_s + let_pass_s


def table(chosen: Sequence[Trace]) -> Iterator[str]:
    """The comparison, as Markdown."""
    yield "| trace | policy | swaps | makespan | p50 wait | p95 wait | p95, most urgent | longest wait | of its bound |"
    yield "|---|---|--:|--:|--:|--:|--:|--:|--:|"
    for trace in chosen:
        for policy in POLICIES:
            done = Replay(trace, policy).run()
            waits_s = [done.percentile(0.5), done.percentile(0.95)]
            waits_s += [done.percentile(0.95, urgent=True), done.percentile(1)]
            name = trace.name if policy is OURS else ""
            cells = [name, policy.name, str(done.swaps), f"{done.makespan_s:.0f} s"]
            cells += [f"{wait_s:.0f} s" for wait_s in waits_s] + [f"{done.of_bound:.0%}"]
            yield f"| {' | '.join(cells)} |"


def cost() -> Iterator[str]:
    """What one decision and one forecast take of this machine, the best of twenty."""
    names = [f"r{number}" for number in range(10)]
    rng = random.Random(1)
    learned = {
        name: forecast.Rates((20.0, 30.0), tuple(rng.uniform(2, 20) for _ in range(20)))
        for name in names
    }
    residents = [
        plan.Resident(name, State.READY if not n else State.STOPPED, 2, 0, ready_since=0.0)
        for n, name in enumerate(names)
    ]
    for size in (10, 100, 500, 2000):
        queue = [
            plan.Waiting(str(n), n, rng.choice(names), rng.choice((20, 50, 80)), n / 10)
            for n in range(size)
        ]
        scene = (queue, residents, 80 * GIB, settings.Knobs(), 300.0)
        decided = min(_cpu_s(plan.decide, *scene) for _ in range(20))
        foretold = min(_cpu_s(forecast.foresee, *scene, learned) for _ in range(20))
        yield f"{size:5} queued: decide {decided * 1e3:.2f} ms, forecast {foretold * 1e3:.1f} ms"


def _cpu_s(run: Callable[..., object], *given: object) -> float:
    began = time.process_time()
    run(*given)
    return time.process_time() - began


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trace", nargs="*", help="names of traces, or YAML files; all if none")
    parser.add_argument("--cost", action="store_true", help="measure the decision itself instead")
    given = parser.parse_args()
    names = given.trace
    every = {trace.name: trace for trace in traces()}
    chosen = [every[name] if name in every else load(Path(name)) for name in names]
    for line in cost() if given.cost else table(chosen or list(every.values())):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
