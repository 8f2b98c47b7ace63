"""`lmg ps`: every model, what it does and what it holds."""

import argparse

from local_model_gateway import client, phrases
from local_model_gateway.commands import status
from local_model_gateway.commands.status import Picture
from local_model_gateway.terminal import Terminal

HEADER = ("MODEL", "STATE", "BUSY", "WAITING", "MEMORY", "USUAL LOAD", "SPEED", "ENGINE")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing of its own."""


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    runtimes = client.find(given).get("/status")["runtimes"]
    terminal.result("lmg.ps/1", {"runtimes": runtimes}, said(runtimes, terminal))
    return 0


def said(runtimes: list[Picture], terminal: Terminal) -> str:
    """The table of `lmg ps`: what is loaded first."""
    if not runtimes:
        return "no models; `lmg init --user` looks for some"
    rows = [row(line) for line in sorted(runtimes, key=lambda one: one["state"] == "stopped")]
    return terminal.table(HEADER, rows)


def row(line: Picture) -> tuple[str, ...]:
    """One model's line."""
    speed = line.get("usual_tokens_per_s")
    return (
        str(line["name"]) + (" (pinned)" if line["pinned"] else ""),
        status.doing(line).removeprefix("is "),
        f"{line['running']}/{line['slots']}",
        str(line["queued"]),
        phrases.size(line["footprint_bytes"]),
        phrases.span(line["usual_load_s"]),
        "unknown" if speed is None else f"{speed:.1f}/s",
        str(line["engine"]),
    )
