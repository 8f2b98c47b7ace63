"""`lmg status`: the whole gateway in a few lines, and for each problem the command that solves it."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from local_model_gateway import client, phrases
from local_model_gateway.terminal import Terminal

Picture = Mapping[str, Any]  # Any: JSON of /status

WAITS = {
    "slot": "a free slot",
    "swap": "a swap",
    "load": "the load",
    "whole_gpu": "the whole GPU",
    "paused": "the queue to go on",
    "runtime_failed": "the next try",
}
ENDS = {"succeeded": "succeeded", "failed": "failed", "cancelled": "cancelled", "swap": "swaps"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing of its own."""


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    gateway = client.find(given)
    picture = gateway.get("/status")
    text = said(picture, gateway.url, terminal)
    if terminal.interactive:
        text += "\n" + terminal.titled("Next", [next_step(picture)])
    terminal.result("lmg.status/1", content(picture), text)
    return 0


def content(picture: Picture) -> Picture:
    """The same for programs."""
    found = [{"what": what, "fix": fix} for what, fix in problems(picture)]
    return {**picture, "problems": found}


def said(picture: Picture, url: str, terminal: Terminal) -> str:
    """The lines of `lmg status`."""
    process = picture.get("gateway", {})
    first = (
        f"{_state(picture, terminal)}, pid {process.get('pid', '?')}, "
        f"up {phrases.span(process.get('uptime_s'))}, {url}"
    )
    blocks = [
        terminal.titled("Gateway", [first]),
        terminal.titled("Models", list(_models(picture))),
        terminal.titled("Queue", list(_queue(picture["queue"], len(picture["running"])))),
        terminal.titled("Memory", [_memory(picture)]),
        terminal.titled("Today", [_today(picture["finished_today"])]),
    ]
    for what, fix in problems(picture):
        blocks.append(terminal.paint("red", terminal.titled("Problem", [what])))
        blocks.append(terminal.titled("", [f"fix  {fix}"]))
    return "\n".join(blocks)


def problems(picture: Picture) -> Iterator[tuple[str, str]]:
    """What keeps the gateway from its work, and the command that shows or solves it."""
    if picture["stopping"]:
        yield "it is stopping: running answers may end, nothing new begins", "lmg up"
    if picture["paused"]:
        yield "the queue is paused: running answers go on, nothing new begins", "lmg queue resume"
    if picture["storage_problem"]:
        yield str(picture["storage_problem"]), "lmg doctor"
    for line in picture["runtimes"]:
        if line["last_error"] and line["failures"]:
            again = line["retry_in_s"]
            when = "" if again is None else f", next try in {phrases.span(again)}"
            what = f"{line['name']} did not load: {line['last_error']['class']}{when}"
            yield what, f"lmg logs --source {line['name']}"
    config = picture.get("config") or {}
    if config.get("problem"):
        yield f"a changed configuration is not used: {config['problem']}", "lmg config validate"
    if config.get("changed_for_the_next_start"):
        sections = ", ".join(config["changed_for_the_next_start"])
        yield f"changed and not yet in use: {sections}", "lmg down && lmg up"


def next_step(picture: Picture) -> str:
    """What most people would do now."""
    if not picture["runtimes"] or (picture.get("config") or {}).get("built_in"):
        return "lmg init --user   looks for engines and models on this machine"
    if picture["queue"]:
        return "lmg queue   who waits, and until when · lmg top   the same, as it changes"
    if picture["running"] or picture["finished_today"]:
        return "lmg top · lmg logs -f · lmg connect CLIENT"
    return f'lmg run {picture["runtimes"][0]["name"]} "Say hello"'


def _state(picture: Picture, terminal: Terminal) -> str:
    if picture["stopping"]:
        return terminal.paint("yellow", "stopping")
    if not picture["ready"]:
        return terminal.paint("yellow", "starting")
    if picture["paused"]:
        return terminal.paint("yellow", "paused")
    return terminal.paint("green", "running")


def _models(picture: Picture) -> Iterator[str]:
    runtimes: Sequence[Picture] = picture["runtimes"]
    loaded = [line for line in runtimes if line["state"] != "stopped"]
    yield f"{len(loaded)} of {phrases.count(len(runtimes), 'model')} loaded"
    for line in loaded:
        yield f"{line['name']} {doing(line)}{_answers(picture, line)}"


def doing(line: Picture) -> str:
    """What a model does, in a word or two; an amount only where one is known."""
    if line["failures"] and line["last_error"] and line["state"] == "stopped":
        again = line["retry_in_s"]
        when = "" if again is None else f", next try in {phrases.span(again)}"
        return f"failed ({line['last_error']['class']}){when}"
    if line["state"] == "starting":
        return f"is loading{_share(line)}"
    if line["draining_for"]:
        return f"makes room for {line['draining_for']}"
    return {"stopped": "off", "draining": "unloads when its work ends"}.get(
        line["state"], str(line["state"])
    )


def _share(line: Picture) -> str:
    share, whole = line["load_fraction"], line["footprint_bytes"]
    if share is None:
        return f", {line['load_phase']}" if line["load_phase"] not in {None, "starting"} else ""
    return f", {phrases.amount(share * whole, whole)}" if whole else f", {share:.0%}"


def _answers(picture: Picture, line: Picture) -> str:
    ran = [one["running_s"] or 0.0 for one in picture["running"] if one["runtime"] == line["name"]]
    if not ran:
        return ""
    oldest = phrases.clock(max(ran))
    return f", answers {phrases.count(len(ran), 'request')} (oldest {oldest})"


def _queue(queue: Sequence[Picture], running: int) -> Iterator[str]:
    yield f"{running} running, {len(queue)} waiting"
    groups: dict[tuple[str, str], list[Picture]] = {}
    for item in queue:
        groups.setdefault((str(item["runtime"]), waits_for(item)), []).append(item)
    for (runtime, reason), items in groups.items():
        eta_s = next((item["eta_s"] for item in items if item["eta_s"]), None)
        first = f", {'the first' if len(items) > 1 else 'starts'} in {phrases.spread(eta_s)}"
        verb = "wait" if len(items) > 1 else "waits"
        yield f"{len(items)} for {runtime} {verb} for {reason}" + (first if eta_s else "")


def waits_for(item: Picture) -> str:
    """In words, and who is in the way."""
    if item["behind"]:
        return f"{item['behind']} to go"
    return WAITS.get(str(item["waits_for"]), str(item["waits_for"] or "its turn"))


def _memory(picture: Picture) -> str:
    """What the queue reckons with: from its start, a model has all that it will need."""
    sizes = [one["footprint_bytes"] for one in picture["runtimes"] if one["state"] != "stopped"]
    pool = picture["pool_bytes"]
    if None in sizes or pool is None:
        held = phrases.size(None if None in sizes else sum(sizes))
        return f"{held} of {phrases.size(pool)} given to models"
    return f"{phrases.amount(sum(sizes), pool)} given to models"


def _today(counts: Mapping[str, int]) -> str:
    known = [(counts[end], word) for end, word in ENDS.items() if counts.get(end)]
    other = [(number, end) for end, number in sorted(counts.items()) if end not in ENDS]
    parts = [f"{n} {'swap' if (n, word) == (1, 'swaps') else word}" for n, word in known + other]
    return ", ".join(parts) or "nothing yet"
