"""`lmg down`: stop the gateway and every engine of its own."""

import argparse
import os
import time

from local_model_gateway import announcement, client, durations, errors, phrases
from local_model_gateway.terminal import Terminal

STOP_S = 60.0
LOOK_S = 0.1


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--drain",
        type=durations.given,
        default=60.0,
        metavar="TIME",
        help="how long running answers may take to end (60s; 0s cuts them off)",
    )


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    state_dir = client.state_dir(given)
    announced = announcement.read(state_dir)
    gateway = client.find(given)
    try:
        pid = int(gateway.get("/status")["gateway"]["pid"])
        gateway.post("/admin/shutdown", {"drain_s": given.drain})
    except errors.Unreachable:
        if announced is None or not announcement.alive(announced.pid):
            terminal.result("lmg.down/1", {"status": "ok", "was_running": False}, "not running")
            return 0
        raise
    began = time.monotonic()
    while announcement.alive(pid) and not _reaped(pid):
        waited = time.monotonic() - began
        if waited > given.drain + STOP_S:
            raise errors.CommandFailed(
                f"pid {pid} still runs after {phrases.span(waited)}; see `lmg logs`"
            )
        terminal.progress(f"stopping, {waited:.0f} s")
        time.sleep(LOOK_S)
    content = {"status": "ok", "was_running": True, "pid": pid}
    terminal.result("lmg.down/1", content, f"stopped (pid {pid})")
    return 0


def _reaped(pid: int) -> bool:
    """Where the gateway is a child of this very process, as in tests, only we can see it off."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return False
