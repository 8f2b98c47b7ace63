"""`lmg launch CLIENT`: start a client whose model is a local one, for this session only."""

import argparse
import os
import re
import shlex
import shutil
from typing import NoReturn

from local_model_gateway import errors, paths
from local_model_gateway.commands import recipe_list
from local_model_gateway.connecting import client_setting
from local_model_gateway.terminal import Terminal
from recipes.front_matter import EnvStep, FileStep, Kind
from recipes.render import KEY_VARIABLE

_REFERENCE = re.compile(r"\$\{?" + KEY_VARIABLE + r"\}?")
ANY_KEY = "local"
"""What a gateway without keys is shown: clients insist on one."""
HIDDEN = "********"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("client", metavar="CLIENT")
    parser.add_argument("--model", metavar="MODEL", help="which one it should use")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be started")
    parser.epilog = "What stands behind `--` goes to the client as it is."


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    recipe = recipe_list.found(given.client, Kind.CLIENT)
    setting = client_setting.of(recipe, given)
    title = recipe.front.title
    if not setting.rendered.launch:
        raise errors.CommandFailed(
            f"{title} cannot be launched by us; see: lmg connect {recipe.id}"
        )
    if not setting.launchable():
        raise errors.CommandFailed(
            f"{title} asks its model at {recipe.front.launch_speaks}, and this gateway has no such path yet; "
            f"its tools work: lmg connect {recipe.id}"
        )
    if not given.dry_run:
        _check_profile(setting)
    words = [*_words(setting), *given.rest]
    key = setting.gateway.key
    env = _added(setting, key or ANY_KEY)
    if (note := setting.too_small()) is not None:
        terminal.note(f"{terminal.paint('yellow', '!')} {note}")
    if given.dry_run:
        shown = _added(setting, ANY_KEY if key is None else HIDDEN)
        content = {
            "command": words,
            "env": shown,
            "done": False,
            "warnings": [note] if note else [],
        }
        lines = [f"{name}={shlex.quote(value)}" for name, value in shown.items()]
        terminal.result("lmg.launch/1", content, "\n".join([*lines, shlex.join(words)]))
        return 0
    program = shutil.which(words[0])
    if program is None:
        raise errors.NoSuchThing(
            f"{words[0]} is not on your PATH, and we do not install it; "
            f"how to: {recipe.front.docs or title}"
        )
    return _become(program, words, {**os.environ, **env})


def _become(program: str, words: list[str], env: dict[str, str]) -> NoReturn:
    """The client takes this process over: its terminal, its signals and its exit code are its own."""
    os.execve(program, words, env)


def _check_profile(setting: client_setting.Setting) -> None:
    """A client that is told to read a file of ours needs that file."""
    front = setting.recipe.front
    for step in setting.rendered.steps:
        if isinstance(step, FileStep) and not (path := setting.places.path(step.path)).exists():
            raise errors.CommandFailed(
                f"{front.title} needs {paths.shown(path)} first: lmg connect {front.id}"
            )


def _added(setting: client_setting.Setting, key: str) -> dict[str, str]:
    """The variables of the recipe, with this key where they refer to it; for the child only."""
    steps = [step for step in setting.rendered.steps if isinstance(step, EnvStep)]
    added = {name: value for step in steps for name, value in step.set.items()}
    filled = {name: _REFERENCE.sub(lambda _: key, value) for name, value in added.items()}
    return {KEY_VARIABLE: key, **filled}


def _words(setting: client_setting.Setting) -> list[str]:
    """With the file of ours that the client is told to read: no shell fills in its `~`."""
    words = setting.rendered.launch
    return [str(setting.places.path(one)) if one.startswith("~/") else one for one in words]
