"""What waits to be written, in order, and what is let go of when too much of it cannot be."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio

from coordinator import changes, connection


@dataclass(slots=True, eq=False)
class Note:
    """Changes that nobody waits for."""

    changes: tuple[changes.Change, ...]


@dataclass(slots=True, eq=False)
class Commit:
    """Changes that somebody waits for, until they are on the disk."""

    changes: tuple[changes.Change, ...]
    done: anyio.Event = field(default_factory=anyio.Event)
    error: Exception | None = None


@dataclass(slots=True, eq=False)
class Errand:
    """A whole transaction of its own kind, such as a takeover; never grouped."""

    work: Callable[[connection.Database], Awaitable[object]]
    afterwards: Callable[[connection.Database], Awaitable[object]] | None = None
    """What can only be done outside a transaction, right after this one."""
    durable: bool = True
    """Whether it is on the disk when it is done; else it is there after the next commit that is."""
    done: anyio.Event = field(default_factory=anyio.Event)
    error: Exception | None = None
    result: object = None


Entry = Note | Commit | Errand
Group = list[Note | Commit]


class Backlog:
    """A line of entries; `noted` is how many changes of notes are in it."""

    def __init__(self) -> None:
        self.noted = 0
        self._waiting: list[Entry] = []

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._waiting)

    def add(self, entry: Entry) -> None:
        """Stand at the end of the line."""
        self._waiting.append(entry)
        if isinstance(entry, Note):
            self.noted += len(entry.changes)

    def withdraw(self, entry: Entry) -> None:
        """Leave the line, if the entry is still in it."""
        if entry in self._waiting:
            self._waiting.remove(entry)

    def put_back(self, notes: list[Note]) -> None:
        """Stand at the head of the line again, in the same order."""
        self._waiting[:0] = notes
        self.noted += sum(len(note.changes) for note in notes)

    def clear(self) -> list[Entry]:
        """Empty the line and return what was in it."""
        cleared, self._waiting, self.noted = self._waiting, [], 0
        return cleared

    def take(self, limit: int) -> Errand | Group:
        """The errand at the head of the line, or the changes up to the next one: not many more than `limit`."""
        if self._waiting and isinstance(self._waiting[0], Errand):
            return self._waiting.pop(0)  # type: ignore[return-value] # asked in the line above
        group: Group = []
        size = 0
        for entry in self._waiting:
            if isinstance(entry, Errand) or size >= limit:
                break
            group.append(entry)
            size += len(entry.changes)
            if isinstance(entry, Note):
                self.noted -= len(entry.changes)
        del self._waiting[: len(group)]
        return group

    def shorten(self) -> int:
        """Let go of notes about items whose admission is itself unwritten, and of what was learned.

        Items are dropped whole: a part of one would be moves of a row that never was. What is left is
        about what runs and what it runs on, and that is never much. Returns how many changes went.
        """
        notes = [entry for entry in self._waiting if isinstance(entry, Note)]
        unborn = {
            change.item.id
            for note in notes
            for change in note.changes
            if isinstance(change, changes.Enqueued)
        }
        before, self.noted = self.noted, 0
        for note in notes:
            note.changes = tuple(
                change
                for change in note.changes
                if not isinstance(change, changes.Learned) and _work_id(change) not in unborn
            )
            self.noted += len(note.changes)
        self._waiting = [
            entry for entry in self._waiting if not isinstance(entry, Note) or entry.changes
        ]
        return before - self.noted


def _work_id(change: changes.Change) -> str | None:
    if isinstance(change, changes.Enqueued):
        return change.item.id
    return getattr(change, "work_id", None)
