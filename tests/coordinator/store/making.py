"""Work items and changes with everything filled in, and a store that is ready to write."""

import itertools
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from coordinator import changes, settings, state, store, work
from runtimes import state as runtime_state

Work = state.WorkState
Runtime = runtime_state.RuntimeState

SEQS = itertools.count(1)


def start_at(seq: int) -> None:
    """The next item takes this place."""
    global SEQS
    SEQS = itertools.count(seq)


def item(**given: Any) -> work.WorkItem:  # Any: whatever field the test is about
    """A queued item with a place of its own."""
    fields: dict[str, Any] = {
        "id": work.new_id(),
        "seq": next(SEQS),
        "runtime": "qwen3-32b",
        "alias": "qwen3",
        "path": "/v1/chat/completions",
        "owner": "key-1",
        "surface": "openai",
        "durability": work.Durability.CONNECTION,
        "priority": 50,
        "state": Work.QUEUED,
        "created_at": time.time(),
    }
    return work.WorkItem(**{**fields, **given})


def job(**given: Any) -> work.WorkItem:  # Any: as above
    """A queued item that outlives its client."""
    return item(**{"durability": work.Durability.STORED, **given})


def moved(
    of: work.WorkItem, before: Work, after: Work, **given: Any
) -> changes.Moved:  # Any: as above
    """A transition now; a failed one says why."""
    given.setdefault("code", "upstream_error" if after is Work.FAILED else None)
    given.setdefault("at", time.time())
    return changes.Moved(of.id, before, after, reason=given.pop("reason", str(after)), **given)


def granted(of: work.WorkItem) -> changes.Moved:
    """The item has a slot."""
    return moved(of, Work.QUEUED, Work.RUNNING, reason="granted")


def ended(
    of: work.WorkItem, after: Work = Work.SUCCEEDED, **given: Any
) -> changes.Moved:  # Any: as above
    """The running item came to an end."""
    return moved(of, Work.RUNNING, after, **given)


def lived(of: work.WorkItem, **given: Any) -> tuple[changes.Change, ...]:  # Any: as above
    """A whole life, from admission to success."""
    return changes.Enqueued(of), granted(of), ended(of, **given)


@asynccontextmanager
async def owned_store(
    state_dir: Path, settings_: settings.CoordinatorSettings | None = None
) -> AsyncGenerator[store.Store]:
    """A store that has taken over."""
    async with store.Store.open(state_dir, settings_ or settings.CoordinatorSettings()) as opened:
        await opened.take_over()
        yield opened
