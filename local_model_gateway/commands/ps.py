"""`lmg ps`: every model, what it does and what it holds."""

import argparse

from local_model_gateway import client, phrases
from local_model_gateway.commands.status import Picture
from local_model_gateway.terminal import Terminal

HEADER = ("MODEL", "ENGINE", "STATE", "BUSY", "WAITING", "MEMORY", "USUAL LOAD")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing of its own."""


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    runtimes = client.find(given).get("/status")["runtimes"]
    text = terminal.table(HEADER, [row(line) for line in runtimes]) if runtimes else "no models"
    terminal.result("lmg.ps/1", {"runtimes": runtimes}, text)
    return 0


def row(line: Picture) -> tuple[str, ...]:
    """One model\'s line."""
    return (
        str(line["name"]),
        str(line["engine"]),
        _state(line),
        f"{line['running']}/{line['slots']}",
        str(line["queued"]),
        phrases.size(line["footprint_bytes"]),
        phrases.span(line["usual_load_s"]),
    )


def _state(line: Picture) -> str:
    if line["retry_in_s"] is not None:
        return f"failed ({line['last_error']['class']}), next try in {phrases.span(line['retry_in_s'])}"
    if line["load_fraction"] is not None:
        return f"{line['state']} {line['load_fraction']:.0%}"
    if line["draining_for"]:
        return f"draining for {line['draining_for']}"
    return str(line["state"])
