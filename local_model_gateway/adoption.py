"""An engine that somebody started by hand: found by pid or port, understood, and ended politely."""

import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from local_model_gateway import errors
from local_model_gateway.detection import engines, probe, processes, survey
from local_model_gateway.importing import command_lines
from local_model_gateway.importing.carried import NotCarried, Section
from local_model_gateway.importing.command_lines import Understood
from runtimes import process_tree

POLL_S = 0.1
MOST_PORTS = 65536
_MANAGERS = ("ollama", "lms", "lm studio", "lm-studio", "llama-swap", "llama-server", "local-ai")
"""Programs whose children are engines that they start and stop by themselves."""
_ENGINE_VARIABLES = re.compile(
    r"(CUDA|NVIDIA|HIP|ROCR|HSA|GGML|LLAMA|VLLM|SGLANG|SGL|HF|TRANSFORMERS|TORCH|PYTORCH|TRITON|NCCL|OMP|MLX"
    r"|MAX|MODULAR|GPU|OLLAMA|KOBOLDCPP|ZE|SYCL|VK)_\w+|LD_LIBRARY_PATH|DYLD_LIBRARY_PATH|HF_HOME"
)
"""Variables that change how an engine computes, or where its libraries and models are."""
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL")
_SAID_BY_US = frozenset(
    {"LLAMA_ARG_PORT", "LLAMA_ARG_HOST", "LLAMA_ARG_ALIAS", "LLAMA_ARG_MODEL", "VLLM_PORT"}
    | {"VLLM_HOST_IP", "MAX_SERVE_HOST", "MAX_SERVE_PORT", "LLAMA_SERVER_ROUTER_PORT"}
)
_UNIT = re.compile(r"/([^/]+\.service)(?:/|$)")
_SESSION = re.compile(r"^(user@\d+|session-.*|app-.*|.*terminal.*|ssh.*|vte-.*)\.(service|scope)$")
_CONTAINER = re.compile(r"/(?:docker|libpod|lxc|machine\.slice|kubepods)[/-]|cri-containerd")


@dataclass(frozen=True, slots=True)
class Stray:
    """A running engine that nobody here started."""

    pid: int
    """The process that was started; what listens may descend from it."""
    port: int
    words: tuple[str, ...]
    """Its command line."""
    folder: Path
    """What its relative paths are relative to."""
    env: Mapping[str, str]
    answers: engines.Engine | None
    """What it says of itself; nothing where it asks for a key."""
    family: frozenset[int]
    created: float
    connections: int
    note: str | None = None
    """Who would start it again."""


@dataclass(slots=True)
class Adopted:
    """The runtime that takes its place."""

    name: str
    section: Section
    notes: list[str] = field(default_factory=list)


def find(given: str) -> Stray | engines.Engine:
    """By pid or port; a server that manages its own models is only named. Raises `GatewayError`."""
    number = given.removeprefix(":")
    if not number.isdigit():
        raise errors.NoSuchThing(
            f"{given!r} is neither a pid nor a port; `lmg ps` and `lmg doctor` list both"
        )
    table = processes.Table()
    pid, ports = _meant(int(number), table, port_only=given.startswith(":"))
    answering = [(port, engines.identify(port)) for port in ports]
    port, engine = next(
        ((port, engine) for port, engine in answering if engine is not None), (ports[0], None)
    )
    if engine is not None and engine.engine == engines.OURS:
        raise errors.RefusedByGateway(f"port {port} is a gateway; its engines are managed already")
    if engine is not None and (engine.recipe or engine.engine == "tabbyapi"):
        return engine
    if engine is None and probe.get(port, "/v1/models").status not in (401, 403):
        raise errors.RefusedByGateway(
            f"pid {pid} on port {port} does not answer as an engine; if it still loads, try again when it is ready"
        )
    return _stray(_started(pid, table), port, engine, table)


def understood(stray: Stray, name: str | None = None) -> Adopted:
    """The runtime that its command line amounts to; what that leaves open is asked of the engine."""
    try:
        found = command_lines.understood(
            [command_lines.literal(word) for word in stray.words], model=_loaded_file(stray)
        )
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
    env = {**_variables(stray), **_mapping(section.get("env"))}
    if env:
        section["env"] = env
    plain = re.sub(r"-\d{5}-of-\d{5}$", "", Path(str(section["model"])).name.removesuffix(".gguf"))
    name = name or (found.names[0] if found.names else plain)
    known = [*found.names, *(stray.answers.models if stray.answers else ())]
    # What its clients call it; a path is no name that anybody typed.
    aliases = [one for one in dict.fromkeys(known) if one != name and not one.startswith("/")]
    if aliases:
        section["aliases"] = aliases
    return Adopted(name, section, found.notes)


def end(stray: Stray, patience_s: float, *, force: bool = False) -> bool:
    """Ask it to end, and wait; True when nothing of it is left. Kills only when forced."""
    left = _members(stray)
    for kill in (False, True)[: 1 + force]:
        for process in left:
            _signal(process, kill=kill)
        left = _waited_for(left, patience_s)
    return not left


def _waited_for(processes_: list[psutil.Process], patience_s: float) -> list[psutil.Process]:
    """Those that still run after that long. One that only waits to be collected by its parent has ended."""
    began = time.monotonic()
    while (left := [one for one in processes_ if _runs(one)]) and (
        time.monotonic() - began < patience_s
    ):
        time.sleep(POLL_S)
    return left


def taken_again(port: int, watch_s: float = 1.5) -> int | None:
    """Who listens there once more: something that starts it again by itself."""
    began = time.monotonic()
    while time.monotonic() - began < watch_s:
        row = processes.Table().listening_on(port)
        if row is not None:
            return row.pid
        time.sleep(POLL_S)
    return None


def _meant(number: int, table: processes.Table, *, port_only: bool) -> tuple[int, list[int]]:
    """The process, and where it or its children listen."""
    owner, row = table.listeners().get(number), table.rows().get(number)
    if port_only or row is None:
        if owner is not None:
            return owner, [number]
        if probe.get(number, "/").status:
            raise errors.RefusedByGateway(
                f"port {number} belongs to a process that this user may not see; "
                "ask its owner to stop it"
            )
        what = "listens on port" if port_only or number < MOST_PORTS else "has the pid or port"
        raise errors.NoSuchThing(f"nothing {what} {number}")
    # Only an engine's own children: below a shell, or below the first process, is somebody else.
    family = table.family(number) if _is_engine(row.words) else frozenset({number})
    ports = sorted(port for port, pid in table.listeners().items() if pid in family)
    if owner is not None and ports and number not in ports:
        raise errors.RefusedByGateway(
            f"{number} is a pid and a port; write :{number} for the port, or use port {ports[0]}"
        )
    if ports:
        return number, ports
    if owner is not None:
        return owner, [number]
    raise errors.NoSuchThing(
        f"pid {number} ({row.program}) listens nowhere; name the port, or try again when it has loaded"
    )


def _is_engine(words: Sequence[str]) -> bool:
    try:
        command_lines.understood(words)
    except NotCarried:
        return False
    return True


def _started(pid: int, table: processes.Table) -> int:
    """Upwards to what was started: an engine's own launcher has a command line that we know, too."""
    rows = table.rows()
    while (row := rows.get(pid)) is not None:
        above = rows.get(row.parent)
        if above is None or not above.words:
            break
        program = Path(above.words[0]).name.lower()
        if _is_engine(above.words):
            pid = above.pid
        elif program.startswith(_MANAGERS):
            raise errors.RefusedByGateway(
                f"pid {pid} was started by {program} (pid {above.pid}), which would start it again; "
                f"adopt or stop that one"
            )
        else:
            break
    return pid


def _stray(pid: int, port: int, engine: engines.Engine | None, table: processes.Table) -> Stray:
    family = table.family(pid)
    try:
        process = psutil.Process(pid)
        uid = process.uids().real if hasattr(process, "uids") else None
        if uid is not None and uid != os.getuid():
            raise errors.RefusedByGateway(
                f"pid {pid} belongs to {process.username()}; only who started it can hand it over"
            )
        env = process.environ()
        found = Stray(
            pid,
            port,
            tuple(process.cmdline()),
            Path(process.cwd()),
            env,
            engine,
            family,
            process.create_time(),
            _connections(port, family),
        )
    except psutil.NoSuchProcess:
        raise errors.NoSuchThing(f"pid {pid} has just ended") from None
    except psutil.AccessDenied:
        raise errors.RefusedByGateway(f"pid {pid} is not to be looked at by this user") from None
    if process_tree.MARK in env:
        raise errors.RefusedByGateway(f"pid {pid} was started by a gateway and is managed already")
    _not_somebody_elses(found)
    return found


def _not_somebody_elses(stray: Stray) -> None:
    """Whatever starts it again, or keeps it in a world of its own, must let go of it first."""
    try:
        groups = Path(f"/proc/{stray.pid}/cgroup").read_text()
    except OSError:
        return
    own = Path("/proc/self/cgroup").read_text() if sys.platform.startswith("linux") else ""
    if groups == own:
        return  # in the same world as this very command
    if _CONTAINER.search(groups):
        raise errors.RefusedByGateway(
            f"pid {stray.pid} runs in a container, whose files are not ours; stop the container, and "
            "`lmg add` the model from outside"
        )
    for unit in _UNIT.findall(groups):
        if not _SESSION.match(unit):
            user = "--user " if "/user.slice/" in groups else ""
            raise errors.RefusedByGateway(
                f"pid {stray.pid} is run by {unit}, which would start it again: "
                f"`systemctl {user}disable --now {unit}`, then `lmg add`; or let the unit be with the "
                "recipe `service` (lmg recipes show service)"
            )


def _connections(port: int, family: frozenset[int]) -> int:
    """Clients that are connected now."""
    try:
        every = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return 0
    return sum(
        one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port and one.pid in family
        for one in every
        if one.laddr
    )


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


def _variables(stray: Stray) -> dict[str, str]:
    return {
        name: command_lines.literal(value)
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
        option = word.partition("=")[0]
        secret = _SECRET.search(option.upper().replace("-", "_")) and option.startswith("-")
        shown.append("…" if hide else f"{option}=…" if secret and "=" in word else word)
        hide = bool(secret) and "=" not in word
    return shown


def _members(stray: Stray) -> list[psutil.Process]:
    """The process and what descends from it now, if it is still the same one."""
    try:
        root = psutil.Process(stray.pid)
        if root.create_time() != stray.created:
            return []
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _signal(process: psutil.Process, *, kill: bool) -> None:
    try:
        if kill:
            process.kill()
        else:
            process.terminate()
    except psutil.NoSuchProcess:
        pass
    except psutil.AccessDenied:
        raise errors.RefusedByGateway(f"pid {process.pid} may not be ended by this user") from None


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
