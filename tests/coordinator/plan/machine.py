"""Random traffic with crashes, cancels, pins, pauses and restarts, as a stateful hypothesis machine."""

import os
from typing import ClassVar

import hypothesis
from hypothesis import stateful
from hypothesis import strategies as st

from coordinator import plan, settings
from tests.coordinator.plan import world

FULL = 2000
# All in CI, or with LMG_EXAMPLES=2000; a few seconds' worth at the desk.
EXAMPLES = int(os.environ.get("LMG_EXAMPLES") or (FULL if os.environ.get("CI") else 150))

INDEX = st.integers(0, 63)
ARRIVAL = st.tuples(
    INDEX, st.sampled_from([20, 50, 50, 50, 80]), st.integers(1, world.LONGEST_RUN_S)
)

BEGINNINGS = [
    world.State.STOPPED,
    world.State.STARTING,
    world.State.READY,
    world.State.STOPPING,
    world.State.SETTLING,
]


@st.composite
def engines(draw: st.DrawFn) -> list[world.Engine]:
    """Two to four runtimes that want the pool, and perhaps a remote endpoint."""
    made = []
    for name in "abcd"[: draw(st.integers(2, 4))]:
        known = draw(st.sampled_from([20, 20, 40, 60, 100]))
        made.append(
            world.Engine(
                name,
                slots=draw(st.integers(1, 3)),
                footprint=draw(st.sampled_from([None, known, known])),
                learned=draw(st.sampled_from([None, known])),
                exclusive=draw(st.integers(0, 7)) == 0,
                idle_unload_s=draw(st.sampled_from([None, 6.0, 60.0])),
                load_s=draw(st.integers(1, world.LONGEST_LOAD_S)),
                stop_s=draw(st.integers(1, world.LONGEST_STOP_S)),
                settle_s=draw(st.integers(0, world.LONGEST_SETTLE_S)),
            )
        )
    if draw(st.booleans()):
        made.append(world.Engine("remote", slots=2, gpu_work=False))
    return made


KNOBS = st.builds(
    settings.Knobs,
    max_wait_s=st.sampled_from([0.0, 8.0, 32.0]),
    min_residency_s=st.sampled_from([0.0, 4.0, 16.0]),
    aging_s=st.sampled_from([0.0, 1.0, 64.0]),
    residency_per_load=st.sampled_from([0.0, 1.0, 2.0]),
)


class Traffic(stateful.RuleBasedStateMachine):
    """The world checks each action; the rules here are what can happen to it."""

    decide: ClassVar[world.Decide] = staticmethod(plan.decide)

    @stateful.initialize(
        engines=engines(),
        knobs=KNOBS,
        pool=st.sampled_from([80, 80, 80, None]),
        states=st.lists(st.sampled_from(BEGINNINGS), max_size=4),
        arrivals=st.lists(ARRIVAL, max_size=4),
    )
    def begin(
        self,
        engines: list[world.Engine],
        knobs: settings.Knobs,
        pool: int | None,
        states: list[world.State],
        arrivals: list[tuple[int, int, int]],
    ) -> None:
        """Open the world in the middle of things."""
        self.world = world.World(engines, pool, knobs, type(self).decide)
        for engine, state in zip(engines, states, strict=False):
            self.world.place(engine, state)
        self.submit_all(arrivals)

    def engine(self, index: int) -> world.Engine:
        """Any of the runtimes."""
        every = list(self.world.engines.values())
        return every[index % len(every)]

    @stateful.rule(arrivals=st.lists(ARRIVAL, min_size=1, max_size=4))
    def submit(self, arrivals: list[tuple[int, int, int]]) -> None:
        """Work comes in, several items between two looks of the coordinator."""
        self.submit_all(arrivals)

    def submit_all(self, arrivals: list[tuple[int, int, int]]) -> None:
        """Admit all, then let the coordinator react."""
        for index, priority, run_s in arrivals:
            self.world.admit(self.engine(index).name, priority, run_s)
        self.world.settle()

    @stateful.rule(seconds=st.integers(0, 24))
    def pass_time(self, seconds: int) -> None:
        """Time passes."""
        self.world.advance(seconds)

    @stateful.rule(index=INDEX, queued=st.booleans())
    def cancel(self, index: int, queued: bool) -> None:
        """A client leaves."""
        names = list(self.world.queue if queued else self.world.running)
        if names:
            self.world.cancel(names[index % len(names)])

    @stateful.rule(index=INDEX)
    def break_engine(self, index: int) -> None:
        """An engine dies, or does not come up."""
        engine = self.engine(index)
        if engine.state is world.State.STARTING:
            self.world.fail_load(engine)
        elif engine.gpu_work and engine.state in {world.State.READY, world.State.DRAINING}:
            self.world.die(engine)

    @stateful.rule(index=INDEX)
    def pin_or_unpin(self, index: int) -> None:
        """Somebody wants a runtime to stay, or no longer."""
        engine = self.engine(index)
        self.world.disturb()
        engine.pinned = not engine.pinned
        self.world.settle()

    @stateful.rule(index=INDEX, drains=st.booleans())
    def unload(self, index: int, drains: bool) -> None:
        """Somebody unloads a runtime by hand."""
        engine = self.engine(index)
        if engine.gpu_work and engine.state in {world.State.READY, world.State.DRAINING}:
            self.world.unload(engine, drains)

    @stateful.rule()
    def pause_or_resume(self) -> None:
        """Somebody wants the machine for something else, or gives it back."""
        self.world.disturb()
        self.world.paused = not self.world.paused
        self.world.settle()

    @stateful.rule(requeue=st.booleans())
    def restart(self, requeue: bool) -> None:
        """The gateway is killed and comes back."""
        self.world.restart(requeue)

    @stateful.invariant()
    def memory_fits(self) -> None:
        """What holds memory fits the pool together."""
        if hasattr(self, "world"):
            assert self.world.held() <= self.world.room

    def teardown(self) -> None:
        """When traffic stops, everything ends."""
        if not hasattr(self, "world"):
            return
        self.world.paused = False
        for engine in self.world.engines.values():
            engine.pinned = False
        self.world.settle()
        bounds = [self.world.bound_s(ticket) for ticket in self.world.queue.values()]
        self.world.advance(2 * max(bounds, default=0) + 1000)
        assert not self.world.queue, "somebody waits for ever"
        assert not self.world.running
        for engine in self.world.engines.values():
            assert engine.state in {world.State.STOPPED, world.State.READY}
            stays = engine.idle_unload_s is None
            assert engine.state is world.State.STOPPED or stays, "never unloaded"


def explore(machine: type[Traffic], examples: int, *, shrink: bool = True) -> None:
    """Run the machine; raises what it finds."""
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    if shrink:
        phases += [hypothesis.Phase.reuse, hypothesis.Phase.shrink]
    stateful.run_state_machine_as_test(
        machine,
        settings=hypothesis.settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            database=None,
            phases=phases,
            report_multiple_bugs=False,
            derandomize=not shrink,
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )
