"""From a runtime's section and its engine's recipe to the command that starts it."""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Protocol

from anyio import to_thread

from runtimes import base, process
from runtimes.settings import EngineRecipe, RuntimeSettings

PLACEHOLDER = re.compile(r"\{([a-z]+)\}")
GGUF_MAGIC = b"GGUF"


class Unstartable(Exception):
    """Known before anything was started."""

    def __init__(self, failure: base.FailureClass, message: str) -> None:
        super().__init__(message)
        self.failure = failure


def plain(line: str) -> str:
    """No redaction beyond the home directory, whose path names its user."""
    home = str(Path.home())
    return line.replace(home, "~") if len(home) > 1 else line


@dataclass(frozen=True, slots=True)
class Places:
    """Where runtimes keep what they need, and what of a log may be shown."""

    logs: Path
    models: Path
    redact: Callable[[str], str] = field(default=plain)


class Launch(Protocol):
    """What a process lifecycle needs to start its engine."""

    async def prepare(self) -> None:
        """Check or make what the engine needs. Raises `Unstartable`."""

    def command(self, port: int, nonce: str) -> process.Command:
        """The command for this port."""

    def heartbeat(self) -> Path | None:
        """A file to touch while the engine is ours, if it looks for one."""


@dataclass(frozen=True, slots=True)
class RecipeLaunch:
    """A command made from the recipe's template, or the configuration's own."""

    spec: base.RuntimeSpec
    settings: RuntimeSettings
    recipe: EngineRecipe
    places: Places

    async def prepare(self) -> None:
        """See that the model is there and is what the engine reads."""
        await to_thread.run_sync(check_model, self.settings, self.recipe)

    def command(self, port: int, nonce: str) -> process.Command:
        """Every placeholder fills one argument; nothing is ever split or quoted."""
        values = self._values(port, nonce)
        argv = [fill(part, values) for part in self._template()]
        if self.settings.executable and self.settings.cmd is None:
            argv[0] = str(Path(self.settings.executable).expanduser())
        env = {name: fill(value, values) for name, value in self.recipe.env.items()}
        return process.Command(
            argv=argv,
            log=self.places.logs / f"{self.spec.name}.log",
            cwd=self.places.logs,
            env={**env, **self.settings.env},
        )

    def heartbeat(self) -> Path | None:
        """Engines that we did not write do not look for one."""
        return None

    def _template(self) -> Sequence[str]:
        settings, recipe = self.settings, self.recipe
        if settings.cmd is not None:
            return settings.cmd
        return [
            *recipe.argv,
            *(recipe.with_context if self.spec.context_tokens else []),
            *recipe.with_slots,
            *(recipe.with_embeddings if "embeddings" in self.spec.capabilities else []),
            *settings.args,
        ]

    def _values(self, port: int, nonce: str) -> Mapping[str, str]:
        context = self.spec.context_tokens or 0
        return {
            **names(self.spec.name, self.settings),
            "port": str(port),
            "context": str(context),
            # llama.cpp divides what it is given among its slots.
            "total": str(context * self.spec.max_concurrency),
            "slots": str(self.spec.max_concurrency),
            "alias": self.spec.upstream_model,
            "nonce": nonce,
            "python": sys.executable,
            "oneshot": str(Path(__file__).with_name("oneshot_child.py")),
        }


def names(runtime: str, settings: RuntimeSettings) -> dict[str, str]:
    """What a runtime and its model are called, in every form that engines ask for."""
    model = model_path(settings)
    path = PurePath(model)
    return {
        "name": runtime,
        "alias": runtime,
        "model": model,
        "file": path.name,
        "stem": path.stem,
        "folder": str(path.parent),
    }


def fill(template: str, values: Mapping[str, str]) -> str:
    """Fill the placeholders of one argument; what is in braces but no placeholder stays."""
    return PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), template)


def model_path(settings: RuntimeSettings) -> str:
    """The model as the engine is told: `~` is ours to expand, as there is no shell."""
    model = settings.model or ""
    return str(Path(model).expanduser()) if model.startswith("~") else model


def check_model(settings: RuntimeSettings, recipe: EngineRecipe) -> None:
    """Raises `Unstartable` when the model cannot be what the engine reads."""
    if settings.cmd is not None or recipe.model_is in ("none", "name"):
        return
    path = Path(model_path(settings))
    missing = base.FailureClass.MODEL_MISSING
    if recipe.model_is == "path_or_name" and not path.is_absolute():
        return
    if not path.exists():
        raise Unstartable(missing, f"there is no model at {plain(str(path))}")
    if recipe.model_is == "folder" and not path.is_dir():
        raise Unstartable(missing, f"{plain(str(path))} is not a folder; this engine reads folders")
    if recipe.model_is == "gguf":
        check_gguf(path)


def check_gguf(path: Path) -> None:
    """Engines say the same of a missing, a truncated and a foreign file; this says which it is."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        problem = f"cannot read {plain(str(path))}: {error.strerror}"
        raise Unstartable(base.FailureClass.MODEL_MISSING, problem) from None
    if magic != GGUF_MAGIC:
        problem = f"{plain(str(path))} is not a GGUF file"
        raise Unstartable(base.FailureClass.MODEL_MISSING, problem)
