"""`lmg unload`: stop a model when its work has ended, or at once."""

import argparse
import math
import urllib.parse

from local_model_gateway import client, phrases
from local_model_gateway.commands import load
from local_model_gateway.commands.status import Picture
from local_model_gateway.terminal import Terminal


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--now", action="store_true", help="cut running answers off")


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    gateway = client.find(given)
    picture = gateway.get("/status")
    line = load.named(picture, given.model)
    name = str(line["name"])
    if line["state"] == "stopped":
        content = {"runtime": name, "was_loaded": False, "waits_for_leases": 0}
        terminal.result("lmg.unload/1", content, f"{name} is not loaded")
        return 0
    path = f"/admin/runtimes/{urllib.parse.quote(name, safe='')}/unload"
    done = {**gateway.post(path, {"now": given.now}), "was_loaded": True}
    terminal.result("lmg.unload/1", done, said(done, line, picture, given.now))
    return 0


def said(done: Picture, line: Picture, picture: Picture, now: bool) -> str:
    """What comes of it, and what would be quicker."""
    name, waits = str(done["runtime"]), int(done.get("waits_for_leases") or 0)
    ran = [one["running_s"] for one in picture["running"] if one["runtime"] == name]
    if waits and not now:
        oldest = f" (oldest {phrases.clock(max(ran))})" if ran else ""
        left = _left(done.get("usual_run_s"), ran)
        return (
            f"{name} is answering {phrases.count(waits, 'request')}{oldest}. "
            f"It will unload when {'it ends' if waits == 1 else 'they end'}{left}.\n"
            f"Use --now to cut {'it' if waits == 1 else 'them'} off."
        )
    cut = f"; {phrases.count(waits, 'answer')} cut off" if waits else ""
    size = line["footprint_bytes"]
    comes_back = f"; {phrases.rough_size(size)} come back" if size else ""
    return f"{name} is unloading{cut}{comes_back}"


def _left(usual_s: float | None, ran_s: list[float]) -> str:
    """Nothing, where an answer has taken longer than they usually do: then nobody knows."""
    if usual_s is None or not ran_s or max(ran_s) >= usual_s:
        return ""
    return f", about {phrases.clock(math.ceil(usual_s - min(ran_s)))}"
