"""`lmg models`: what can be asked for."""

import argparse
from typing import Any

from local_model_gateway import client, phrases
from local_model_gateway.terminal import Terminal

HEADER = ("MODEL", "STATE", "CONTEXT", "USUAL LOAD", "CAN", "ENGINE", "ALSO")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing of its own."""


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    models = client.find(given).get("/v1/models")["data"]
    rows = [_row(model) for model in models]
    text = terminal.table(HEADER, rows) if rows else "no models; `lmg init --user` looks for some"
    notices = {str(model["notice"]) for model in models if model.get("notice")}
    terminal.result("lmg.models/1", {"models": models}, "\n".join([text, *sorted(notices)]))
    return 0


def _row(model: dict[str, Any]) -> tuple[str, ...]:  # Any: JSON
    state = str(model.get("state", ""))
    return (
        str(model["id"]),
        "off" if state == "stopped" else state,
        str(model.get("context_length") or "unknown"),
        phrases.span(model.get("usual_load_s")),
        ", ".join(model.get("capabilities", ())),
        str(model.get("engine", "")),
        ", ".join(name for name in model.get("aliases", ()) if name != model["id"]),
    )
