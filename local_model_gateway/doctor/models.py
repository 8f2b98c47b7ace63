"""Checks of each configured model: its engine, its file, its port, its last failure."""

import functools
import importlib.util
import math
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio

from local_model_gateway import paths, phrases
from local_model_gateway.detection import at_once, engines, probe
from local_model_gateway.doctor import memory, programs, served
from local_model_gateway.doctor.finding import Case, Finding, fail, mend, note, ok, show, skip
from runtimes.settings import EngineRecipe, LifecycleKind, RuntimeSettings

SUBJECT = "Models"
PROBE_S = probe.TIMEOUT_S
_MAGIC = b"GGUF"
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
_SERVED_ELSEWHERE = frozenset({LifecycleKind.OLLAMA, LifecycleKind.HTTP_SWAP, LifecycleKind.REMOTE})
_TELL_VERSION = frozenset({"llama-server"})
"""Programs that say `--version` at once; others import half a library first, or start something."""


def runtimes(case: Case) -> Iterator[Finding]:
    """Every configured one; what is wrong with it keeps it from starting."""
    if case.settings is None:
        return
    bad = False
    for name, settings in case.settings.runtimes.items():
        for finding in _runtime(case, name, settings):
            bad = True
            yield finding
    if not bad and case.settings.runtimes:
        count = len(case.settings.runtimes)
        yield ok("MODELS", SUBJECT, f"{count} configured, engines and files are there")


def servers(case: Case) -> Iterator[Finding]:
    """Engines that run already and that the gateway loads models into."""
    if case.settings is None or case.quick:
        return
    looks = {
        name: functools.partial(_listed, case, name, settings)
        for name, settings in case.settings.runtimes.items()
    }
    for found in at_once.look(looks, 2 * PROBE_S).values():
        yield from found if isinstance(found, list) else ()


def versions(case: Case) -> Iterator[Finding]:
    """Whether each engine's program runs at all: a missing library shows here and nowhere else."""
    if case.settings is None or case.quick:
        return
    words = {_program_of(one) for one in case.settings.runtimes.values()}
    wanted = {word for word in words if word and Path(word).name in _TELL_VERSION}
    runnable = [word for word in sorted(wanted) if programs.found(word, case.env)]
    looks = {word: functools.partial(_version, word, case.env) for word in runnable}
    for word, said in at_once.look(looks, 2 * PROBE_S).items():
        made = isinstance(said, Finding)
        yield said if made else skip("ENGINE-VERSION", "Engines", f"{word}: {said}")


def failures(case: Case) -> Iterator[Finding]:
    """What the gateway tried and could not load."""
    for row in case.runtimes:
        error = row.get("last_error")
        if isinstance(error, dict) and row.get("failures"):
            name = str(row["name"])
            yield fail(
                "RUNTIME-FAILED",
                SUBJECT,
                f"{name} did not start ({error.get('class')}, exit code {error.get('exit_code')})",
                _last(error) or f"Its log says why: {case.command(f'logs --source {name}')}",
                # Once the reason is gone; until then it says the reason again.
                mend(f"{_pause(row)}{case.command(f'load {shlex.quote(name)}')}"),
            )


def _pause(row: Mapping[str, Any]) -> str:  # Any: JSON
    """Before that, a load is answered with the failure that is known."""
    left = row.get("retry_in_s")
    return f"sleep {math.ceil(left) + 1} && " if isinstance(left, int | float) and left > 0 else ""


def silent(case: Case) -> Iterator[Finding]:
    """Engines of the gateway's own that accept a connection and say nothing."""
    if case.quick or case.gateway_pid is None:
        return
    children = case.family - {case.gateway_pid}
    ports = {port: pid for port, pid in case.table.listeners().items() if pid in children}
    ready = {str(row["name"]) for row in case.runtimes if row.get("state") == "ready"}
    if not ready:
        return
    looks = {str(port): functools.partial(probe.get, port, "/health") for port in ports}
    answers = at_once.look(looks, 2 * PROBE_S)
    for port, pid in ports.items():
        answer = answers.get(str(port))
        if isinstance(answer, probe.Answer) and answer.status:
            continue
        row = case.table.rows()[pid]
        yield note(
            "RUNTIME-SILENT",
            SUBJECT,
            f"{row.program}, pid {pid}, of {', '.join(sorted(ready))}, does not answer on :{port}",
            "It is very busy, or hangs; the gateway ends it when it stays silent.",
            show(case.command("ps")),
        )


def _runtime(case: Case, name: str, settings: RuntimeSettings) -> Iterator[Finding]:
    recipe = served.recipe(settings)
    yield from _program(case, name, settings, recipe)
    yield from _file(name, settings, recipe)
    yield from _port(case, name, settings)


def _program(
    case: Case, name: str, settings: RuntimeSettings, recipe: EngineRecipe
) -> Iterator[Finding]:
    if recipe.lifecycle is LifecycleKind.EMBEDDED:
        if importlib.util.find_spec("xllamacpp") is None:
            yield fail(
                "EMBEDDED-MISSING",
                SUBJECT,
                f"{name}: the embedded engine is not installed",
                "It is an optional part.",
                mend(
                    f"{shlex.quote(sys.executable)} -m pip install 'local-model-gateway[embedded]'"
                ),
            )
        return
    commands = (settings.start_cmd, settings.stop_cmd, settings.status_cmd)
    for word in filter(None, (_program_of(settings), *(one[0] for one in commands if one))):
        if programs.missing(word, case.env):
            yield fail(
                "ENGINE-MISSING",
                SUBJECT,
                f"{name}: the program {word} is not on the PATH",
                "The engine cannot be started.",
                show(f"lmg recipes show {settings.engine}"),
            )
        elif closed := programs.not_executable("ENGINE-NOT-EXECUTABLE", SUBJECT, name, word):
            yield closed


def _program_of(settings: RuntimeSettings) -> str | None:
    """The first word of its command; None where somebody else starts it, or the word is ours to fill in."""
    if settings.start_cmd or settings.unit or settings.url:
        return None
    recipe = served.recipe(settings)
    words = settings.cmd or ([settings.executable] if settings.executable else recipe.argv)
    return words[0] if words and words[0] and not words[0].startswith("{") else None


def _file(name: str, settings: RuntimeSettings, recipe: EngineRecipe) -> Iterator[Finding]:
    is_path = recipe.model_is in {"gguf", "folder"} or (settings.model or "").startswith(("/", "~"))
    if settings.model is None or not is_path:
        return
    parts = _parts(Path(settings.model).expanduser())
    gone = [file for file in parts if not file.exists()]
    if gone:
        more = f" and {phrases.count(len(gone) - 1, 'other part')}" if len(gone) > 1 else ""
        are = "are" if more else "is"
        yield fail(
            "MODEL-MISSING",
            SUBJECT,
            f"{name}: {paths.shown(gone[0])}{more} {are} not there",
            "It was moved, or its disk is not mounted.",
            show(f"ls -l {shlex.quote(str(_nearest(gone[0])))}"),
        )
        return
    for file in parts:
        if file.suffix == ".gguf" and file.is_file() and not _is_gguf(file):
            yield fail(
                "MODEL-NOT-GGUF",
                SUBJECT,
                f"{name}: {paths.shown(file)} does not begin as a GGUF file",
                "A download that broke off, or a pointer to a file that was never fetched.",
                show(f"ls -l {shlex.quote(str(file))}"),
            )


def _nearest(file: Path) -> Path:
    """The folder that should hold it, or what is left of the way there."""
    return next(folder for folder in file.absolute().parents if folder.exists())


def _parts(file: Path) -> list[Path]:
    """The file, or all files of a model in several."""
    match = _PART.search(file.name)
    if match is None:
        return [file]
    stem, total = file.name[: match.start()], int(match[2])
    numbers = range(1, min(total, 1000) + 1)
    return [file.with_name(f"{stem}-{number:05}-of-{match[2]}.gguf") for number in numbers]


def _is_gguf(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return stream.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def _port(case: Case, name: str, settings: RuntimeSettings) -> Iterator[Finding]:
    """A port of its own has to be free while the engine is off."""
    state = next((row.get("state") for row in case.runtimes if row.get("name") == name), "stopped")
    holder = case.table.listening_on(settings.port) if settings.port else None
    if holder is None or state not in {"stopped", "unknown"} or holder.pid in case.family:
        return
    yield fail(
        "RUNTIME-PORT-TAKEN",
        SUBJECT,
        f"{name}: port {settings.port} belongs to {holder.program}, pid {holder.pid}",
        "Its engine cannot listen there.",
        memory.adopt(case, holder.pid, [settings.port or 0] if holder.engine else []),
    )


def _listed(case: Case, name: str, settings: RuntimeSettings) -> list[Finding]:
    return list(_server(case, name, settings))


def _server(case: Case, name: str, settings: RuntimeSettings) -> Iterator[Finding]:
    recipe, at = served.recipe(settings), served.address(settings)
    if recipe.lifecycle not in _SERVED_ELSEWHERE or at is None:
        return
    url, port = at
    if probe.get(port, "/").status == 0:
        yield fail(
            "ENGINE-DOWN",
            SUBJECT,
            f"{name}: {settings.engine} does not answer at {url}",
            "The gateway loads models into it, and does not start it.",
            show(f"lmg recipes show {settings.engine}"),
        )
    elif recipe.lifecycle is LifecycleKind.OLLAMA and settings.model:
        yield from _pulled(name, settings.model, port)


def _pulled(name: str, model: str, port: int) -> Iterator[Finding]:
    engine = engines.identify(port)
    if engine is None or not engine.models:
        return
    if not {model, f"{model}:latest"} & set(engine.models):
        yield fail(
            "MODEL-NOT-PULLED",
            SUBJECT,
            f"{name}: Ollama does not have {model}",
            "It has to be downloaded once.",
            mend(f"ollama pull {shlex.quote(model)}"),
        )


def _version(word: str, env: Mapping[str, str]) -> Finding:
    program = str(Path(word).expanduser()) if "/" in word else word

    async def once() -> tuple[int, str] | None:
        with anyio.move_on_after(PROBE_S):
            ran = await anyio.run_process([program, "--version"], check=False, env=dict(env))
            return ran.returncode, (ran.stdout + ran.stderr).decode(errors="replace")
        return None

    try:
        ended = anyio.run(once)
    except OSError as error:
        return _broken(word, str(error.strerror))
    if ended is None:
        return skip("ENGINE-VERSION", "Engines", f"{word} did not tell its version in time")
    code, said = ended
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if code != 0:
        return _broken(word, f"exit code {code}, {lines[-1][:160] if lines else 'no word'}")
    version = next((line for line in lines if line.startswith("version")), "")
    return ok("ENGINE-VERSION", "Engines", f"{word} {version[:80].replace(':', '')}".strip())


def _broken(word: str, said: str) -> Finding:
    return fail(
        "ENGINE-BROKEN",
        "Engines",
        f"{word} does not run: {said}",
        "It is built for another machine, or a library of it is missing.",
        show(f"{shlex.quote(word)} --version"),
    )


def _last(error: Mapping[str, Any]) -> str:  # Any: JSON
    lines = [str(line) for line in error.get("log_tail", ()) if str(line).strip()]
    return lines[-1][:200] if lines else ""
