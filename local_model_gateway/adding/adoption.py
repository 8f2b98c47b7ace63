"""From an engine that runs to the runtime that takes its place: what its command line and itself say."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from local_model_gateway import errors
from local_model_gateway.adding.hand_started import Stray
from local_model_gateway.detection import engines, probe, survey
from local_model_gateway.importing import carried, command_lines
from local_model_gateway.importing.carried import NotCarried, Section
from local_model_gateway.importing.command_lines import Understood

_ENGINE_VARIABLES = re.compile(
    r"(CUDA|NVIDIA|HIP|ROCR|GGML|LLAMA|VLLM|SGLANG|SGL|HF|TRANSFORMERS|TORCH|PYTORCH|TRITON|NCCL|OMP|MLX"
    r"|MAX|MODULAR|GPU|OLLAMA|KOBOLDCPP|ZE|SYCL|VK)_\w+|LD_LIBRARY_PATH|DYLD_LIBRARY_PATH|HF_HOME|\w+_OVERRIDE_GFX_VERSION"
)
"""Variables that change how an engine computes, or where its libraries and models are."""
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL")
_SECRET_OPTION = re.compile(
    r"--?(.*[-_])?(key|keys|token|secret|passwo?r?d|credentials?)|-hft", re.IGNORECASE
)
"""Not `--tokenizer` or `--max-tokens`."""
_SECRET_INSIDE = re.compile(
    r"(?i)(\b\w*(?:key|token|secret|password|credential)\w*=|--?(?:[\w-]*[-_])?(?:key|token|secret|password)[ =]\s*)[^\s;&|]+"
)
"""Within a word that is a whole command, as after `sh -c`."""
_SAID_BY_US = frozenset(
    {"LLAMA_ARG_PORT", "LLAMA_ARG_HOST", "LLAMA_ARG_ALIAS", "LLAMA_ARG_MODEL", "VLLM_PORT"}
    | {"VLLM_HOST_IP", "MAX_SERVE_HOST", "MAX_SERVE_PORT", "LLAMA_SERVER_ROUTER_PORT"}
)


@dataclass(slots=True)
class Adopted:
    """The runtime that takes its place."""

    name: str
    section: Section
    notes: list[str] = field(default_factory=list)


def understood(
    stray: Stray, name: str | None = None, taken: Collection[str] = frozenset()
) -> Adopted:
    """The runtime that its command line amounts to; what that leaves open is asked of the engine.

    Raises `GatewayError`. Names that are `taken` are not given to it a second time, but for its first.
    """
    try:
        found = command_lines.understood(stray.words, model=_loaded_file(stray))
    except NotCarried as error:
        raise errors.CommandFailed(_by_hand(stray, error)) from None
    if stray.answers is not None and not _agrees(
        stray.answers.engine, str(found.section["engine"])
    ):
        raise errors.RefusedByGateway(
            f"pid {stray.pid} is started as {found.section['engine']}, but answers as "
            f"{stray.answers.engine}; nothing was changed"
        )
    section = command_lines.settled(found.section, stray.folder)
    _program(section, stray)
    _sizes(found, section, stray)
    _without_secrets(found, section)
    env = {**_variables(stray), **_mapping(section.get("env"))}
    if env:
        section["env"] = env
    plain = re.sub(r"-\d{5}-of-\d{5}$", "", Path(str(section["model"])).name.removesuffix(".gguf"))
    name = name or carried.literal(found.names[0] if found.names else plain)
    known = [*found.names, *(stray.answers.models if stray.answers else ())]
    # What its clients call it; a path is no name that anybody typed.
    free = (one for one in dict.fromkeys(known) if one != name and one not in taken)
    aliases = [one for one in free if not one.startswith("/")]
    if aliases:
        section["aliases"] = aliases
    return Adopted(name, carried.literal_section(section), found.notes)


def _loaded_file(stray: Stray) -> str | None:
    """The file that llama-server has loaded, where its command line only says where it came from."""
    named = any(word in ("-m", "--model") or word.startswith("--model=") for word in stray.words)
    if named or stray.answers is None or stray.answers.engine != "llama-server":
        return None
    props = probe.get(stray.port, "/props").json
    path = props.get("model_path") if isinstance(props, dict) else None
    return str(stray.folder / path) if isinstance(path, str) and path else None


def _agrees(says: str, started_as: str) -> bool:
    """Whether an answer fits a command line; some engines run another's server, some say nothing."""
    return says in (started_as, engines.UNKNOWN) or (
        says == "llama-server" and started_as == "ramalama"
    )


def _program(section: Section, stray: Stray) -> None:
    """By its full path: the gateway may have another PATH."""
    if "cmd" in section:
        command = section["cmd"]
        assert isinstance(command, list)
        section["cmd"] = [_path_of(str(command[0]), stray), *command[1:]]
        return
    section["executable"] = _path_of(str(section.get("executable", stray.words[0])), stray)


def _path_of(word: str, stray: Stray) -> str:
    """As it was started where that is a path; else the file behind the process."""
    if "/" in word:
        return str((stray.folder / word).absolute()) if not word.startswith("/") else word
    try:
        path = psutil.Process(stray.pid).exe()
    except psutil.Error:
        return word
    return path if Path(path).name.startswith(Path(word).name.rstrip("0123456789.")) else word


def _sizes(found: Understood, section: Section, stray: Stray) -> None:
    """What each answer may use now, where the command line leaves it to the engine."""
    if "context" in section or section["engine"] != "llama-server":
        return
    props = probe.get(stray.port, "/props").json
    generation = props.get("default_generation_settings") if isinstance(props, dict) else None
    context = generation.get("n_ctx") if isinstance(generation, dict) else None
    if isinstance(context, int) and context >= command_lines.SMALLEST_CONTEXT:
        section["context"] = context
        # Slots that nobody asked for share one context; more of our own would each take as much.
        section.setdefault("max_concurrency", 1)
        found.notes = [note for note in found.notes if "context" not in note]


def _without_secrets(found: Understood, section: Section) -> None:
    """A key is shown and written nowhere: neither one of the options nor an assignment before them."""
    for key in ("args", "cmd"):
        words = section.get(key)
        if isinstance(words, list):
            section[key], options = _without_secret_options([str(word) for word in words])
            found.notes += [
                f"{option} holds a secret and is left out: put it into the gateway's environment, "
                f"and {option} ${{env:NAME}} into `{key}`"
                for option in options
            ]
    env = _mapping(section.pop("env", None))
    for name in sorted(env):
        if _SECRET.search(name.upper()):
            del env[name]
            found.notes.append(
                f"{name} holds a secret and is left out: put it into the gateway's environment, "
                f"and {name}: ${{env:{name}}} into `env`"
            )
    if env:
        section["env"] = env
    if not section.get("args", True):
        del section["args"]


def _without_secret_options(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words without options that hold a secret, and which options those were."""
    left, options, value_too = [], [], False
    for word in words:
        option, equals, _ = word.partition("=")
        if _SECRET_OPTION.fullmatch(option):
            options.append(option)
            value_too = not equals
        elif not value_too or word.startswith("-"):
            left.append(word)
            value_too = False
        else:
            value_too = False
    return left, options


def _variables(stray: Stray) -> dict[str, str]:
    return {
        name: value
        for name, value in sorted(stray.env.items())
        if _ENGINE_VARIABLES.fullmatch(name)
        and not _SECRET.search(name)
        and name not in _SAID_BY_US
        and value.isprintable()
    }


def _mapping(value: object) -> dict[str, str]:
    return {str(key): str(item) for key, item in value.items()} if isinstance(value, dict) else {}


def _by_hand(stray: Stray, why: NotCarried) -> str:
    shown = survey.sections(
        [
            survey.Choice(
                "NAME", {"engine": "ENGINE", "model": "MODEL", "cmd": list(_shown(stray.words))}
            )
        ]
    )
    return (
        f"pid {stray.pid} was not understood: {why}. Nothing was changed. Write it by hand, with "
        f"`{{port}}` where its port stands, and see `lmg recipes`:\n\n{shown}"
    )


def _shown(words: Sequence[str]) -> list[str]:
    """Without what may be a key."""
    shown, hide = [], False
    for word in words:
        option, equals, _ = word.partition("=")
        secret = _SECRET_OPTION.fullmatch(option) is not None
        plain = f"{option}=…" if secret and equals else _SECRET_INSIDE.sub(r"\1…", word)
        shown.append("…" if hide else plain)
        hide = secret and not equals
    return shown
