"""`lmg unload`: stop a model when its work has ended, or at once."""

import argparse
import urllib.parse

from local_model_gateway import client, phrases
from local_model_gateway.terminal import Terminal


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--now", action="store_true", help="cut running answers off")


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    path = f"/admin/runtimes/{urllib.parse.quote(given.model, safe='')}/unload"
    done = client.find(given).post(path, {"now": given.now})
    waits = int(done.get("waits_for_leases") or 0)
    text = f"{done['runtime']} is stopping"
    if waits:
        text = (
            f"{done['runtime']} is answering {phrases.count(waits, 'request')}; "
            "it stops when they end. Use --now to cut them off."
        )
    terminal.result("lmg.unload/1", done, text)
    return 0
