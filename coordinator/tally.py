"""What ended and what was swapped, counted in memory as it is written; the rows are never counted."""

import time
from collections import Counter

from coordinator import changes, connection, reading, rows, state
from runtimes import state as runtime_state


class Tally:
    """Starts from the table that the database keeps, then adds what each written change adds there."""

    def __init__(self) -> None:
        self._day = ""
        self._today: Counter[str] = Counter()
        self._ever: Counter[str] = Counter()

    async def load(self, database: connection.Database, now: float) -> None:
        """Begin from what is stored."""
        self._day = day_of(now)
        today, ever = await reading.counts(database, self._day)
        self._today, self._ever = Counter(today), Counter(ever)

    def add(self, written: tuple[changes.Change, ...]) -> None:
        """Count changes that were just written."""
        for change in written:
            kind = _kind(change)
            if kind is not None and isinstance(change, changes.Moved | changes.RuntimeMoved):
                self._turn(day_of(change.at))
                self._ever[kind] += 1
                self._today[kind] += day_of(change.at) == self._day

    def counts(self, now: float) -> rows.Counts:
        """What was counted up to now."""
        self._turn(day_of(now))
        return rows.Counts(today=dict(self._today), ever=dict(self._ever))

    def _turn(self, day: str) -> None:
        if day > self._day:
            self._day = day
            self._today.clear()


def day_of(at: float) -> str:
    """The local calendar day: what a person means by today."""
    return time.strftime("%Y-%m-%d", time.localtime(at))


def _kind(change: changes.Change) -> str | None:
    if isinstance(change, changes.Moved) and change.after in state.TERMINAL:
        return str(change.after)
    if (
        isinstance(change, changes.RuntimeMoved)
        and change.after is runtime_state.RuntimeState.STOPPING
        and change.reason.startswith("swap")
    ):
        return "swap"
    return None
