"""What a new owner does to the rows of the last one, as one transaction."""

import os
from dataclasses import dataclass

from coordinator import connection, failpoints, reading, rows, writing

# First of all: from here on the last owner, if it still lives, can write nothing.
NEW_EPOCH = """
UPDATE owner SET epoch = epoch + 1, pid = :pid, node = :node, taken_at = :now RETURNING epoch
"""

# Somebody asked for its cancelling and we died on the way: do what was asked.
FINISH_CANCELS = """
UPDATE gpu_work_items SET
    state = 'cancelled', reason = 'cancel_requested', changed_at = :now, ended_at = :now, lease = NULL
WHERE ended_at IS NULL AND durability = 'stored' AND cancel_requested_at IS NOT NULL
"""

# Its client is gone with the connection; and a stored item whose attempts are used up has had its chances.
INTERRUPT = """
UPDATE gpu_work_items SET
    state = 'failed', reason = 'interrupted', code = 'interrupted', message = :message,
    changed_at = :now, ended_at = :now, lease = NULL
WHERE ended_at IS NULL
    AND (durability = 'connection' OR (state = 'running' AND attempts >= max_attempts))
"""

GIVE_BACK = """
UPDATE gpu_work_items SET
    state = 'queued', reason = 'interrupted', changed_at = :now, started_at = NULL, lease = NULL
WHERE ended_at IS NULL AND durability = 'stored' AND state = 'running'
"""

RECORD_UNKNOWN = """
INSERT INTO runtime_events (runtime, node, at, before, after, reason)
SELECT runtime, node, :now, state, 'unknown', 'takeover' FROM runtimes WHERE state <> 'unknown'
"""
FORGET_STATES = "UPDATE runtimes SET state = 'unknown', changed_at = :now"

# AUTOINCREMENT's own memory: also counts places whose rows were pruned.
LAST_SEQ = "SELECT seq FROM sqlite_sequence WHERE name = 'gpu_work_items'"

MESSAGE = "the gateway ended while this was waiting or running; send it again"


@dataclass(frozen=True, slots=True)
class TakeOver:
    """A takeover to be run inside a transaction."""

    node: str
    now: float

    async def __call__(
        self, database: connection.Database
    ) -> tuple[rows.Recovered, writing.Encoder]:
        """Take the rows over, and return what writes under the new epoch; all undone if anything fails."""
        values = {"now": self.now, "node": self.node, "pid": os.getpid(), "message": MESSAGE}
        epoch = int(await database.value(NEW_EPOCH, values))
        failpoints.reach("takeover_after_epoch")
        await database.run_many(FINISH_CANCELS, [values])
        interrupted = await database.run_many(INTERRUPT, [values])
        given_back = await database.run_many(GIVE_BACK, [values])
        failpoints.reach("takeover_after_rows")
        await database.run_many(RECORD_UNKNOWN, [values])
        await database.run_many(FORGET_STATES, [values])
        encoder = writing.Encoder(epoch, self.node, await reading.samples(database))
        recovered = rows.Recovered(
            epoch=epoch,
            next_seq=int(await database.value(LAST_SEQ) or 0) + 1,
            queued=await reading.queued(database),
            processes=await reading.processes(database),
            learned=await reading.learned(database),
            settings=await reading.settings(database),
            interrupted=interrupted,
            given_back=given_back,
        )
        return recovered, encoder
