"""`lmg launch CLIENT`: start a client whose model is a local one, for this session only."""

import argparse
import os
import re
import shutil
from typing import NoReturn

from local_model_gateway import client, connections, errors
from local_model_gateway.commands import connect
from local_model_gateway.terminal import Terminal
from recipes.front_matter import EnvStep, FileStep
from recipes.render import KEY_VARIABLE, Rendered

_REFERENCE = re.compile(r"\$\{?" + KEY_VARIABLE + r"\}?")
ANY_KEY = "local"
"""What a gateway without keys is shown: clients insist on one."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("client", metavar="CLIENT")
    parser.add_argument("--model", metavar="MODEL", help="which one it should use")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be started")
    parser.epilog = "What stands behind `--` goes to the client as it is."


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    rendered = connect.rendered_for(given)
    front = rendered.recipe.front
    if not rendered.launch:
        raise errors.CommandFailed(
            f"{front.title} cannot be launched by us; see: lmg connect {front.id}"
        )
    needs_files = any(isinstance(step, FileStep) for step in rendered.steps)
    if needs_files and not connections.Book(client.state_dir(given)).read(front.id):
        raise errors.CommandFailed(f"{front.title} needs its profile first: lmg connect {front.id}")
    words = [*rendered.launch, *given.rest]
    added = _added(rendered)
    if given.dry_run:
        shown = {name: value for name, value in added.items() if name != KEY_VARIABLE}
        content = {"command": words, "env": shown, "done": False}
        lines = [f"{name}={value}" for name, value in shown.items()]
        terminal.result("lmg.launch/1", content, "\n".join([*lines, " ".join(words)]))
        return 0
    program = shutil.which(words[0])
    if program is None:
        raise errors.NoSuchThing(
            f"{words[0]} is not installed; {front.docs or front.title} says how"
        )
    return _become(program, words, {**os.environ, **_with_key(added)})


def _become(program: str, words: list[str], env: dict[str, str]) -> NoReturn:
    """The client takes this process over: its terminal, its signals and its exit code are its own."""
    os.execve(program, words, env)


def _added(rendered: Rendered) -> dict[str, str]:
    steps = [step for step in rendered.steps if isinstance(step, EnvStep)]
    return {name: value for step in steps for name, value in step.set.items()}


def _with_key(added: dict[str, str]) -> dict[str, str]:
    key = os.environ.get(KEY_VARIABLE) or ANY_KEY
    filled = {name: _REFERENCE.sub(lambda _: key, value) for name, value in added.items()}
    return {KEY_VARIABLE: key, **filled}
