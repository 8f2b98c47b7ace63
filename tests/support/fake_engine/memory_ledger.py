"""Pretended memory: engines write what they hold, `Pool` reads it back, slowly when told to."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path


def take(ledger: Path, size_bytes: int) -> None:
    """Say that this process now holds so many bytes."""
    line = json.dumps({"pid": os.getpid(), "bytes": size_bytes}).encode() + b"\n"
    fd = os.open(ledger, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
    os.write(fd, line)
    os.close(fd)


class Pool:
    """Free memory of a pretended device: what dead engines held comes back `delay_s` later, at a rate."""

    def __init__(
        self,
        ledger: Path,
        total_bytes: int,
        *,
        delay_s: float = 0.0,
        bytes_per_s: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger, self._total = ledger, total_bytes
        self._delay_s, self._rate, self._clock = delay_s, bytes_per_s, clock
        self._died: dict[int, float] = {}

    def free_bytes(self) -> int:
        """What a device reader would say now."""
        return self._total - sum(self._held(pid, size) for pid, size in self._lines())

    def _lines(self) -> list[tuple[int, int]]:
        if not self._ledger.exists():
            return []
        rows = (json.loads(line) for line in self._ledger.read_text().splitlines())
        return [(row["pid"], row["bytes"]) for row in rows]

    def _held(self, pid: int, size: int) -> int:
        if _alive(pid):
            return size
        since = self._clock() - self._died.setdefault(pid, self._clock()) - self._delay_s
        back = 0.0 if since <= 0 else since * self._rate
        return max(0, size - int(min(back, size)))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
