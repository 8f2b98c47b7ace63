"""What an importer hands back, and how a foreign start command becomes a runtime."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

Section = dict[str, object]

_PROGRAMS = {
    "llama-server": "llama-server",
    "vllm": "vllm",
    "mlx_lm.server": "mlx-lm",
    "koboldcpp": "koboldcpp",
    "local-ai": "localai",
    "ramalama": "ramalama",
    "max": "modular-max",
}
_MODULES = {
    "sglang.launch_server": "sglang",
    "mlx_lm.server": "mlx-lm",
    "mlx_lm": "mlx-lm",
    "vllm.entrypoints.openai.api_server": "vllm",
}
_MODEL_OPTIONS = ("-m", "--model", "--model-path")
_PORT_OPTIONS = ("--port", "-p")


class NotCarried(Exception):
    """This one needs a person; the message says why."""


@dataclass(slots=True)
class Carried:
    """The runtimes that were understood, by the name that clients use, and the rest in words."""

    runtimes: dict[str, Section] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def words_of(command: object) -> list[str]:
    """A start command as a list of words; comment lines and line continuations are a shell's business."""
    if isinstance(command, list):
        return [str(word) for word in command]
    lines = without_comments(str(command))
    try:
        return shlex.split(" ".join(line.rstrip().removesuffix("\\") for line in lines))
    except ValueError as error:
        raise NotCarried(f"its command cannot be split into words ({error})") from None


def without_comments(text: str) -> list[str]:
    """The lines that are not comments."""
    return [line for line in text.splitlines() if not line.lstrip().startswith("#")]


def from_command(words: Sequence[str]) -> Section:
    """The engine and its settings that a start command amounts to."""
    if not words:
        raise NotCarried("it has no command")
    engine = _engine(words)
    if engine is None:
        raise NotCarried(f"it runs `{words[0]}`, for which there is no recipe")
    if engine == "llama-server":
        return _llama_server(words)
    model = _value(words, _MODEL_OPTIONS) or _positional(words)
    if model is None:
        raise NotCarried("its command names no model")
    return {"engine": engine, "model": model, "cmd": _with_our_port(words)}


def _engine(words: Sequence[str]) -> str | None:
    program = PurePath(words[0]).name
    if program in _PROGRAMS:
        return _PROGRAMS[program]
    if re.fullmatch(r"python[0-9.]*", program) and "-m" in words[:-1]:
        return _MODULES.get(words[words.index("-m") + 1])
    # Builds are kept under names such as llama-server-b9120.
    return "llama-server" if program.startswith("llama-server") else None


def _llama_server(words: Sequence[str]) -> Section:
    """Its own settings where we have the same, and the rest as further arguments."""
    rest = list(words[1:])
    model = _take(rest, ("-m", "--model"))
    if model is None:
        raise NotCarried("its command names no model file")
    section: Section = {"engine": "llama-server", "model": model}
    slots, context = _take(rest, ("-np", "--parallel")), _take(rest, ("-c", "--ctx-size"))
    for options in (("--port",), ("--host",), ("-a", "--alias"), ("--api-key",)):
        _take(rest, options)
    if slots and slots.isdigit() and int(slots) > 0:
        section["max_concurrency"] = int(slots)
    if context and context.isdigit() and int(context) >= 256:
        # Its number is for all answers together, ours for each.
        share = int(context) // int(str(section.get("max_concurrency", 1)))
        section["context"] = max(256, share)
    if words[0] != "llama-server":
        section["executable"] = words[0]
    return {**section, "args": rest} if rest else section


def _take(words: list[str], options: Sequence[str]) -> str | None:
    """The option's value, taken out of the words."""
    found = None
    for number in range(len(words) - 1, -1, -1):
        name, equals, value = words[number].partition("=")
        if name not in options:
            continue
        if equals:
            found = value
            del words[number]
        elif number + 1 < len(words):
            found = words[number + 1]
            del words[number : number + 2]
    return found


def _value(words: Sequence[str], options: Sequence[str]) -> str | None:
    return _take(list(words), options) if words[1:2] != ["-m"] else _take(list(words[3:]), options)


def _positional(words: Sequence[str]) -> str | None:
    """`vllm serve MODEL`, `max serve MODEL`, `ramalama serve MODEL`."""
    if len(words) > 2 and words[1] == "serve" and not words[2].startswith("-"):
        return words[2]
    return None


def _with_our_port(words: Sequence[str]) -> list[str]:
    """The gateway chooses a free port each time."""
    made = list(words)
    for number, word in enumerate(made):
        if word in _PORT_OPTIONS and number + 1 < len(made):
            made[number + 1] = "{port}"
        elif word.startswith("--port="):
            made[number] = "--port={port}"
    if not any("{port}" in word for word in made):
        made += ["--port", "{port}"]
    return made
