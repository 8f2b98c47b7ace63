"""`lmg queue`: who runs, who waits and for what; cancel, re-rank, pause."""

import argparse

from local_model_gateway import client, errors, phrases
from local_model_gateway.commands.status import Picture
from local_model_gateway.terminal import Terminal

RANKS = {"batch": 20, "normal": 50, "interactive": 80, "low": 20, "high": 80}
WAITS = {
    "slot": "a slot",
    "swap": "a swap",
    "load": "the load",
    "whole_gpu": "the whole GPU",
    "paused": "the queue to go on",
    "runtime_failed": "the next try",
}
HEADER = ("#", "ID", "MODEL", "PRIORITY", "WAITED", "WAITS FOR", "STARTS IN")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action", nargs="?", default="ls", choices=("ls", "cancel", "priority", "pause", "resume")
    )
    parser.add_argument("id", nargs="?", metavar="ID")
    parser.add_argument(
        "rank", nargs="?", metavar="PRIORITY", help="0 to 100, or batch|normal|high"
    )


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    gateway = client.find(given)
    match given.action:
        case "ls":
            picture = gateway.get("/status")
            content = {name: picture[name] for name in ("paused", "running", "queue")}
            terminal.result("lmg.queue/1", content, said(picture, terminal))
        case "pause" | "resume":
            done = gateway.post(f"/admin/queue/{given.action}", {})
            text = (
                "paused: running work goes on, nothing new begins" if done["paused"] else "going on"
            )
            terminal.result("lmg.queue.pause/1", done, text)
        case "cancel":
            done = gateway.post(f"/admin/work/{_id(given)}/cancel", {})
            text = f"{done['id']}: {str(done['outcome']).replace('_', ' ')}"
            terminal.result("lmg.queue.cancel/1", done, text)
        case "priority":
            done = gateway.post(f"/admin/work/{_id(given)}/priority", {"priority": _rank(given)})
            terminal.result(
                "lmg.queue.priority/1", done, f"{done['id']}: priority {done['priority']}"
            )
    return 0


def _id(given: argparse.Namespace) -> str:
    if given.id is None:
        raise errors.NoSuchThing(f"`lmg queue {given.action}` needs an id; `lmg queue` shows them")
    return str(given.id)


def _rank(given: argparse.Namespace) -> int:
    word = str(given.rank or "")
    rank = RANKS.get(word, int(word) if word.isdigit() else -1)
    if not 0 <= rank <= 100:
        raise errors.CommandFailed("write a priority from 0 to 100, or batch, normal or high")
    return rank


def said(picture: Picture, terminal: Terminal) -> str:
    """The tables of `lmg queue`."""
    parts = (
        ["The queue is paused; `lmg queue resume` lets it go on.", ""] if picture["paused"] else []
    )
    if picture["running"]:
        rows = [
            (item["id"], item["alias"], str(item["priority"]), phrases.span(item["running_s"]))
            for item in picture["running"]
        ]
        parts += [terminal.table(("RUNNING", "MODEL", "PRIORITY", "FOR"), rows), ""]
    if picture["queue"]:
        parts.append(terminal.table(HEADER, [_row(item) for item in picture["queue"]]))
    return "\n".join(parts).rstrip() or "nothing runs, nothing waits"


def _row(item: Picture) -> tuple[str, ...]:
    waits = WAITS.get(str(item["waits_for"]), str(item["waits_for"] or "unknown"))
    return (
        str(item["position"] or "?"),
        str(item["id"]),
        str(item["alias"]),
        str(item["priority"]),
        phrases.span(item["waited_s"]),
        waits + (f" of {item['behind']}" if item["behind"] else ""),
        phrases.spread(item["eta_s"]),
    )
