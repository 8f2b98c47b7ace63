"""A lifecycle that does what a test says, step by step: for moments that no real child can be stopped at."""

from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from runtimes import base


@dataclass
class ScriptedLifecycle:
    """`start` waits for `may_load`, `stop` for `may_stop`; both are open unless a test closes them."""

    name: str
    log: list[str] = field(default_factory=list)
    may_load: anyio.Event = field(default_factory=anyio.Event)
    may_stop: anyio.Event = field(default_factory=anyio.Event)
    death: anyio.Event = field(default_factory=anyio.Event)
    may_clean_up: anyio.Event = field(default_factory=anyio.Event)
    fails_with: base.Exit | None = None
    found: base.Running | None = None
    used: int | None = None
    up: bool = False
    starts: int = 0
    exit: base.Exit = field(
        default_factory=lambda: base.Exit(137, base.FailureClass.UNKNOWN, ("killed",))
    )

    def __post_init__(self) -> None:
        self.may_load.set()
        self.may_stop.set()
        self.may_clean_up.set()

    def hold_cleanup(self) -> None:
        """After a death, `died` waits until `may_clean_up` is set, and cannot be cancelled meanwhile."""
        self.may_clean_up = anyio.Event()

    def hold_load(self) -> None:
        """The next load waits until `may_load` is set."""
        self.may_load = anyio.Event()

    async def look(self, known: base.ProcessRecord | None) -> base.Running | None:
        self.log.append(f"{self.name}:look")
        self.up = self.found is not None
        return self.found

    async def start(self, report: Callable[[base.LoadProgress], None]) -> base.Running:
        self.starts += 1
        self.log.append(f"{self.name}:start")
        try:
            report(base.LoadProgress("weights", 0.5))
            await self.may_load.wait()
        except anyio.get_cancelled_exc_class():
            self.log.append(f"{self.name}:load cancelled")
            raise
        if self.fails_with is not None:
            self.log.append(f"{self.name}:failed")
            raise base.EngineFailed(self.name, self.fails_with, "it failed")
        self.up = True
        self.death = anyio.Event()
        self.log.append(f"{self.name}:ready")
        return base.Running(f"http://127.0.0.1:1/{self.name}", None)

    async def stop(self) -> None:
        self.log.append(f"{self.name}:stop")
        await self.may_stop.wait()
        self.up = False
        self.log.append(f"{self.name}:stopped")

    async def died(self) -> base.Exit:
        await self.death.wait()
        self.up = False
        with anyio.CancelScope(shield=True):
            await self.may_clean_up.wait()
        self.log.append(f"{self.name}:cleaned up")
        return self.exit

    def log_tail(self, lines: int = 20) -> tuple[str, ...]:
        return ()

    def record(self) -> base.ProcessRecord | None:
        return None

    def memory_used(self) -> int | None:
        return self.used


@dataclass
class FreeMemory:
    """A machine whose memory is always all there, unless a test says otherwise."""

    free_bytes: int | None = None
    missing_bytes: int = 0

    async def free(self) -> int | None:
        return self.free_bytes

    async def settle(
        self, expected_bytes: int | None, free_before: int | None, cap_s: float
    ) -> int:
        return self.missing_bytes
