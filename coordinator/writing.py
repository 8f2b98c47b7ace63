"""The SQL of each change, and the order in which a group of changes is written.

Changes of one kind go to the database as one call, so a group costs a handful of thread hops however many
changes it holds. The fixed order of kinds keeps each item's own order: it is admitted before it moves,
and its moves stay in theirs.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from coordinator import changes, connection

# Any: one value of each column's own type.
Values = Mapping[str, Any]

_OWNED = "(SELECT epoch FROM owner) = :epoch"

ITEM_COLUMNS = (
    "id", "seq", "runtime", "alias", "path", "owner", "surface", "durability", "priority", "state",
    "created_at", "max_queue_wait_s", "run_timeout_s", "started_at", "ended_at", "cancel_requested_at",
    "attempts", "max_attempts", "idempotency_key", "code", "message", "queue_ms", "load_ms",
    "first_token_ms", "prompt_tokens", "output_tokens",
)  # fmt: skip

_ADMITTED_COLUMNS = (
    "seq", "id", "runtime", "alias", "path", "owner", "surface", "durability", "priority", "created_at",
    "max_attempts", "max_queue_wait_s", "run_timeout_s", "idempotency_key", "prompt_tokens",
)  # fmt: skip

ENQUEUE = f"""
INSERT INTO gpu_work_items
    ({", ".join(_ADMITTED_COLUMNS)}, node, body_hash, state, reason, changed_at)
SELECT {", ".join(f":{name}" for name in _ADMITTED_COLUMNS)}, :node, :body_hash, 'queued', 'admitted', :created_at
WHERE {_OWNED}
"""

KEEP_BODY = f"INSERT INTO bodies (work_seq, content) SELECT :seq, :body WHERE {_OWNED}"

REQUEST_CANCEL = f"""
UPDATE gpu_work_items SET cancel_requested_at = coalesce(cancel_requested_at, :at)
WHERE id = :work_id AND {_OWNED}
"""  # noqa: S608

REPRIORITISE = f"UPDATE gpu_work_items SET priority = :priority WHERE id = :work_id AND {_OWNED}"  # noqa: S608

MOVE = f"""
UPDATE gpu_work_items SET
    state = :after,
    reason = :reason,
    changed_at = :at,
    attempts = attempts + (:after = 'running'),
    -- Who granted it and which attempt this is: a lease is never the same twice.
    lease = CASE WHEN :after = 'running' THEN :epoch || '.' || (attempts + 1) END,
    started_at = CASE :after WHEN 'running' THEN :at WHEN 'queued' THEN NULL ELSE started_at END,
    ended_at = CASE WHEN :after IN ('succeeded', 'failed', 'cancelled') THEN :at END,
    code = :code,
    message = :message,
    queue_ms = coalesce(:queue_ms, queue_ms),
    load_ms = coalesce(:load_ms, load_ms),
    first_token_ms = coalesce(:first_token_ms, first_token_ms),
    prompt_tokens = coalesce(:prompt_tokens, prompt_tokens),
    output_tokens = coalesce(:output_tokens, output_tokens)
WHERE id = :work_id AND state = :before AND {_OWNED}
"""  # noqa: S608

KEEP_RESULT = f"""
INSERT OR REPLACE INTO results (work_seq, content, content_type, truncated)
SELECT seq, :content, :content_type, :truncated FROM gpu_work_items WHERE id = :work_id AND {_OWNED}
"""  # noqa: S608

MOVE_RUNTIME = f"""
INSERT INTO runtimes (runtime, node, state, changed_at, pid, start_ticks, port, nonce, failures, exit_code,
                      failure_class, failed_at)
SELECT :runtime, :node, :after, :at, :pid, :start_ticks, :port, :nonce, :failed, :exit_code, :failure_class,
       CASE WHEN :failed THEN :at END
WHERE {_OWNED}
ON CONFLICT (runtime) DO UPDATE SET
    state = excluded.state,
    changed_at = excluded.changed_at,
    pid = CASE WHEN excluded.state <> 'stopped' THEN coalesce(excluded.pid, pid) END,
    start_ticks = CASE WHEN excluded.state <> 'stopped' THEN coalesce(excluded.start_ticks, start_ticks) END,
    port = CASE WHEN excluded.state <> 'stopped' THEN coalesce(excluded.port, port) END,
    nonce = CASE WHEN excluded.state <> 'stopped' THEN coalesce(excluded.nonce, nonce) END,
    failures = CASE WHEN excluded.state = 'ready' THEN 0 ELSE failures + excluded.failures END,
    exit_code = coalesce(excluded.exit_code, exit_code),
    failure_class = coalesce(excluded.failure_class, failure_class),
    failed_at = coalesce(excluded.failed_at, failed_at)
"""

RECORD_RUNTIME_EVENT = f"""
INSERT INTO runtime_events (runtime, node, at, before, after, reason, exit_code, failure_class)
SELECT :runtime, :node, :at, :before, :after, :reason, :exit_code, :failure_class WHERE {_OWNED}
"""

LEARN = f"""
INSERT INTO learned (runtime, kind, device, slot, n, value, at)
SELECT :runtime, :kind, :device, :slot, :n, :value, :at WHERE {_OWNED}
ON CONFLICT (runtime, kind, device, slot) DO UPDATE SET n = excluded.n, value = excluded.value, at = excluded.at
"""

SET = f"""
INSERT INTO settings (key, value) SELECT :key, :value WHERE {_OWNED}
ON CONFLICT (key) DO UPDATE SET value = excluded.value
"""

# A change of nothing: finds out whether the database can be written, and whether it is still ours.
TOUCH = "UPDATE owner SET epoch = epoch WHERE epoch = :epoch"
EPOCH = "SELECT epoch FROM owner"

# As many as a forecast needs to tell a spread from an accident; the table holds no more.
SAMPLES_KEPT = 32
LEARNED_KINDS = (
    "load_s",
    "footprint_bytes",
    "prefill_tokens_per_s",
    "decode_tokens_per_s",
    "run_s",
)

ORDER = (
    ENQUEUE,
    KEEP_BODY,
    REQUEST_CANCEL,
    REPRIORITISE,
    MOVE,
    KEEP_RESULT,
    MOVE_RUNTIME,
    RECORD_RUNTIME_EVENT,
    LEARN,
    SET,
)

# Changes whose fields are the statement's parameters as they are.
_PLAIN: Mapping[type[changes.Change], str] = {
    changes.Moved: MOVE,
    changes.CancelRequested: REQUEST_CANCEL,
    changes.Reprioritised: REPRIORITISE,
    changes.ResultKept: KEEP_RESULT,
    changes.Setting: SET,
}

Batch = dict[str, list[Values]]


class NotApplied(Exception):
    """A statement changed another number of rows than it was given changes."""


class Encoder:
    """Turns changes into statements, under one epoch."""

    def __init__(self, epoch: int, node: str, samples: Mapping[tuple[str, str, str], int]) -> None:
        self.epoch = epoch
        self._common: Values = {"epoch": epoch, "node": node}
        self._samples = dict(samples)

    def batch(self, group: Iterable[changes.Change]) -> Batch:
        """What to write for this group, by statement."""
        batch: Batch = {sql: [] for sql in ORDER}
        for change in group:
            for sql, values in self._statements(change):
                batch[sql].append({**self._common, **values})
        return batch

    def _statements(self, change: changes.Change) -> Sequence[tuple[str, Values]]:
        match change:
            case changes.Enqueued():
                return self._enqueued(change)
            case changes.RuntimeMoved():
                values = _runtime_values(change)
                return [(MOVE_RUNTIME, values), (RECORD_RUNTIME_EVENT, values)]
            case changes.Learned():
                return self._learned(change)
            case _:
                return [(_PLAIN[type(change)], _fields(change))]

    def _enqueued(self, change: changes.Enqueued) -> Sequence[tuple[str, Values]]:
        values = {name: getattr(change.item, name) for name in _ADMITTED_COLUMNS}
        values["body_hash"] = change.body_hash
        if change.body is None:
            return [(ENQUEUE, values)]
        return [(ENQUEUE, values), (KEEP_BODY, {"seq": change.item.seq, "body": change.body})]

    def _learned(self, change: changes.Learned) -> Sequence[tuple[str, Values]]:
        statements = []
        for kind in LEARNED_KINDS:
            value = getattr(change, kind)
            if value is None:
                continue
            # Only a footprint is of one device; the rest is of the runtime as a whole.
            device = change.device if kind == "footprint_bytes" else ""
            place = (change.runtime, kind, device)
            n = self._samples[place] = self._samples.get(place, 0) + 1
            statements.append(
                (
                    LEARN,
                    {
                        "runtime": change.runtime,
                        "kind": kind,
                        "device": device,
                        "slot": n % SAMPLES_KEPT,
                        "n": n,
                        "value": float(value),
                        "at": change.at,
                    },
                )
            )
        return statements


def _fields(change: changes.Change) -> Values:
    return {name: getattr(change, name) for name in change.__slots__}


def _runtime_values(change: changes.RuntimeMoved) -> Values:
    process = change.process
    return {
        "runtime": change.runtime,
        "before": change.before,
        "after": change.after,
        "at": change.at,
        "reason": change.reason,
        "exit_code": change.exit_code,
        "failure_class": change.failure_class,
        "failed": change.failure_class is not None,
        "pid": process and process.pid,
        "start_ticks": process and process.start_ticks,
        "port": process and process.port,
        "nonce": process and process.nonce,
    }


async def apply(database: connection.Database, batch: Batch) -> None:
    """Write a batch inside the open transaction; raises `NotApplied` if any one change found no row."""
    for sql in ORDER:
        values = batch[sql]
        if values and await database.run_many(sql, values) != len(values):
            raise NotApplied


async def touch(database: connection.Database, epoch: int) -> None:
    """Write what changes nothing; raises `NotApplied` if the epoch moved on."""
    if await database.run_many(TOUCH, [{"epoch": epoch}]) != 1:
        raise NotApplied


async def held_epoch(database: connection.Database) -> int:
    """The epoch that may write now."""
    return int(await database.value(EPOCH))
