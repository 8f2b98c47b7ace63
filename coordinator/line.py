"""The line: every entry that waits, the limits on it, and the places that left copies keep for a retry."""

import heapq
from collections import Counter
from collections.abc import Collection

from coordinator import errors, plan, settings
from coordinator.entry import Entry

KEEP_PLACE_S = 10.0
"""An SDK that gave up sends its second copy within about three seconds; ten leave room for a slow one."""


class Line:
    """A plain data structure: the loop is its only user, and nothing here waits."""

    def __init__(self, limits: settings.CoordinatorSettings) -> None:
        self._limits = limits
        self._entries: dict[str, Entry] = {}
        self._held: set[Entry] = set()
        self._by_owner: Counter[str] = Counter()
        self._deadlines: list[tuple[float, int, Entry]] = []
        self._kept: dict[str, tuple[plan.Waiting, float]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, entry: Entry) -> bool:
        return entry.id in self._entries

    def entries(self) -> list[Entry]:
        """Everything that waits, in order of admission."""
        return list(self._entries.values())

    def ids(self) -> Collection[str]:
        """Of everything that waits."""
        return self._entries.keys()

    def get(self, work_id: str) -> Entry | None:
        """The waiting entry with this id."""
        return self._entries.get(work_id)

    def places(self) -> list[plan.Waiting]:
        """What the decision may grant; stored work only once its row is on disk."""
        if not self._held:
            return [entry.place for entry in self._entries.values()]
        return [entry.place for entry in self._entries.values() if entry not in self._held]

    def check_room(self, owner: str, retry_after_s: float | None) -> None:
        """Raise `QueueFull` when one more would be too many, in all or for this owner."""
        if len(self._entries) >= self._limits.max_queue:
            raise errors.QueueFull(self._limits.max_queue, retry_after_s, client=False)
        if self._by_owner[owner] >= self._limits.max_queue_per_client:
            raise errors.QueueFull(self._limits.max_queue_per_client, retry_after_s, client=True)

    def add(self, entry: Entry, held: bool = False) -> None:
        """Let it wait; a held entry has its place but is not granted yet."""
        self._entries[entry.id] = entry
        self._by_owner[entry.item.owner] += 1
        if held:
            self._held.add(entry)
        heapq.heappush(self._deadlines, (entry.deadline, entry.item.seq, entry))

    def release(self, entry: Entry) -> None:
        """A held entry may be granted from now on."""
        self._held.discard(entry)

    def remove(self, entry: Entry) -> None:
        """It does not wait any more, for whatever reason."""
        if self._entries.pop(entry.id, None) is None:
            return
        self._held.discard(entry)
        self._by_owner[entry.item.owner] -= 1
        if not self._by_owner[entry.item.owner]:
            del self._by_owner[entry.item.owner]

    def expired(self, now: float) -> list[Entry]:
        """Everything whose waiting budget has run out; it still has to be removed."""
        found = []
        while self._deadlines and self._deadlines[0][0] <= now:
            entry = heapq.heappop(self._deadlines)[2]
            if self._entries.get(entry.id) is entry:
                found.append(entry)
        return found

    def next_deadline(self) -> float | None:
        """When `expired` would first find something."""
        while self._deadlines and self._entries.get(self._deadlines[0][2].id) is None:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def keep_place(self, entry: Entry, now: float) -> None:
        """Its client left while it waited: an identical retry may take this place for a while."""
        if entry.join_key is not None:
            self._kept[entry.join_key] = (entry.place, now + KEEP_PLACE_S)

    def kept_place(self, join_key: str | None, now: float) -> plan.Waiting | None:
        """The place that an earlier copy left, once."""
        if join_key is None or not self._kept:
            return None
        for stale in [key for key, (_, until) in self._kept.items() if until < now]:
            del self._kept[stale]
        kept = self._kept.pop(join_key, None)
        return kept[0] if kept else None
