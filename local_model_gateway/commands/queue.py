"""`lmg queue`: who runs, who waits and for what, which swaps come; cancel, re-rank, pause."""

import argparse
from collections.abc import Iterable, Iterator, Sequence

from local_model_gateway import client, errors, phrases
from local_model_gateway.commands import status
from local_model_gateway.commands.status import Picture
from local_model_gateway.terminal import Terminal

RANKS = {"batch": 20, "normal": 50, "interactive": 80, "low": 20, "high": 80}
HEADER = ("#", "MODEL", "STARTS IN", "WAITS FOR", "WAITED", "ID", "WHO")
WHO = {"admin": "lmg load", "openai": "OpenAI", "anthropic": "Anthropic", "mcp": "MCP"} | {
    "ollama": "Ollama",
    "responses": "OpenAI",
}
NORMAL = 50
SHOWN_ID = len("work_") + 6
"""As much of an id as tells it from all others; any unique beginning is taken."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action", nargs="?", default="ls", choices=("ls", "cancel", "priority", "pause", "resume")
    )
    parser.add_argument("id", nargs="?", metavar="ID", help="or how it begins")
    parser.add_argument(
        "rank", nargs="?", metavar="PRIORITY", help="0 to 100, or batch|normal|high"
    )


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    gateway = client.find(given)
    match given.action:
        case "ls":
            picture = gateway.get("/status")
            content = {name: picture[name] for name in ("paused", "running", "queue")}
            content["swaps"] = picture.get("swaps", [])
            terminal.result("lmg.queue/1", content, said(picture, terminal))
        case "pause" | "resume":
            done = gateway.post(f"/admin/queue/{given.action}", {})
            text = (
                "paused: running work goes on, nothing new begins; `lmg queue resume` lets it go on"
                if done["paused"]
                else "going on"
            )
            terminal.result("lmg.queue.pause/1", done, text)
        case "cancel":
            done = gateway.post(f"/admin/work/{_id(given, gateway)}/cancel", {})
            text = f"{done['id']}: {str(done['outcome']).replace('_', ' ')}"
            terminal.result("lmg.queue.cancel/1", done, text)
        case "priority":
            rank = _rank(given)
            done = gateway.post(f"/admin/work/{_id(given, gateway)}/priority", {"priority": rank})
            text = f"{done['id']}: priority {done['priority']}"
            terminal.result("lmg.queue.priority/1", done, text)
    return 0


def _id(given: argparse.Namespace, gateway: client.Client) -> str:
    if given.id is None:
        raise errors.Usage(f"`lmg queue {given.action}` needs an id; `lmg queue` shows them")
    picture = gateway.get("/status")
    return whole_id(given.id, (one["id"] for one in (*picture["running"], *picture["queue"])))


def whole_id(begins: str, known: Iterable[str]) -> str:
    """The one id that begins like this; what begins like none is for the gateway to refuse."""
    begins = begins.rstrip("…")  # as it stands in a narrow table
    ids = {one for one in known if one.startswith((begins, f"work_{begins}"))}
    if len(ids) > 1 and begins not in ids:
        raise errors.NoSuchThing(f"{begins!r} may be {', '.join(sorted(ids))}; write more of it")
    return begins if begins in ids or not ids else ids.pop()


def _rank(given: argparse.Namespace) -> int:
    word = str(given.rank or "")
    rank = RANKS.get(word, int(word) if word.isdigit() else -1)
    if not 0 <= rank <= 100:
        raise errors.Usage("write a priority from 0 to 100, or batch, normal or high")
    return rank


def said(picture: Picture, terminal: Terminal) -> str:
    """The table of `lmg queue`: what runs, then what waits, with the swaps that are to come between."""
    rows = [_running(item) for item in picture["running"]]
    rows += _waiting(picture["queue"], picture.get("swaps", ()))
    lines = [terminal.table(HEADER, rows)] if rows else ["nothing runs, nothing waits"]
    if picture["paused"]:
        lines.insert(0, "The queue is paused; `lmg queue resume` lets it go on.")
    return "\n".join(lines)


def _running(item: Picture) -> tuple[str, ...]:
    ran = phrases.clock(item["running_s"] or 0)
    waited = phrases.clock(item["waited_s"])
    return ("run", str(item["alias"]), f"runs, {ran}", "", waited, _short(item), _who(item))


def _waiting(queue: Sequence[Picture], swaps: Sequence[Picture]) -> Iterator[tuple[str, ...]]:
    """Each swap stands before the first who waits for it."""
    to_come, before = list(swaps), None
    for item in sorted(queue, key=lambda one: one["position"] or len(queue) + 1):
        swap = next((one for one in to_come if one["into"] == item["runtime"]), None)
        if swap is not None and item["runtime"] != before:
            to_come.remove(swap)
            yield _swap(swap)
        before = item["runtime"]
        yield _row(item)
    yield from map(_swap, to_come)


def _swap(swap: Picture) -> tuple[str, ...]:
    goes = f"{', '.join(swap['out'])} goes" if swap["out"] else "room is there"
    return ("swap", str(swap["into"]), phrases.spread(swap["at_s"]), goes, "", "", "")


def _row(item: Picture) -> tuple[str, ...]:
    return (
        str(item["position"] or "?"),
        str(item["alias"]),
        phrases.spread(item["eta_s"]),
        status.waits_for(item),
        phrases.clock(item["waited_s"]),
        _short(item),
        _who(item),
    )


def _short(item: Picture) -> str:
    return str(item["id"])[:SHOWN_ID]


def _who(item: Picture) -> str:
    """By which door it came; and its rank, where that is not everybody's."""
    who = WHO.get(str(item["surface"]), str(item["surface"]))
    if item["durability"] == "stored":
        who += " job"
    return who if item["priority"] == NORMAL else f"{who}, priority {item['priority']}"
