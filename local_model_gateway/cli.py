"""The command line: finds the verb, imports its one module, and turns every error into a line and an exit code.

`argparse` rather than a framework: a verb costs a few milliseconds, so that asking for the status
in a shell prompt or a watch loop costs nothing. Neither `mcp` nor `fastmcp` is ever imported here.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from local_model_gateway import __version__, paths
from local_model_gateway.errors import GatewayError
from local_model_gateway.terminal import Terminal

USAGE = 2
INTERRUPTED = 130


class Command(Protocol):
    """What a module in `commands` offers."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the verb's own arguments."""

    def run(self, given: argparse.Namespace, terminal: Terminal) -> int:
        """Do it; the exit code. Errors are raised as `GatewayError`."""


@dataclass(frozen=True, slots=True)
class Verb:
    """One line of `lmg --help`."""

    module: str
    summary: str
    usage: str = ""


GROUPS: Mapping[str, Mapping[str, Verb]] = {
    "Run it": {
        "up": Verb("up", "start in the background, and say what to do next"),
        "start": Verb("start", "start in the foreground"),
        "down": Verb("down", "stop; running answers may end first", "[--drain 60s]"),
        "init": Verb("init", "look around and write a configuration"),
        "add": Verb("add", "add an engine's models, or one model", "ENGINE|MODEL"),
        "adopt": Verb("adopt", "take over an engine that was started by hand", "PID|PORT"),
        "import": Verb("importing", "take over another program's models", "FILE"),
        "remove": Verb("remove", "take out what add, adopt or import wrote", "NAME"),
        "service": Verb("service", "start at login", "install|status|uninstall"),
    },
    "Use it": {
        "run": Verb("run", "ask a model, through the queue", 'MODEL "PROMPT"'),
        "models": Verb("models", "what can be asked for"),
        "load": Verb("load", "bring a model up", "MODEL [--estimate]"),
        "unload": Verb("unload", "stop a model when its work has ended", "MODEL [--now]"),
        "connect": Verb("connect", "set a client up to use this gateway", "CLIENT"),
        "disconnect": Verb("disconnect", "undo that", "CLIENT"),
        "launch": Verb("launch", "start a client that uses this gateway", "CLIENT [-- ARGS]"),
        "mcp": Verb("mcp", "downstream MCP servers and their tools", "ls|import|refresh|search"),
        "mcp-stdio": Verb("bridge", "MCP for clients that only start programs"),
        "demo": Verb("demo", "make generated models that stream and swap visibly"),
    },
    "Look at it": {
        "status": Verb("status", "the whole in a few lines"),
        "ps": Verb("ps", "every model and its state"),
        "top": Verb("top", "the same, drawn again every second"),
        "queue": Verb("queue", "who runs, who waits, for what", "[cancel|priority|pause|resume]"),
        "jobs": Verb("jobs", "stored work", "[show|cancel]"),
        "logs": Verb("logs", "what happened", "[-f] [--source NAME]"),
        "doctor": Verb("doctor", "what is wrong, why, and what to run"),
        "config": Verb("config", "where it is, what it says", "path|show|validate|schema"),
        "recipes": Verb("recipe_list", "clients, engines, services we know", "[list|show NAME]"),
        "completion": Verb("completion", "for your shell", "bash|zsh|fish"),
    },
}
VERBS: Mapping[str, Verb] = {
    name: verb for group in GROUPS.values() for name, verb in group.items()
}


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """One command; returns its exit code and never raises but for a defect of ours."""
    before, verb, after = _split(arguments)
    if "--version" in before:
        sys.stdout.write(f"local-model-gateway {__version__}\n")
        return 0
    if "-h" in before or "--help" in before or verb == "help":
        return _help(after)
    if verb == "":
        verb = "status"
    if verb not in VERBS:
        return _unknown(verb)
    if verb == "mcp":
        return _guarded(lambda: _mcp([*before, *after]), Terminal(wants_json="--json" in arguments))
    command: Command = importlib.import_module(f"local_model_gateway.commands.{VERBS[verb].module}")
    parser = _parser(verb)
    command.arguments(parser)
    if "--" in after:  # argparse would give such words to the first open positional
        cut = after.index("--")
        after, rest = after[:cut], after[cut + 1 :]
    else:
        rest = []
    try:
        given = parser.parse_args([*before, *after])
    except SystemExit as stop:
        return int(stop.code or 0)
    given.rest = rest
    terminal = Terminal(wants_json=given.json, no_color=given.no_color)
    return _guarded(lambda: command.run(given, terminal), terminal)


def _split(arguments: Sequence[str]) -> tuple[list[str], str, list[str]]:
    """What stands before the verb, the verb, and the rest; options with a value keep it."""
    before: list[str] = []
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        before.append(rest.pop(0))
        if before[-1] in {"--url", "--config"} and rest:
            before.append(rest.pop(0))
    return before, (rest[0] if rest else ""), rest[1:]


def _parser(verb: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"lmg {verb}", description=VERBS[verb].summary, allow_abbrev=False
    )
    shared = parser.add_argument_group("everywhere")
    shared.add_argument(
        "--json", action="store_true", help="one JSON object, no colour, no prompts"
    )
    shared.add_argument("--no-color", action="store_true", help="also by the variable NO_COLOR")
    shared.add_argument("--config", metavar="FILE", help="the configuration to use")
    shared.add_argument("--url", metavar="URL", help="the gateway to talk to")
    return parser


def _guarded(do: Callable[[], int], terminal: Terminal) -> int:
    try:
        code = do()
        sys.stdout.flush()
        return code
    except GatewayError as error:
        terminal.failed(error.code, str(error))
        return error.exit_code
    except KeyboardInterrupt:
        terminal.end_progress()
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has had enough, as `| head` does; nothing went wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # A full disk, a read-only folder, a file where a folder should be: the system's words, and the place.
        if error.strerror is None:
            raise
        if error.filename is None:
            return _unwritten(error)
        terminal.failed("failed", f"{paths.shown(Path(error.filename))}: {error.strerror}")
        return 1


def _unwritten(error: OSError) -> int:
    """Nobody can be told on a stream that takes nothing, such as a file on a full disk."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.stderr.write(f"the output could not be written: {error.strerror}\n")
    return 1


def _mcp(arguments: Sequence[str]) -> int:
    """The broker's verbs are a command line of their own."""
    try:
        mounted = importlib.import_module("local_model_gateway.commands.mcp")
    except ModuleNotFoundError as error:
        if error.name != "local_model_gateway.commands.mcp":
            raise
        raise GatewayError("`lmg mcp` is not part of this build") from None
    try:
        result = mounted.app(list(arguments))
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    return result if isinstance(result, int) else 0


def _help(after: Sequence[str]) -> int:
    if after and after[0] in VERBS:
        return run([after[0], "--help"])
    lines = ["Local Model Gateway: one endpoint in front of every local model.", ""]
    lines += ["Usage: lmg VERB [ARGUMENTS]    lmg VERB --help says more", ""]
    for title, verbs in GROUPS.items():
        lines.append(f"{title}:")
        for name, verb in verbs.items():
            lines.append(f"  {f'{name} {verb.usage}'.strip():38} {verb.summary}")
        lines.append("")
    lines += ["Every verb takes --json, --no-color, --config FILE and --url URL.", ""]
    lines += [
        "Exit codes: 0 ok · 1 failed · 2 usage · 3 gateway not reachable · 4 configuration invalid ·",
        "            5 no such thing · 6 refused · 7 still queued · 130 interrupted",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _unknown(verb: str) -> int:
    import difflib  # only here: it costs more than a whole verb

    near = difflib.get_close_matches(verb, VERBS, n=1)
    hint = f"did you mean `lmg {near[0]}`?" if near else "`lmg --help` lists them"
    sys.stderr.write(f"lmg: no verb {verb!r}; {hint}\n")
    return USAGE
