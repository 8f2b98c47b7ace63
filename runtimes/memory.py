"""The machine's memory as the coordinator asks for it: what is free, and when a gone engine's is back."""

import collections
import logging
import time
from collections.abc import Awaitable, Callable, Iterable

import anyio
from anyio import to_thread

from runtimes import devices, settle

log = logging.getLogger(__name__)

KEPT_SAMPLES = 4096

Read = Callable[[], Awaitable[int | None]]


async def settled(
    read: Read,
    goal: settle.Goal,
    gone: Callable[[], bool] = lambda: True,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> settle.Settled:
    """Read until the memory is back, or no more is coming, or patience ends; never longer than the cap."""
    samples: collections.deque[settle.Sample] = collections.deque(maxlen=KEPT_SAMPLES)
    began = clock()
    while True:
        free = await read()
        now = clock()
        if free is None:
            # Nobody can tell: the end of the processes is all there is to wait for.
            if gone() or now - began >= goal.cap_s:
                return settle.Settled(settle.Verdict.FLAT, 0, goal.expected_bytes)
        else:
            samples.append(settle.Sample(now, free))
            found = settle.judge(samples, goal, gone())
            if found.verdict is not settle.Verdict.WAIT:
                return found
        await sleep(settle.SAMPLE_S)


class Machine:
    """The pool of this machine."""

    def __init__(self, pool: devices.Devices) -> None:
        self._pool = pool

    @classmethod
    def of_this_machine(cls) -> "Machine":
        """With whatever GPU there is; may block for a moment, so call it before the loop or in a thread."""
        return cls(devices.Devices.of_this_machine())

    def measure(self, pids: Iterable[int]) -> int | None:
        """What processes hold of the pool; for `registry.build`. Blocks: it is called in threads."""
        return self._pool.used_by(pids)

    async def reading(self) -> devices.Reading:
        """Everything that is known of the pool now."""
        return await to_thread.run_sync(self._pool.read)

    async def free(self) -> int | None:
        """Bytes that a new engine could have now; None if nobody can tell."""
        return await to_thread.run_sync(self._pool.free_bytes)

    async def settle(
        self, expected_bytes: int | None, free_before: int | None, cap_s: float
    ) -> int:
        """Wait until a gone engine's memory is back; the bytes still missing (0 when it is all there)."""
        goal = settle.Goal(expected_bytes, free_before, cap_s)
        found = await settled(self.free, goal)
        if found.missing_bytes:
            log.warning("memory after a stop: %s", found)
        return found.missing_bytes
