"""The work side of the keeper: who waits, who holds a slot, and how each of them ends."""

import dataclasses
import math
import time
from typing import TypeVar

import anyio

from coordinator import changes, errors, messages, plan, settings, state, store, work
from coordinator.entry import Entry
from coordinator.learning import Lessons
from coordinator.line import Line
from coordinator.residency import Resident

KEYS_REMEMBERED = 1000

WorkEvent = state.WorkEvent
T = TypeVar("T")


class Ledger:
    """Every method runs in the keeper's task; none of them waits."""

    def __init__(
        self, store_: store.Store, lessons: Lessons, limits: settings.CoordinatorSettings
    ) -> None:
        self.line = Line(limits)
        self.running: dict[str, Entry] = {}
        self.next_seq = 1
        self._by_key: dict[tuple[str, str], Entry] = {}
        self._store, self._lessons, self._limits = store_, lessons, limits

    def get(self, work_id: str) -> Entry | None:
        """The live entry with this id, waiting or running."""
        return self.line.get(work_id) or self.running.get(work_id)

    def live(self) -> list[Entry]:
        """Everything that has not ended."""
        return [*self.running.values(), *self.line.entries()]

    def known(self, request: work.WorkRequest, body_hash: str | None) -> Entry | None:
        """The stored work that this idempotency key made already; its body must be the same."""
        if request.idempotency_key is None:
            return None
        known = self._by_key.get((request.owner, request.idempotency_key))
        if known is not None and known.body_hash != body_hash:
            raise errors.IdempotencyConflict(request.idempotency_key, known.id)
        return known

    def admit(self, request: work.WorkRequest, resident: Resident, body_hash: str | None) -> Entry:
        """A place in line; stored work is held back until its row is committed."""
        if not self._store.healthy:
            raise errors.StorageUnavailable(self._store.problem or "it cannot be written")
        stored = request.durability is work.Durability.STORED
        self.line.check_room(request.owner, self._lessons.typical_run_s(resident.name))
        entry = self._entry(request, anyio.current_time(), body_hash)
        entry.awaits = resident
        self.line.add(entry, held=stored)
        if not stored:
            self._store.note(changes.Enqueued(entry.item))
        elif request.idempotency_key is not None:
            self._remember_key((request.owner, request.idempotency_key), entry)
        return entry

    def _entry(self, request: work.WorkRequest, now: float, body_hash: str | None) -> Entry:
        stored = request.durability is work.Durability.STORED
        # A job waits as long as it takes, unless it says otherwise; a client does not.
        default_wait_s = math.inf if stored else self._limits.max_queue_wait_s
        wait_s = _given(request.max_queue_wait_s, default_wait_s)
        item = work.WorkItem(
            id=work.new_id(),
            seq=self.next_seq,
            runtime=request.runtime,
            alias=request.alias,
            path=request.path,
            owner=request.owner,
            surface=request.surface,
            durability=request.durability,
            priority=request.priority,
            state=state.WorkState.QUEUED,
            created_at=time.time(),
            max_queue_wait_s=None if math.isinf(wait_s) else wait_s,
            run_timeout_s=_given(request.run_timeout_s, self._limits.run_timeout_s),
            max_attempts=request.max_attempts,
            idempotency_key=request.idempotency_key,
            prompt_tokens=request.prompt_tokens,
        )
        self.next_seq += 1
        place = plan.Waiting(item.id, item.seq, item.runtime, item.priority, now)
        kept = self.line.kept_place(request.join_key, now)
        if kept is not None:
            place = dataclasses.replace(place, seq=kept.seq, enqueued_at=kept.enqueued_at)
        return Entry(item, place, now + wait_s, join_key=request.join_key, body_hash=body_hash)

    def _remember_key(self, key: tuple[str, str], entry: Entry) -> None:
        self._by_key[key] = entry
        while len(self._by_key) > KEYS_REMEMBERED:
            oldest = next(iter(self._by_key))
            if not self._by_key[oldest].ended.is_set():
                return
            del self._by_key[oldest]

    def committed(self, entry: Entry, kept: bool) -> None:
        """The row of held work is on disk, or never will be."""
        entry.kept = kept
        entry.on_disk.set()
        if kept:
            self.line.release(entry)
            return
        self.line.remove(entry)
        self._by_key.pop((entry.item.owner, entry.item.idempotency_key or ""), None)
        entry.decided.set()
        entry.ended.set()

    def restore(self, item: work.WorkItem, resident: Resident | None) -> None:
        """A stored item of an earlier gateway takes its place again."""
        now = anyio.current_time()
        waited = max(0.0, time.time() - item.created_at)
        place = plan.Waiting(item.id, item.seq, item.runtime, item.priority, now - waited)
        left = math.inf if item.max_queue_wait_s is None else item.max_queue_wait_s - waited
        entry = Entry(item, place, now + left, kept=True)
        entry.on_disk.set()
        if resident is None:
            gone = messages.Outcome("", "", message=f"{item.runtime} is not configured any more")
            self._end(entry, WorkEvent.FAIL, "runtime_removed", "model_not_found", gone)
            return
        entry.awaits = resident
        self.line.add(entry)

    def grant(self, entry: Entry, resident: Resident, now: float) -> None:
        """From the line to a slot."""
        self.line.remove(entry)
        waited = now - entry.place.enqueued_at
        load_s = min(_overlap_s(resident, entry.place.enqueued_at), waited)
        entry.item = dataclasses.replace(
            entry.item,
            state=state.after(entry.item.state, WorkEvent.GRANT),
            started_at=time.time(),
            attempts=entry.item.attempts + 1,
            queue_ms=round((waited - load_s) * 1000),
            load_ms=round(load_s * 1000),
        )
        entry.resident, entry.granted_at = resident, now
        resident.leases.add(entry)
        resident.last_used_at = now
        self.running[entry.id] = entry
        if entry.item.run_timeout_s is not None:
            entry.scope.deadline = now + entry.item.run_timeout_s
        if (
            not entry.stored
        ):  # a job's runner commits its grant itself, before the engine hears of it
            self.tell_store(entry, "granted")
        entry.decided.set()

    def left(self, entry: Entry, outcome: messages.Outcome) -> None:
        """The holder let go, of its place or of its slot."""
        if entry.item.state in state.TERMINAL:
            return
        if entry in self.line:
            if outcome.kind == "client_left":
                self.line.keep_place(entry, anyio.current_time())
            self.line.remove(entry)
            self._end(entry, WorkEvent.CANCEL, outcome.reason, "cancelled", outcome)
            return
        match outcome.kind:
            case "succeeded":
                self._learn_from(entry, outcome)
                self._end(entry, WorkEvent.SUCCEED, "succeeded", None, outcome)
            case "failed":
                self._end(entry, WorkEvent.FAIL, outcome.reason, outcome.code, outcome)
            case "given_back":
                self._give_back(entry, outcome)
            case _:
                self._end(entry, WorkEvent.CANCEL, outcome.reason, "cancelled", outcome)

    def refuse(self, entry: Entry, error: errors.CoordinatorError, reason: str) -> None:
        """Waiting work ends without having run; its waiter is told why."""
        self.line.remove(entry)
        entry.error = error
        cancel = isinstance(error, errors.WorkCancelled)
        event = WorkEvent.CANCEL if cancel else WorkEvent.FAIL
        self._end(entry, event, reason, error.code, messages.Outcome("", "", message=str(error)))

    def refuse_all_of(self, runtime: str, error: errors.CoordinatorError) -> None:
        """A load failed: clients are told at once, jobs while they have no attempt left."""
        for entry in self.line.entries():
            if entry.item.runtime == runtime:
                entry.failed_loads += 1
                if not entry.stored or entry.failed_loads >= entry.item.max_attempts:
                    self.refuse(entry, error, error.code)

    def refuse_waiting_for(self, runtime: str, error: errors.CoordinatorError) -> None:
        """Nothing that waits for this runtime will ever run."""
        for entry in self.line.entries():
            if entry.item.runtime == runtime:
                self.refuse(entry, error, error.code)

    def evict(self, entry: Entry, error: errors.CoordinatorError) -> None:
        """Take the slot away from whoever holds it; the holder's statement raises `error`."""
        if entry.resident is not None and entry.error is None:
            entry.error = error
            entry.scope.cancel()

    def reprioritise(self, entry: Entry, priority: int) -> None:
        """Another rank for work that still waits."""
        entry.item = dataclasses.replace(entry.item, priority=priority)
        entry.place = dataclasses.replace(entry.place, priority=priority)
        self._store.note(changes.Reprioritised(entry.id, priority, time.time()))

    def _give_back(self, entry: Entry, outcome: messages.Outcome) -> None:
        """A stored attempt was cut off: back to its old place, or the end if no attempt is left."""
        if entry.item.attempts >= entry.item.max_attempts:
            self._end(entry, WorkEvent.FAIL, outcome.reason, outcome.code or "interrupted", outcome)
            return
        self._release(entry)
        after = state.after(entry.item.state, WorkEvent.GIVE_BACK)
        entry.item = dataclasses.replace(entry.item, state=after, started_at=None)
        entry.decided, entry.scope = anyio.Event(), anyio.CancelScope()
        entry.error, entry.received, entry.granted_at = None, False, None
        if entry.told is state.WorkState.RUNNING:
            self.tell_store(entry, outcome.reason)
        else:  # its grant never reached the disk, so the attempt is not counted
            entry.item = dataclasses.replace(entry.item, attempts=entry.item.attempts - 1)
        self.line.add(entry)

    def _end(
        self,
        entry: Entry,
        event: WorkEvent,
        reason: str,
        code: str | None,
        outcome: messages.Outcome,
    ) -> None:
        entry.item = dataclasses.replace(
            entry.item,
            state=state.after(entry.item.state, event),
            ended_at=time.time(),
            code=code,
            message=outcome.message,
            first_token_ms=outcome.first_token_ms,
            prompt_tokens=_given(outcome.prompt_tokens, entry.item.prompt_tokens),
            output_tokens=outcome.output_tokens,
        )
        self._release(entry)
        if not outcome.written:
            self.tell_store(entry, reason)
        entry.decided.set()
        entry.ended.set()

    def tell_store(self, entry: Entry, reason: str) -> None:
        """Write-behind: what the row has become since the store heard of it."""
        self._store.note(moved(entry.item, entry.told, reason))
        entry.told = entry.item.state

    def _release(self, entry: Entry) -> None:
        self.running.pop(entry.id, None)
        if entry.resident is not None:
            entry.resident.leases.discard(entry)
            entry.resident.last_used_at = anyio.current_time()
            entry.resident = None

    def _learn_from(self, entry: Entry, outcome: messages.Outcome) -> None:
        if entry.resident is None or entry.granted_at is None or not entry.received:
            return
        entry.resident.failures = 0
        run_s = anyio.current_time() - entry.granted_at
        self._lessons.answered(entry.resident.name, run_s, outcome)


def moved(item: work.WorkItem, before: state.WorkState, reason: str) -> changes.Moved:
    """The change that the store is told when `item` has left `before`."""
    at = item.ended_at or item.started_at or item.created_at
    return changes.Moved(
        item.id,
        before,
        item.state,
        at,
        reason,
        code=item.code,
        message=item.message,
        queue_ms=item.queue_ms,
        load_ms=item.load_ms,
        first_token_ms=item.first_token_ms,
        prompt_tokens=item.prompt_tokens,
        output_tokens=item.output_tokens,
    )


def _given(value: T | None, default: T) -> T:
    return default if value is None else value


def _overlap_s(resident: Resident, since: float) -> float:
    """How much of the time since then went into this runtime's own load."""
    if resident.ready_since is None or resident.starting_since is None:
        return 0.0
    return max(0.0, resident.ready_since - max(resident.starting_since, since))
