"""Starts a fake engine for a test that needs one without the gateway's own supervision."""

import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.abc

from tests.support.fake_engine import knobs

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Spawned:
    """A fake engine that listens."""

    base_url: str
    port: int
    pid: int
    process: anyio.abc.Process

    def send(self, number: signal.Signals) -> None:
        """Signal its whole process group."""
        os.killpg(self.pid, number)


def command(**chosen: object) -> list[str]:
    """The argv of a fake engine with these knobs, runnable from the repository's root."""
    return [sys.executable, "-m", "tests.support.fake_engine", *knobs.argv(**chosen)]


@contextlib.asynccontextmanager
async def running(**chosen: object) -> AsyncIterator[Spawned]:
    """A fake engine that listens on a free port, and is dead when the block is left."""
    process = await anyio.open_process(
        command(**chosen), cwd=ROOT, stdin=None, stderr=None, start_new_session=True
    )
    try:
        with anyio.fail_after(30):
            port = await _port(process)
        yield Spawned(f"http://127.0.0.1:{port}", port, process.pid, process)
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(10):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.aclose()


async def _port(process: anyio.abc.Process) -> int:
    assert process.stdout is not None
    seen = b""
    async for chunk in process.stdout:
        seen += chunk
        for line in seen.splitlines(keepends=True):
            if line.startswith(b"listening on ") and line.endswith(b"\n"):
                return int(line.rsplit(b":", 1)[1])
    raise AssertionError(f"the fake engine ended: {seen!r}")
