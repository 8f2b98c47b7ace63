"""`lmg up`: make sure that a gateway runs, in the background unless told otherwise, and say where."""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local_model_gateway import (
    __version__,
    announcement,
    background,
    config,
    errors,
    exposure,
    paths,
)
from local_model_gateway.commands import start
from local_model_gateway.terminal import Terminal

if TYPE_CHECKING:
    from local_model_gateway.detection import survey


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask anything")
    parser.add_argument("--port", type=int, metavar="PORT", help="instead of server.port")
    parser.add_argument("--foreground", action="store_true", help="as `lmg start`")
    parser.set_defaults(quiet=False)


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    if given.url:
        raise errors.RefusedByGateway(
            "`lmg up` starts a gateway on this machine; --url is for talking to one"
        )
    file = Path(given.config) if given.config else None
    found, written = _first_look(given, file, terminal)
    settings = config.load(file, os.environ)
    if danger := exposure.danger(settings.server.host, settings.server.keys.values()):
        raise errors.BindRefused(danger)
    if given.foreground:
        return start.run(given, terminal)
    announced, created = background.ensure(settings, file, given.port, terminal)
    outcome = Outcome(announced, settings, created, _models(announced, settings), found, written)
    terminal.result("lmg.up/1", outcome.as_json(), outcome.said(terminal))
    return 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `lmg up` made of it."""

    announced: announcement.Announcement
    settings: config.Config
    created: bool
    models: Sequence[Mapping[str, Any]]  # Any: JSON
    found: "survey.Survey | None"
    """What a first look around saw; None where there was a configuration."""
    written: Path | None

    def as_json(self) -> dict[str, Any]:  # Any: JSON
        """For programs."""
        return {
            "status": "ok",
            "version": self.announced.version,
            "pid": self.announced.pid,
            "created": self.created,
            "config_created": self.written is not None,
            "config": [str(one) for one in self.settings.files],
            "endpoints": start.endpoints(self.announced.url),
            "models": [
                {"id": _known_as(one), "engine": one["engine"], "state": one["state"]}
                for one in self.models
            ],
            "found": self.found.as_json() if self.found else None,
            "warnings": self._warnings(),
            "next": [command for command, _ in self._next()],
        }

    def said(self, terminal: Terminal) -> str:
        """For people."""
        version, pid = self.announced.version, self.announced.pid
        done = terminal.paint("green", "✓")
        lines = (
            [
                f"{done} wrote {paths.shown(self.written)} ({_length(self.written)} lines, edit any time)"
            ]
            if self.written
            else []
        )
        if self.created:
            lines.append(
                f"{done} Local Model Gateway {version}, running in the background, pid {pid}"
            )
        else:
            lines.append(f"{done} Local Model Gateway {version}, was running already, pid {pid}")
        lines += ["", *start.addresses(self.announced.url, self.settings), ""]
        lines += [text for warning in self._warnings() for text in (warning, "")]
        steps = self._next()
        width = max(len(command) for command, _ in steps)
        lines += [
            f"{'Next' if number == 0 else '':4}  {command:{width}}   {why}".rstrip()
            for number, (command, why) in enumerate(steps)
        ]
        return "\n".join(lines)

    def _warnings(self) -> list[str]:
        toy = [start.TOY] if start.has_toy(self.settings) else []
        holders = self.found.holders if self.found else ()
        return toy + [
            f"{one.program}, pid {one.pid}, holds memory outside the queue: lmg doctor says more"
            for one in holders
        ]

    def _next(self) -> list[tuple[str, str]]:
        """What to type now, and what it is good for."""
        steps = []
        if self.models:
            steps.append((f'lmg run {_known_as(self.models[0])} "Say hello"', ""))
        if start.has_toy(self.settings) or not self.models:
            steps.append(("lmg recipes show ollama", "the shortest way to a real model"))
        clients = self.found.clients if self.found else ()
        if clients:
            steps.append((f"lmg connect {clients[0].id}", "shows the change first, can be undone"))
        if self.written:
            steps.append(("lmg service install", "start at login"))
        else:
            steps.append(("lmg status", "what it does now; lmg logs -f, lmg down"))
        return steps


def _first_look(
    given: argparse.Namespace, file: Path | None, terminal: Terminal
) -> "tuple[survey.Survey | None, Path | None]":
    """On a machine without a configuration, look around and offer to write one with what was found."""
    if config.find(file, os.environ) or not (terminal.interactive or given.yes):
        return None, None
    # Late: most starts have a configuration, and need no recipes and no probes.
    from local_model_gateway.commands import init
    from local_model_gateway.detection import survey, telling

    terminal.progress("looking for engines and models")
    found = survey.look(os.environ, Path.home())
    chosen = survey.choices(found)
    if not terminal.json:  # the outcome has all of it
        terminal.note(f"Local Model Gateway {__version__}")
        terminal.note("No configuration yet, so I looked around. Nothing was started or changed.\n")
        terminal.note(telling.survey(found) + "\n")
        if not chosen:
            terminal.note(telling.nothing(found) + "\n")
    if not chosen:
        return found, None
    several = f"Use these {len(chosen)} models? They load only when asked for."
    question = several if len(chosen) > 1 else "Use this model? It loads only when asked for."
    if not given.yes and not terminal.agreed(question):
        terminal.note("Nothing was written; the built-in model runs instead.\n")
        return found, None
    target = paths.config_dir(os.environ) / "config.yaml"
    try:
        init.write(target, survey.as_yaml(chosen))
    except errors.RefusedByGateway:
        return found, None  # another `lmg up` was faster; its file is as good
    if not terminal.json:
        terminal.note("")
    return found, target


def _models(
    announced: announcement.Announcement, settings: config.Config
) -> Sequence[Mapping[str, Any]]:  # Any: JSON
    """As the running gateway tells them: one that ran already may have others than the file now says."""
    listed = background.client_of(announced, settings).get("/status", timeout_s=5)["runtimes"]
    assert isinstance(listed, list)
    return listed


def _known_as(runtime: Mapping[str, Any]) -> str:  # Any: JSON
    """By the name that its engine gave it, which people know, rather than by ours."""
    name = str(runtime["name"])
    return next((str(alias) for alias in runtime["aliases"] if alias != name), name)


def _length(file: Path) -> int:
    return len(file.read_text(encoding="utf-8").splitlines())
