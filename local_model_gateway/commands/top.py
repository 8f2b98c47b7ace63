"""`lmg top`: the models and the queue, drawn again every second until q or Ctrl-C."""

import argparse
import contextlib
import select
import sys
import time
from collections.abc import Callable, Generator

from local_model_gateway import client, durations, errors
from local_model_gateway.commands import ps, queue, status
from local_model_gateway.commands.status import Picture
from local_model_gateway.terminal import Terminal

EVERY_S = 1.0
LEAST_S = 0.1
PATIENCE_S = 2.0
"""For one answer: a key must not wait longer."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--every", type=durations.given, default=EVERY_S, metavar="TIME")


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    gateway = client.find(given)
    picture = gateway.get("/status")
    if not terminal.interactive:
        # Nobody watches: one picture is all that a pipe or a program can use.
        text = drawn(picture, gateway.url, terminal)
        terminal.result("lmg.status/1", status.content(picture), text)
        return 0
    from rich.live import Live  # only a watched terminal pays for it
    from rich.text import Text

    with _keys() as left, Live(screen=True, auto_refresh=False) as live:
        while True:
            try:
                picture = gateway.get("/status", timeout_s=PATIENCE_S)
                text = drawn(picture, gateway.url, terminal)
            except errors.GatewayError as error:
                # The last numbers would look fresh: show the reason instead.
                text = f"{error}\nStill asking."
            shown = Text.from_ansi(f"{text}\n\nq leaves", no_wrap=True, overflow="ellipsis")
            live.update(shown, refresh=True)
            if left(max(LEAST_S, given.every)):
                return 0


@contextlib.contextmanager
def _keys() -> Generator[Callable[[float], bool]]:
    """A wait that tells whether q was pressed; keys are read one by one, and not shown."""
    try:
        import termios
        import tty
    except ImportError:  # Windows: only Ctrl-C leaves
        yield _rested
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    try:
        yield _pressed
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _rested(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _pressed(seconds: float) -> bool:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if select.select([sys.stdin], [], [], left)[0]:
            key = sys.stdin.read(1)
            if key in {"", "q", "Q"}:  # nothing: the terminal is gone
                return True
    return False


def drawn(picture: Picture, url: str, terminal: Terminal) -> str:
    """One screen."""
    parts = [
        status.said(picture, url, terminal),
        ps.said(picture["runtimes"], terminal),
        queue.said(picture, terminal),
    ]
    return "\n\n".join(parts)
