"""`lmg start`: serve in the foreground until told to stop."""

import argparse
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from local_model_gateway import (
    __version__,
    announcement,
    config,
    logs,
    readiness_note,
    redact,
    reload,
)
from local_model_gateway.terminal import Terminal

if TYPE_CHECKING:
    from local_model_gateway.app import Gateway


TOY = "The built-in model is a toy written by hand: it says one sentence, whatever you ask."


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, metavar="PORT", help="instead of server.port")
    parser.add_argument("--quiet", action="store_true", help="do not say where it answers")


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    file = Path(given.config) if given.config else None
    settings = config.load(file, os.environ)
    # What is on the disk, before what this command line changes.
    reloader = reload.Reloader(settings, file, os.environ)
    if given.port is not None:
        server = settings.server.model_copy(update={"port": given.port})
        settings = settings.model_copy(update={"server": server})
    serve(settings, terminal, quiet=given.quiet, reloader=reloader)
    return 0


def serve(
    settings: config.Config,
    terminal: Terminal,
    *,
    quiet: bool = False,
    reloader: "reload.Reloader | None" = None,
) -> None:
    """Serve until a signal or `lmg down`; leaves a note of its address while it does."""
    # Late: the whole gateway is behind it, and a broken configuration should say so at once.
    from local_model_gateway import app

    state_dir = settings.state_path(os.environ)

    def announce(gateway: "Gateway") -> None:
        announced = announcement.Announcement(
            gateway.url, os.getpid(), gateway.started_at, __version__
        )
        announcement.write(state_dir, announced)
        readiness_note.send("READY=1")
        if not quiet:
            terminal.result("lmg.start/1", described(gateway), greeting(gateway))
            sys.stdout.flush()

    redactor = redact.Redactor(settings.secrets)
    with logs.written(
        redactor,
        form=settings.log.format,
        level=settings.log.level,
        file=state_dir / "logs" / "gateway.log",
    ):
        try:
            anyio.run(app.run, settings, announce, reloader)
        finally:
            readiness_note.send("STOPPING=1")
            announcement.remove(state_dir)


def described(gateway: "Gateway") -> dict[str, object]:
    """The greeting for programs."""
    return {
        "status": "ok",
        "pid": os.getpid(),
        "version": __version__,
        "endpoints": endpoints(gateway.url),
        "models": sorted(gateway.config.runtimes),
        "config": [str(file) for file in gateway.config.files],
    }


def endpoints(url: str) -> dict[str, str]:
    """The addresses that people need."""
    return {"openai": f"{url}/v1", "mcp": f"{url}/mcp", "status": f"{url}/status"}


def addresses(url: str, settings: config.Config) -> list[str]:
    """The same for people."""
    key = "any api_key works from this machine" if not settings.server.keys else "with your key"
    return [
        f"  OpenAI API   {url}/v1       {key}",
        f"  MCP          {url}/mcp",
        f"  Status       {url}/status",
    ]


def greeting(gateway: "Gateway") -> str:
    """Where it answers, a command that works as pasted, and how to get a real model."""
    url, settings = gateway.url, gateway.config
    models = list(settings.runtimes)
    lines = [f"Local Model Gateway {__version__}, pid {os.getpid()}", ""]
    lines += [*addresses(url, settings), ""]
    if has_toy(settings):
        lines += [
            TOY,
            "For a real one: `lmg init --user` looks for engines and models on this machine.",
            "",
        ]
    if models:
        lines += ["Try", f"  {curl(url, models[0], bool(settings.server.keys))}", ""]
    else:
        lines += ["No model is configured yet: lmg init --user", ""]
    return "\n".join(lines)


def has_toy(settings: config.Config) -> bool:
    """Whether the built-in model is served."""
    return any(
        runtime.engine == "embedded" and runtime.model is None
        for runtime in settings.runtimes.values()
    )


def curl(url: str, model: str, with_key: bool) -> str:
    """A request to paste into a shell."""
    body = {"model": model, "messages": [{"role": "user", "content": "Say hello"}]}
    words = ["curl", "-s", f"{url}/v1/chat/completions", "-H", "Content-Type: application/json"]
    words += ["-d", json.dumps(body)]
    command = shlex.join(words)
    return command + (' -H "Authorization: Bearer $LMG_API_KEY"' if with_key else "")
