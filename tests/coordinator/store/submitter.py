"""A process to be killed: it submits and ends jobs as fast as it can and says what it was promised.

`python -m tests.coordinator.store.submitter DIRECTORY [BACKUP]`; with BACKUP it knows one schema more.
"""

import itertools
import sys
from pathlib import Path

import anyio

from coordinator import changes, migrate, settings, store
from tests.coordinator.store import making
from tests.coordinator.store.making import Work


def say(*words: object) -> None:
    """One line, whole, at once."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def live(store_: store.Store, seqs: "itertools.count[int]") -> None:
    """One stored and one client's life after the other."""
    while True:
        job = making.job(seq=next(seqs), max_attempts=3, idempotency_key=f"key {next(seqs)}")
        await store_.commit(changes.Enqueued(job, b"body", "hash"))
        say("acknowledged", job.id)
        store_.note(*making.lived(making.item(seq=next(seqs))))
        await store_.commit(making.granted(job))
        say("granted", job.id)
        answer = changes.ResultKept(job.id, b"answer", "text/plain", truncated=False)
        await store_.commit(answer, making.ended(job))
        say("ended", job.id)


async def prune(store_: store.Store) -> None:
    """Bodies of ended work go at once, rows only after the history."""
    while True:
        await store_.prune()


async def main(state_dir: Path, one_more_schema: bool) -> None:
    """Take over, end what was left, and live until killed."""
    if one_more_schema:
        known = migrate.known()
        more = migrate.Migration(known[-1].version + 1, "more.sql", "CREATE TABLE more (x);")
        migrate.known = lambda: (*known, more)
    async with store.Store.open(state_dir, settings.CoordinatorSettings()) as store_:
        recovered = await store_.take_over()
        say("owner", recovered.epoch)
        for job in recovered.queued:
            await store_.commit(making.granted(job))
            answer = changes.ResultKept(job.id, b"answer", "text/plain", truncated=False)
            await store_.commit(answer, making.ended(job, Work.SUCCEEDED))
            say("ended", job.id)
        seqs = itertools.count(recovered.next_seq)
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(live, store_, seqs)
            tasks.start_soon(prune, store_)


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), len(sys.argv) > 2)
