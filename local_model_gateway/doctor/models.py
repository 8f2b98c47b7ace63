"""Checks of each configured model: its engine, its file, its last failure."""

import importlib.util
import shutil
import sys
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from local_model_gateway.detection import probe
from local_model_gateway.doctor.finding import Case, Finding, fail, ok
from recipes import loader
from recipes.front_matter import Kind
from runtimes.settings import EngineRecipe, LifecycleKind, RuntimeSettings

SUBJECT = "Models"
_SERVED_ELSEWHERE = frozenset({LifecycleKind.OLLAMA, LifecycleKind.HTTP_SWAP})


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
        yield ok(
            "MODELS",
            SUBJECT,
            f"{len(case.settings.runtimes)} configured, engines and files are there",
        )


def failures(case: Case) -> Iterator[Finding]:
    """What the gateway tried and could not load."""
    for line in (case.picture or {}).get("runtimes", ()):
        error = line.get("last_error")
        if error and line.get("failures"):
            yield fail(
                "RUNTIME-FAILED",
                SUBJECT,
                f"{line['name']} did not start ({error.get('class')}, exit code {error.get('exit_code')})",
                _last(error) or "Its log says why.",
                case.command(f"logs --source {line['name']}"),
            )


def _runtime(case: Case, name: str, settings: RuntimeSettings) -> Iterator[Finding]:
    front = loader.find(Kind.ENGINE, settings.engine).front  # an unknown one is no configuration
    recipe = EngineRecipe.model_validate(front.engine)
    yield from _program(name, settings, recipe)
    yield from _file(name, settings, recipe)
    if not case.quick:
        yield from _server(name, settings, recipe)


def _program(name: str, settings: RuntimeSettings, recipe: EngineRecipe) -> Iterator[Finding]:
    if recipe.lifecycle is LifecycleKind.EMBEDDED:
        if importlib.util.find_spec("xllamacpp") is None:
            yield fail(
                "EMBEDDED-MISSING",
                SUBJECT,
                f"{name}: the embedded engine is not installed",
                "It is an optional part.",
                f"{sys.executable} -m pip install 'local-model-gateway[embedded]'",
            )
        return
    words = settings.cmd or ([settings.executable] if settings.executable else recipe.argv)
    if words and words[0] and shutil.which(words[0]) is None:
        yield fail(
            "ENGINE-MISSING",
            SUBJECT,
            f"{name}: the program {words[0]} is not on the PATH",
            "The engine cannot be started.",
            f"lmg recipes show {settings.engine}",
        )


def _file(name: str, settings: RuntimeSettings, recipe: EngineRecipe) -> Iterator[Finding]:
    is_path = recipe.model_is in {"gguf", "folder"} or (settings.model or "").startswith(("/", "~"))
    if settings.model is None or not is_path:
        return
    file = Path(settings.model).expanduser()
    if not file.exists():
        yield fail(
            "MODEL-MISSING",
            SUBJECT,
            f"{name}: {settings.model} is not there",
            "It was moved, or its disk is not mounted.",
            f"ls -l {file.parent}",
        )


def _server(name: str, settings: RuntimeSettings, recipe: EngineRecipe) -> Iterator[Finding]:
    url = settings.url or recipe.default_url
    if recipe.lifecycle not in _SERVED_ELSEWHERE or url is None:
        return
    parts = urllib.parse.urlsplit(url)
    if parts.hostname not in {"127.0.0.1", "localhost"}:
        return
    if probe.get(parts.port or 80, "/").status == 0:
        yield fail(
            "ENGINE-DOWN",
            SUBJECT,
            f"{name}: {settings.engine} does not answer at {url}",
            "The gateway loads models into it, and does not start it.",
            f"lmg recipes show {settings.engine}",
        )


def _last(error: Mapping[str, Any]) -> str:  # Any: JSON
    lines = [str(line) for line in error.get("log_tail", ()) if str(line).strip()]
    return lines[-1][:200] if lines else ""
