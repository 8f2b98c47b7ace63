"""`lmg models`: what can be asked for."""

import argparse

from local_model_gateway import client
from local_model_gateway.terminal import Terminal


def arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing of its own."""


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    models = client.find(given).get("/v1/models")["data"]
    rows = [
        (
            str(model["id"]),
            str(model.get("engine", "")),
            str(model.get("state", "")),
            str(model.get("context_length") or "unknown"),
            ", ".join(model.get("capabilities", ())),
        )
        for model in models
    ]
    text = terminal.table(("MODEL", "ENGINE", "STATE", "CONTEXT", "CAN"), rows) if rows else "none"
    notices = {str(model["notice"]) for model in models if model.get("notice")}
    terminal.result("lmg.models/1", {"models": models}, "\n".join([text, *sorted(notices)]))
    return 0
