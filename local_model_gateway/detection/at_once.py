"""Several looks at once, each in a thread of its own, and none waited for longer than allowed."""

import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any


def look(
    looks: Mapping[str, Callable[[], Any]],  # Any: each look has its own answer
    limit_s: float,
) -> dict[str, Any]:
    """What each of them found; one that breaks is its exception, one that is late is not in it."""
    done: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    def one(name: str, what: Callable[[], Any]) -> None:
        try:
            done.put((name, what()))
        except Exception as error:  # noqa: BLE001 - one that breaks must not hide what the others found
            done.put((name, error))

    for name, what in looks.items():
        # Daemons: a look that hangs in the kernel must not hold up the end of the command.
        threading.Thread(target=one, args=(name, what), daemon=True).start()
    found: dict[str, Any] = {}
    deadline = time.monotonic() + limit_s
    while len(found) < len(looks) and (left := deadline - time.monotonic()) > 0:
        try:
            name, answer = done.get(timeout=left)
        except queue.Empty:
            break
        found[name] = answer
    return found
