"""Starting and stopping for ever: nothing may grow."""

import gc
import threading
from pathlib import Path

import anyio
import psutil
import pytest

from tests.runtimes.engines import Workshop

CYCLES = 100


def counts() -> tuple[int, int, int]:
    """File descriptors, threads, and children that nobody collected."""
    gc.collect()
    children = psutil.Process().children(recursive=True)
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), len(children)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_hundred_starts_and_stops_leave_nothing_behind(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    made = shop.fake(fork_child=True, log_lines=5)
    before: tuple[int, int, int] | None = None
    with anyio.fail_after(290):
        for number in range(CYCLES):
            await made.lifecycle.start(shop.report)
            await made.lifecycle.stop()
            if number == 9:
                # By now every lazily made thread and descriptor exists.
                before = counts()
    after = counts()
    assert before is not None
    assert after[0] <= before[0] + 1
    assert after[1] <= before[1] + 1
    assert after[2] <= before[2]
    assert not shop.events("overlap")
    assert len(shop.events("exit")) == CYCLES
