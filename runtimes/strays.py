"""Engines of an earlier gateway that no record leads to: killed between the spawn and the write of it.

Every engine inherits a mark that begins with the state directory's own prefix, so a gateway
finds what its predecessors left even when their last words never reached the disk.
"""

import contextlib
import hashlib
import logging
import os
import secrets
import signal
import time
from collections.abc import Collection
from pathlib import Path

import psutil
from anyio import to_thread

from runtimes import process_tree
from runtimes.process_tree import Member

log = logging.getLogger(__name__)

GRACE_S = 5.0
LOOK_EVERY_S = 0.05


def new_mark(logs: Path) -> str:
    """A nonce for an engine of the gateway whose logs these are; unguessable behind its prefix."""
    return f"{_prefix(logs)}{secrets.token_hex(16)}"


def _prefix(logs: Path) -> str:
    return hashlib.sha256(str(logs.absolute()).encode()).hexdigest()[:16] + "-"


async def reap(logs: Path, known: Collection[str]) -> int:
    """End every engine with our prefix whose mark is not `known`; how many processes there were."""
    return await to_thread.run_sync(_reap, _prefix(logs), frozenset(known))


def _reap(prefix: str, known: frozenset[str]) -> int:
    """Blocks for a grace at most; the process table is read in a thread."""
    found = _marked(prefix, known)
    if not found:
        return 0
    log.warning("ending %d processes that an earlier gateway left", len(found))
    for number in (signal.SIGTERM, signal.SIGKILL):
        for member in process_tree.alive(found):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(member.pid, number)
        deadline = time.monotonic() + GRACE_S
        while process_tree.alive(found) and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)
    return len(found)


def _marked(prefix: str, known: frozenset[str]) -> set[Member]:
    found = set()
    for pid, row in process_tree.table().items():
        mark = _mark_of(pid)
        if mark is not None and mark.startswith(prefix) and mark not in known:
            found.add(row.member)
    return found


def _mark_of(pid: int) -> str | None:
    try:
        return psutil.Process(pid).environ().get(process_tree.MARK)
    except (psutil.Error, OSError):
        return None
