"""The append-only log of what fake engines did, and the questions that tests ask of it."""

import itertools
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Witness:
    """Writes one JSON line an event; O_APPEND keeps lines of several processes whole."""

    def __init__(self, path: Path | None, engine: str) -> None:
        self._engine = engine
        self._fd = (
            None if path is None else os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
        )

    def note(self, event: str, **data: object) -> None:
        """Record an event now."""
        if self._fd is None:
            return
        line = {
            "t": time.monotonic(),
            "wall": time.time(),
            "engine": self._engine,
            "pid": os.getpid(),
        }
        os.write(self._fd, json.dumps({**line, "event": event, **data}).encode() + b"\n")


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the log."""

    t: float
    engine: str
    pid: int
    event: str
    data: dict[str, Any]


def read(path: Path) -> list[Event]:
    """All events so far, oldest first; an empty list before the first engine ran."""
    if not path.exists():
        return []
    events = []
    for line in path.read_text().splitlines():
        raw = json.loads(line)
        events.append(Event(raw.pop("t"), raw.pop("engine"), raw.pop("pid"), raw.pop("event"), raw))
    return sorted(events, key=lambda event: event.t)


def named(path: Path, event: str) -> list[Event]:
    """The events of one name."""
    return [each for each in read(path) if each.event == event]


@dataclass(frozen=True, slots=True)
class Life:
    """One process of an engine, from its first to its last event."""

    engine: str
    pid: int
    begun: float
    ended: float


def lives(events: Iterable[Event]) -> list[Life]:
    """Each engine process as a span; a killed one ends with the last thing it wrote."""
    spans: dict[int, Life] = {}
    for event in events:
        known = spans.get(event.pid)
        begun = event.t if known is None else known.begun
        spans[event.pid] = Life(event.engine, event.pid, begun, event.t)
    return sorted(spans.values(), key=lambda life: life.begun)


def overlaps(path: Path) -> list[str]:
    """Every proof that two engines held memory at once; empty is what tests want."""
    events = read(path)
    proofs = [f"{e.engine} found the GPU held" for e in events if e.event == "overlap"]
    ordered = lives(events)
    for one, two in itertools.pairwise(ordered):
        if two.begun < one.ended and one.engine != two.engine:
            proofs.append(f"{two.engine} started before {one.engine} ended")
    return proofs


def most_at_once(path: Path, engine: str) -> int:
    """The highest number of requests that an engine ran at the same time."""
    running = highest = 0
    for event in read(path):
        if event.engine != engine:
            continue
        if event.event == "begin":
            running += 1
        elif event.event in ("end", "cancelled"):
            running -= 1
        highest = max(highest, running)
    return highest
