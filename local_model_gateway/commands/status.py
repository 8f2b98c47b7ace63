"""`lmg status`: the whole gateway in a few lines."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from local_model_gateway import client, phrases
from local_model_gateway.terminal import Terminal

Picture = Mapping[str, Any]  # Any: JSON of /status


def arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing of its own."""


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    gateway = client.find(given)
    picture = gateway.get("/status")
    terminal.result("lmg.status/1", picture, said(picture, gateway.url, terminal))
    return 0


def said(picture: Picture, url: str, terminal: Terminal) -> str:
    """The lines of `lmg status`."""
    runtimes: Sequence[Picture] = picture["runtimes"]
    held, pool = picture["held_bytes"], picture["pool_bytes"]
    loaded = [line for line in runtimes if line["state"] != "stopped"]
    process = picture.get("gateway", {})
    lines = [
        f"Gateway   {_state(picture, terminal)}, pid {process.get('pid', '?')}, "
        f"up {phrases.span(process.get('uptime_s'))}, {url}",
        f"Models    {len(loaded)} of {phrases.count(len(runtimes), 'model')} loaded"
        + "".join(f"\n          {_runtime(line)}" for line in loaded),
        f"Queue     {len(picture['running'])} running, {len(picture['queue'])} waiting"
        + _next(picture["queue"]),
        f"Memory    {phrases.size(held)} of {phrases.size(pool)} held by models",
        f"Today     {_today(picture['finished_today'])}",
    ]
    if picture["storage_problem"]:
        lines.append(terminal.paint("red", f"Storage   {picture['storage_problem']}"))
    lines += [
        terminal.paint("red", f"Failed    {line['name']}: {line['last_error']['class']}")
        for line in runtimes
        if line["last_error"] and line["failures"]
    ]
    if not runtimes:
        lines.append("Next      lmg init   looks for engines and models")
    return "\n".join(lines)


def _state(picture: Picture, terminal: Terminal) -> str:
    if picture["stopping"]:
        return terminal.paint("yellow", "stopping")
    if not picture["ready"]:
        return terminal.paint("yellow", "starting")
    return (
        terminal.paint("yellow", "paused")
        if picture["paused"]
        else terminal.paint("green", "running")
    )


def _runtime(line: Picture) -> str:
    said = f"{line['name']} {line['state']}"
    if line["load_phase"]:
        share = line["load_fraction"]
        said += f", {line['load_phase']}" + (f" {share:.0%}" if share is not None else "")
    if line["running"]:
        said += f", {line['running']} of {line['slots']} slots busy"
    return said


def _next(queue: Sequence[Picture]) -> str:
    if not queue:
        return ""
    first = queue[0]
    eta = f" in {phrases.spread(first['eta_s'])}" if first["eta_s"] else ""
    return f"; next is {first['alias']}{eta}"


def _today(counts: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{number} {state}" for state, number in sorted(counts.items())) or "nothing yet"
    )
