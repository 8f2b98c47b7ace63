"""From a start command to the runtime's section that amounts to it; also for a process that runs now."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from local_model_gateway.importing import dialects, hub_cache
from local_model_gateway.importing.carried import NotCarried, Section
from local_model_gateway.importing.dialects import Dialect

SMALLEST_CONTEXT = 256
_PYTHON = re.compile(r"(python|pypy)[0-9.]*(\.exe)?")
_FOR_A_SHELL = re.compile(r"[;&|<>`]|\$\(")
_BLANK = re.compile(r"<[A-Za-z][A-Za-z0-9_ -]*>")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_REPOSITORY = ("-hf", "-hfr", "--hf-repo")
_ITS_FILE = ("-hff", "--hf-file")
_ELSEWHERE = ("-mu", "--model-url", "-dr", "--docker-repo")
_NUMBER = re.compile(r"-?[0-9.]+")


@dataclass(slots=True)
class Understood:
    """What a start command amounts to."""

    section: Section
    names: list[str] = field(default_factory=list)
    """What the engine was told to call its model."""
    notes: list[str] = field(default_factory=list)
    """What is not quite the same."""


def words_of(command: object, *, for_shell: bool = False) -> list[str]:
    """A start command as a list of words, without comment lines; `for_shell`: a shell would have read it."""
    if isinstance(command, list):
        return [str(word) for word in command]
    if for_shell:
        text = _one_line(str(command))
    else:
        lines = without_comments(str(command))
        text = " ".join(line.rstrip().removesuffix("\\") for line in lines)
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise NotCarried(f"its command cannot be split into words ({error})") from None
    if for_shell and _FOR_A_SHELL.search(_unquoted(text)):
        raise NotCarried(
            "its command is for a shell (it has one of ; & | < > `); "
            "put it into a script and name that as `executable`"
        )
    return words


def without_comments(text: str) -> list[str]:
    """The lines that are not comments."""
    return [line for line in text.splitlines() if not line.lstrip().startswith("#")]


def understood(words: Sequence[str], *, model: str | None = None, called: str = "") -> Understood:
    """The engine and its settings, with this model if it is known from elsewhere.

    `called` is how clients call it, which is its file's name for an engine that is only told a folder.
    Raises `NotCarried` for what needs a person.
    """
    plain, env = _unwrapped(list(words))
    if not plain:
        raise NotCarried("it has no command")
    if blank := next((word for word in plain if _BLANK.search(word)), None):
        raise NotCarried(f"{blank} is still to be filled in")
    head, rest, dialect, exact = _recognised(plain)
    _refuse_impossible(rest, dialect)
    found = Understood({"engine": dialect.engine, "model": _model_of(rest, dialect, model, called)})
    words_for = _taken(rest, dialect.name)
    found.names = [name.strip() for word in words_for for name in word.split(",") if name.strip()]
    _taken(rest, dialect.ours)
    rest = [word for word in rest if word not in dialect.switches]
    sizes = _sizes(found, rest, dialect)
    if dialect.engine == "llama-server":
        rest = _what_for(found, rest)
    if not exact:
        found.section["cmd"] = [*head, *_said(dialect, rest), *sizes]
    else:
        if head[0] not in _PLAIN_PROGRAMS:
            found.section["executable"] = head[0]
        if rest:
            found.section["args"] = rest
    if env:
        found.section["env"] = env
    return found


def settled(section: Section, folder: Path) -> Section:
    """With paths that mean the same from anywhere: the gateway runs engines in a folder of its own."""
    made = dict(section)
    model = str(section.get("model", ""))
    by_file = section.get("engine") in ("llama-server", "koboldcpp", "embedded", "localai")
    if _relative(model) and (by_file or (folder / model).exists()):
        made["model"] = str(folder / model)
    if _relative(str(section.get("executable", "/"))) and "/" in str(section["executable"]):
        made["executable"] = str(folder / str(section["executable"]))
    for key in ("args", "cmd"):
        words = section.get(key)
        if isinstance(words, list):
            made[key] = [_found_in(str(word), folder) for word in words]
    return made


_PLAIN_PROGRAMS = frozenset(
    head[0] for head, _, exact in dialects.HEADS if exact and head[0] != "python"
) - {"koboldcpp.py"} | {"python3"}


def _one_line(script: str) -> str:
    """Of a shell script that is one command; a shell ends a command where its line ends."""
    lines = without_comments(script.replace("\\\n", ""))
    commands = [line for line in lines if line.strip()]
    if len(commands) > 1:
        raise NotCarried(
            "its command is for a shell (it has several lines); "
            "put it into a script and name that as `executable`"
        )
    return "".join(commands)


def _unquoted(text: str) -> str:
    """Without what stands in quotes, where those characters mean nothing."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|\\.", "", text)


def _unwrapped(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """Without what only prepares the start: assignments, `env`, `exec`, `nohup`, a shell with one command."""
    env: dict[str, str] = {}
    while words:
        program = PurePath(words[0]).name
        if _ASSIGNMENT.match(words[0]):
            name, _, value = words.pop(0).partition("=")
            env[name] = value
        elif program in ("env", "exec", "nohup"):
            words.pop(0)
        elif program in ("sh", "bash", "zsh", "dash") and len(words) == 3 and words[1] == "-c":
            words = words_of(words[2], for_shell=True)
        else:
            break
    return words, env


def _recognised(words: list[str]) -> tuple[list[str], list[str], Dialect, bool]:
    """The words that start the engine, its options, and how to read them."""
    interpreter = _PYTHON.fullmatch(PurePath(words[0]).name) is not None
    if interpreter and len(words) > 1 and not words[1].startswith("-"):
        script = PurePath(words[1]).name
        if not script.endswith(".py"):
            return _recognised(words[1:])  # what pip installs is a script with its own interpreter
        head, rest, dialect, _ = _recognised(words[1:])
        return [words[0], *head], rest, dialect, False
    program = "python" if interpreter else PurePath(words[0]).name.removesuffix(".exe")
    plain = [program, *words[1:]]
    for begin, dialect, exact in dialects.HEADS:
        if plain[: len(begin)] == list(begin):
            return words[: len(begin)], words[len(begin) :], dialect, exact
    # Builds are kept under names such as llama-server-b9120.
    if program.startswith(("llama-server", "koboldcpp")):
        found = dialects.LLAMA_SERVER if program[0] == "l" else dialects.KOBOLDCPP
        return words[:1], words[1:], found, True
    raise NotCarried(
        f"it runs `{words[0]}`, for which there is no recipe; name the engine's own program, or give "
        "the recipe `service` this as its start_cmd"
    )


def _refuse_impossible(rest: list[str], dialect: Dialect) -> None:
    for option in (word.partition("=")[0] for word in rest):
        if why := dialect.impossible.get(option):
            raise NotCarried(f"its option {option} cannot be carried: {why}")


def _model_of(rest: list[str], dialect: Dialect, known: str | None, called: str) -> str:
    """Taken out of the words, where it is not known from elsewhere."""
    fetched = _fetched(rest, known) if dialect.engine == "llama-server" else None
    model = known or _model(rest, dialect) or fetched
    if model is None and called and any(word in dialect.folder for word in rest):
        model = called
    if model is None:
        raise NotCarried("its command names no model")
    if (folder := _taken(rest, dialect.folder)) and "/" not in model:
        return f"{folder[-1].rstrip('/')}/{model}"
    return model


def _fetched(rest: list[str], known: str | None) -> str | None:
    """The file behind a name of a hub, if it was fetched before; nothing is downloaded here."""
    repository, file = _taken(rest, _REPOSITORY), _taken(rest, _ITS_FILE)
    elsewhere = _taken(rest, _ELSEWHERE)
    if any(word.partition("=")[0] in ("-m", "--model") for word in rest):
        return None
    there = hub_cache.found(repository[-1], file[-1] if file else None) if repository else None
    if there is None and known is None and (named := [*repository, *elsewhere]):
        raise NotCarried(
            f"it is fetched from a hub ({named[-1]}), it is not among the files that were fetched "
            "before, and nothing is downloaded here; name its file as `model`"
        )
    if there is None:
        return None
    if there[1] is not None and "--mmproj" not in rest and "--no-mmproj" not in rest:
        rest += ["--mmproj", str(there[1])]
    return str(there[0])


def _model(rest: list[str], dialect: Dialect) -> str | None:
    if found := _taken(rest, dialect.model):
        return found[-1]
    if not dialect.positional:
        return None
    if rest and not rest[0].startswith("-"):
        return rest.pop(0)
    # Otherwise the last word that is no option's value.
    known = {*dialect.values, *dialect.ours, *dialect.slots, *dialect.context}
    known |= {*dialect.name, *dialect.folder}
    if len(rest) > 1 and not rest[-1].startswith("-") and rest[-2] not in known:
        return None if _NUMBER.fullmatch(rest[-1]) else rest.pop()
    return None


def _sizes(found: Understood, rest: list[str], dialect: Dialect) -> list[str]:
    """Slots and context into the section, and as the words that say them where the command is the user's own."""
    slots = _count(rest, dialect.slots, 1)
    context = _count(rest, dialect.context, SMALLEST_CONTEXT)
    words: list[str] = []
    if slots is not None:
        found.section["max_concurrency"] = slots
        words += [dialect.slots[-1], str(slots)]
    if context is not None:
        if dialect.shared_context:
            # Its number is for all answers together, ours for each.
            found.section.setdefault("max_concurrency", 1)
            words += [dialect.context[-1], str(context)]
            context = max(SMALLEST_CONTEXT, context // (slots or 1))
        else:
            words += [dialect.context[-1], str(context)]
        found.section["context"] = context
    elif dialect.shared_context:
        found.notes.append(
            "it names no context, and would take all that the model was trained with; "
            "here it is 8192 tokens for each answer: set `context`"
        )
    return words


def _count(rest: list[str], options: Sequence[str], least: int) -> int | None:
    """A plain number is taken out; anything else (`auto`, `32k`, `0`) stays among the words."""
    before = list(rest)
    found = _taken(rest, options)
    if found and found[-1].isdigit() and int(found[-1]) >= least:
        return int(found[-1])
    if found and found[-1] not in ("0", "-1"):
        rest[:] = before
    return None


def _what_for(found: Understood, rest: list[str]) -> list[str]:
    """What the model can do; the recipe switches embeddings on where the section says so."""
    if any(word.partition("=")[0] in ("--mmproj", "-mm") for word in rest):
        found.section["capabilities"] = ["chat", "completions", "tools", "vision"]
    if not {"--embedding", "--embeddings"} & {*rest}:
        return rest
    found.section["capabilities"] = ["embeddings"]
    return [word for word in rest if word not in ("--embedding", "--embeddings")]


def _said(dialect: Dialect, rest: list[str]) -> list[str]:
    """The gateway's words, and the rest; a model that stands by itself goes last."""
    if dialect.said[-1] == "{model}":
        return [*dialect.said[:-1], *rest, "{model}"]
    return [*dialect.said, *rest]


def _taken(words: list[str], options: Sequence[str]) -> list[str]:
    """The options' values, taken out of the words; the last one counts."""
    found: list[str] = []
    number = 0
    while number < len(words):
        name, equals, value = words[number].partition("=")
        if name not in options:
            number += 1
        elif equals:
            found.append(value)
            del words[number]
        elif number + 1 < len(words):
            found.append(words[number + 1])
            del words[number : number + 2]
        else:
            del words[number]
    return found


def _relative(word: str) -> bool:
    return bool(word) and not word.startswith(("/", "~", "$", "{", "-")) and "://" not in word


def _found_in(word: str, folder: Path) -> str:
    """An argument that names a file there; a bare word such as `8` is never taken for one."""
    option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    looks = "/" in value or "." in value
    if not (looks and _relative(value) and not _NUMBER.fullmatch(value)):
        return word
    try:
        there = (folder / value).exists()
    except OSError:
        return word
    return f"{option}{equals}{folder / value}" if there else word
