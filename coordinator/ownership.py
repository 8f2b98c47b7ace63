"""Who owns a state directory: a file lock that ends with its process, whatever ends the process."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from coordinator import errors

LOCK_NAME = "queue.lock"


@contextmanager
def hold(state_dir: Path) -> Generator[None]:
    """Own the directory for the length of the block, or raise `OwnedElsewhere` at once.

    The file stays behind: removing it while somebody waits for it would let two of us in. Its text is
    only for people; the lock is what counts.
    """
    descriptor = _lock(state_dir)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _lock(state_dir: Path) -> int:
    path = state_dir / LOCK_NAME
    while True:
        # Not inherited by engines: Python opens every descriptor close-on-exec.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _pid_in(descriptor)
            os.close(descriptor)
            raise errors.OwnedElsewhere(str(state_dir), pid) from None
        if _is_still_at(descriptor, path):
            return descriptor
        # Somebody removed the file between our opening and our locking it.
        os.close(descriptor)


def _pid_in(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else None


def _is_still_at(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)
