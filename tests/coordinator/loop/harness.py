"""A coordinator on a temporary state directory, with scripted runtimes."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from coordinator import errors, lease, loop, messages, settings, store, work
from runtimes import base, registry
from runtimes.upstream import Completion
from tests.support.scripted import FreeMemory, ScriptedLifecycle

WITHIN_S = 30.0
"""A bound for every wait: generous, because these machines are busy."""


@dataclass
class Engine:
    """What asks the engine for stored work; a test decides when and what it answers."""

    asked: list[tuple[str, bytes]] = field(default_factory=list)
    may_answer: anyio.Event = field(default_factory=anyio.Event)
    answers: Callable[[bytes], Completion] = lambda body: Completion(200, b'{"ok":1}', 5, 3, 2)
    cut_off: int = 0
    poke: Callable[[], None] = lambda: None
    """Makes the loop pass once, so that `Bench.until` looks again."""

    async def complete(
        self, running: base.Running, spec: base.RuntimeSpec, path: str, body: bytes
    ) -> Completion:
        self.asked.append((spec.name, body))
        self.poke()
        try:
            await self.may_answer.wait()
        except anyio.get_cancelled_exc_class():
            self.cut_off += 1
            raise
        return self.answers(body)


@dataclass
class Bench:
    """Everything a test touches."""

    coordinator: loop.Coordinator
    lifecycles: dict[str, ScriptedLifecycle]
    engine: Engine
    log: list[str]
    memory: FreeMemory
    group: anyio.abc.TaskGroup

    def request(self, runtime: str, **more: object) -> work.WorkRequest:
        """Connection work for this runtime."""
        base_: dict[str, object] = {
            "owner": "me",
            "surface": "test",
            "path": "/v1/chat/completions",
        }
        return work.WorkRequest(runtime, runtime, **{**base_, **more})  # type: ignore[arg-type]  # a test's shorthand

    def job(self, runtime: str, **more: object) -> work.WorkRequest:
        """Stored work for this runtime."""
        more = {"durability": work.Durability.STORED, "body": b"{}", "max_attempts": 2, **more}
        return self.request(runtime, **more)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for a pass of the loop after which this holds."""
        with anyio.fail_after(WITHIN_S):
            while not holds():
                await self.coordinator.changed()

    async def until_asleep(self) -> None:
        """A few passes of the event loop, for tasks that wait for nothing."""
        for _ in range(20):
            await anyio.lowlevel.checkpoint()

    def hold(self, request: work.WorkRequest) -> "Holder":
        """Somebody who takes a lease and keeps it until told to let go."""
        holder = Holder(self.coordinator, request)
        self.group.start_soon(holder.run)
        return holder

    def state(self, runtime: str) -> str:
        """The runtime's state."""
        return self.coordinator.keeper.fleet.residents[runtime].state.value


class Holder:
    """A client: waits for its grant, holds the slot, lets go."""

    def __init__(self, coordinator: loop.Coordinator, request: work.WorkRequest) -> None:
        self._coordinator, self._request = coordinator, request
        self.granted = anyio.Event()
        self.release = anyio.Event()
        self.done = anyio.Event()
        self.scope = anyio.CancelScope()
        self.error: Exception | None = None
        self.lease: lease.Lease | None = None
        self.finishes = True

    def release_without_finishing(self) -> None:
        """Let go, having said how it ended."""
        self.finishes = False
        self.release.set()

    async def run(self) -> None:
        """The client's whole life."""
        try:
            with self.scope:
                async with self._coordinator.lease(self._request) as held:
                    self.lease = held
                    await held.granted()
                    self.granted.set()
                    await self.release.wait()
                    if self.finishes:
                        held.finish(output_tokens=7)
        except errors.CoordinatorError as error:
            self.error = error
        finally:
            self.done.set()

    async def has(self, event: anyio.Event) -> None:
        """Wait, bounded."""
        with anyio.fail_after(WITHIN_S):
            await event.wait()


@asynccontextmanager
async def bench(
    path: Path,
    *specs: base.RuntimeSpec,
    pool_bytes: int | None = 100,
    knobs: settings.Knobs | None = None,
    **limits: float,
) -> AsyncGenerator[Bench]:
    """One gateway's life on this state directory."""
    knobs = knobs or settings.Knobs(max_wait_s=0.2, min_residency_s=0.0)
    log: list[str] = []
    lifecycles = {spec.name: ScriptedLifecycle(spec.name, log) for spec in specs}
    options = settings.CoordinatorSettings(
        knobs=knobs,
        pool_bytes=pool_bytes,
        settle_cap_s=1.0,
        **limits,  # type: ignore[arg-type]  # a test's shorthand
    )
    engine, memory = Engine(), FreeMemory()
    members = registry.Registry(
        {one.name: registry.Managed(one, lifecycles[one.name]) for one in specs},
        {alias: one.name for one in specs for alias in one.aliases},
    )
    async with (
        store.Store.open(path, options) as store_,
        loop.Coordinator.open(members, store_, engine, memory, options) as coordinator,
        anyio.create_task_group() as group,
    ):
        engine.poke = lambda: coordinator.tell(messages.Do(lambda: None))
        made = Bench(coordinator, lifecycles, engine, log, memory, group)
        await made.until(lambda: coordinator.ready)
        yield made
        group.cancel_scope.cancel()


def spec(name: str, size: int | None = 60, slots: int = 1, **more: object) -> base.RuntimeSpec:
    """A runtime of this footprint in a pool of 100: two of 60 never fit together."""
    return base.RuntimeSpec(
        name,
        "scripted",
        (name,),
        name,
        slots,
        memory_bytes=size,
        **more,  # type: ignore[arg-type]  # a test's shorthand
    )
