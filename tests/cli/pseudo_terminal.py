"""A command run on a terminal of its own, as a person would see it."""

import os
import pty
import select
import subprocess
import time
from collections.abc import Sequence

from anyio import to_thread

from tests.cli import stub


async def lmg(
    shell: stub.Shell,
    *words: str,
    typed: str = "",
    until: tuple[str, str] | None = None,
    **env: str,
) -> stub.Ran:
    """Everything that appeared, both streams together, and the exit code.

    `until` is what to wait for, twice, and what to type then.
    """
    return await to_thread.run_sync(_run, shell, words, typed, until, env)


def _run(
    shell: stub.Shell,
    words: Sequence[str],
    typed: str,
    until: tuple[str, str] | None,
    env: dict[str, str],
) -> stub.Ran:
    leader, follower = pty.openpty()
    # The terminal has to be the child's own for Ctrl-C to reach it.
    process = subprocess.Popen(
        shell.argv(*words),
        stdin=follower,
        stdout=follower,
        stderr=follower,
        cwd=shell.home,
        env={**shell.env, "TERM": "xterm-256color", "COLUMNS": "100", **env},
        preexec_fn=lambda: os.login_tty(follower),
    )
    os.close(follower)
    os.write(leader, typed.encode())
    seen = b""
    deadline = time.monotonic() + stub.LIMIT_S
    try:
        while time.monotonic() < deadline:
            ready, _, _ = select.select([leader], [], [], 0.05)
            if ready:
                try:
                    piece = os.read(leader, 65536)
                except OSError:  # the last process with the terminal open has ended
                    break
                if not piece:
                    break
                seen += piece
                if until is not None and seen.count(until[0].encode()) >= 2:
                    os.write(leader, until[1].encode())
                    until = None
            elif process.poll() is not None:
                break
        code = process.wait(timeout=stub.LIMIT_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(leader)
    return stub.Ran(code, seen.decode(errors="replace").replace("\r\n", "\n"), "")
