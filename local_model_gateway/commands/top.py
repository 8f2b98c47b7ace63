"""`lmg top`: the models and the queue, drawn again every second until interrupted."""

import argparse
import time

from local_model_gateway import client, durations, errors, phrases
from local_model_gateway.commands import ps, queue, status
from local_model_gateway.commands.status import Picture
from local_model_gateway.terminal import Terminal

EVERY_S = 1.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--every", type=durations.given, default=EVERY_S, metavar="TIME")


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    gateway = client.find(given)
    picture = gateway.get("/status")
    if not terminal.interactive:
        # Nobody watches: one picture is all that a pipe or a program can use.
        terminal.result("lmg.status/1", picture, drawn(picture, gateway.url, terminal))
        return 0
    from rich.live import Live  # only a watched terminal pays for it
    from rich.text import Text

    with Live(screen=True, auto_refresh=False) as live:
        while True:
            live.update(Text.from_ansi(drawn(picture, gateway.url, terminal)), refresh=True)
            time.sleep(max(0.1, given.every))
            try:
                picture = gateway.get("/status", timeout_s=5)
            except errors.Unreachable as error:
                # The last numbers would look fresh: show the reason instead.
                live.update(Text(f"{error}\nStill asking; Ctrl-C ends this."), refresh=True)


def drawn(picture: Picture, url: str, terminal: Terminal) -> str:
    """One screen."""
    rows = [ps.row(line) for line in picture["runtimes"]]
    parts = [
        status.said(picture, url, terminal),
        "",
        terminal.table(ps.HEADER, rows) if rows else "no models",
        "",
        queue.said(picture, terminal),
    ]
    oldest = max((item["waited_s"] for item in picture["queue"]), default=None)
    if oldest is not None:
        parts.append(f"\nlongest wait so far {phrases.span(oldest)}")
    return "\n".join(parts)
