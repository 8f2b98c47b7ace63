"""`lmg down`: stop the gateway and every engine of its own."""

import argparse

from local_model_gateway import announcement, background, client, durations, errors
from local_model_gateway.terminal import Terminal


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
        if announced is None:
            terminal.result("lmg.down/1", {"status": "ok", "was_running": False}, "not running")
            return 0
        raise
    if announced is not None and announced.pid == pid:
        background.gone(pid, given.drain, terminal)
    else:  # the number may be one of a container's, or of another machine's
        background.silent(gateway, given.drain, terminal)
    content = {"status": "ok", "was_running": True, "pid": pid}
    terminal.result("lmg.down/1", content, f"stopped (pid {pid})")
    return 0
