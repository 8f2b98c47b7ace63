"""A network of its own: only loopback, every port free, and nobody of this machine in it.

Engines on their well-known ports and commands that look for them there meet inside; tests that run at the
same time, and whatever the developer has running, see nothing of it. Linux only.
"""

import contextlib
import fcntl
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
_SET_FLAGS = 0x8914  # SIOCSIFFLAGS
_UP = 0x1


@dataclass(frozen=True, slots=True)
class Network:
    """Where programs can be started."""

    enter: Sequence[str]
    """Goes before a command line, and runs it inside."""

    @contextlib.contextmanager
    def running(self, *words: str, ready: str) -> Generator[None]:
        """A module of ours inside, from the line that says it is ready until the end of the block."""
        process = subprocess.Popen(
            [*self.enter, sys.executable, "-u", "-m", *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        try:
            said = ""
            while ready not in said:
                line = process.stdout.readline()
                assert line, f"{words} ended before it was ready: {said}"
                said += line
            yield
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


@contextlib.contextmanager
def made() -> Generator[Network]:
    """A network that lives as long as the block."""
    unprivileged = os.geteuid() != 0
    words = ["unshare", "--net", *(["--user", "--map-root-user"] if unprivileged else [])]
    holder = subprocess.Popen(
        [*words, sys.executable, "-m", "tests.support.private_network"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"up\n", "this system gives no network of one's own"
        as_user = ["--user", "--preserve-credentials"] if unprivileged else []
        yield Network(["nsenter", "--target", str(holder.pid), "--net", *as_user])
    finally:
        holder.stdin.close()
        holder.wait()
        holder.stdout.close()


def main() -> None:
    """Switch the loopback on and keep the network until standard input ends."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        fcntl.ioctl(asked, _SET_FLAGS, struct.pack("16sh", b"lo", _UP))
    print("up", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
