"""Who owns a state directory: a file lock that ends with its process, whatever ends the process."""

import fcntl
import os
from pathlib import Path

from coordinator import errors

LOCK_NAME = "queue.lock"


def take(state_dir: Path) -> int:
    """Own the directory until the descriptor that is returned is closed, or raise `OwnedElsewhere` at once.

    The file stays behind: removing it while somebody waits for it would let two of us in. Its text is
    only for people; the lock is what counts.
    """
    path = state_dir / LOCK_NAME
    while True:
        # Not inherited by engines: Python opens every descriptor close-on-exec.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            _lock(descriptor, state_dir)
            # Somebody may have removed the file between our opening and our locking it.
            if _is_still_at(descriptor, path):
                _say_who(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, state_dir: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, 32, 0).strip()
        pid = int(text) if text.isdigit() else None
        raise errors.OwnedElsewhere(str(state_dir), pid) from None


def _is_still_at(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)


def _say_who(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
