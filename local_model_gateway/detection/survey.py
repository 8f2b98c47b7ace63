"""Everything at once, within hard limits, and the configuration that follows from it."""

import importlib.util
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from local_model_gateway.detection import at_once, clients, engines, model_files, processes
from runtimes import devices

MOST_MODELS = 24
LIMIT_S = 4.0
"""For everything; what is not known by then is left out."""
UNKNOWN_POOL = devices.Reading(devices.Kind.HOST, "memory of this machine", None, None)

PRESETS = """\
# Heavy presets, off until you take the `#` away and name a file that you have.
#  qwen3-32b:
#    engine: llama-server
#    model: ~/models/qwen3-32b-q4_k_m.gguf
#    memory: 24GiB
#    context: 32768
#  minimax-m2.7:
#    engine: llama-server
#    model: ~/models/minimax-m2.7-q4-00001-of-00003.gguf
#    memory: 92GiB
#    context: 65536
"""


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found."""

    pool: devices.Reading
    """The memory that models would share."""
    running: Sequence[engines.Engine]
    programs: Mapping[str, str]
    models: Sequence[model_files.ModelFile]
    clients: Sequence[clients.Client]
    holders: Sequence[processes.Holder]
    """Engines that hold memory now, and that nobody here started."""
    embedded: bool
    """The embedded engine is installed."""

    def as_json(self) -> dict[str, Any]:  # Any: JSON
        """For programs."""
        return {
            "memory": {
                "kind": self.pool.kind,
                "name": self.pool.name,
                "total_bytes": self.pool.total_bytes,
                "free_bytes": self.pool.free_bytes,
            },
            "engines": [
                {**asdict(one), "url": one.url, "usable": one.recipe is not None}
                for one in self.running
            ],
            "programs": dict(self.programs),
            "models": [
                {**asdict(one), "path": str(one.path), "name": one.name} for one in self.models
            ],
            "clients": [asdict(one) for one in self.clients],
            "holders": [asdict(one) for one in self.holders],
        }


@dataclass(frozen=True, slots=True)
class Choice:
    """One runtime that could be configured."""

    name: str
    section: Mapping[str, object]


def look(env: Mapping[str, str], home: Path, ports: Sequence[int] = engines.PORTS) -> Survey:
    """Look at ports, programs, files, clients and devices side by side; starts nothing, writes nothing."""
    found = at_once.look(
        {
            "pool": lambda: devices.Devices.of_this_machine().read(),
            "models": lambda: model_files.find(env, home),
            "clients": lambda: clients.installed(home),
            "engines": lambda: _engines(ports),
            "programs": engines.programs,
        },
        LIMIT_S,
    )

    def whole(name: str, otherwise: Any) -> Any:  # Any: each has its own type
        answer = found.get(name)
        return otherwise if answer is None or isinstance(answer, Exception) else answer

    running, holders = whole("engines", ([], []))
    return Survey(
        pool=whole("pool", UNKNOWN_POOL),
        running=running,
        programs=whole("programs", {}),
        models=whole("models", []),
        clients=whole("clients", []),
        holders=holders,
        embedded=importlib.util.find_spec("xllamacpp") is not None,
    )


def _engines(
    ports: Sequence[int],
) -> tuple[list[engines.Engine], list[processes.Holder]]:
    holders = processes.outside(None)
    # Wherever an engine's own process listens is worth a question too.
    asked = dict.fromkeys((*ports, *(port for one in holders for port in one.ports)))
    running = [one for one in engines.running(list(asked)) if one.engine != engines.OURS]
    return running, holders


def choices(survey: Survey) -> list[Choice]:
    """A runtime for each model that we know how to serve, no name twice."""
    made: dict[str, Choice] = {}
    for engine in survey.running:
        recipe = engine.recipe
        for model in engine.models if recipe else ():
            section: dict[str, object] = {"engine": recipe, "model": model}
            if engine.port not in engines.USUAL_PORTS.get(recipe or "", ()):
                section["url"] = engine.url
            add(made, model, section)
    for file in survey.models:
        served_by = server_of(file.kind, survey)
        if served_by is not None:
            add(made, file.name, {"engine": served_by, "model": str(file.path)})
    return list(made.values())[:MOST_MODELS]


def server_of(kind: str, survey: Survey) -> str | None:
    """What would serve model files of this kind here."""
    if kind == "mlx":
        return "mlx-lm" if "mlx-lm" in survey.programs else None
    if "llama-server" in survey.programs:
        return "llama-server"
    return "embedded" if survey.embedded else None


def sections(chosen: Sequence[Choice]) -> str:
    """The `runtimes:` of a configuration."""
    lines = ["runtimes:"]
    for choice in chosen:
        lines.append(f"  {_word(choice.name)}:")
        lines += [f"    {key}: {_word(value)}" for key, value in choice.section.items()]
    return "\n".join(lines)


def as_yaml(chosen: Sequence[Choice]) -> str:
    """A configuration file, short enough to read."""
    lines = ["version: 1", ""]
    if chosen:
        lines.append(sections(chosen))
    else:
        lines += ["# Nothing was found; this one is built in and says one sentence.", "runtimes:"]
        lines += ["  tiny:", "    engine: embedded"]
    return "\n".join(lines) + "\n\n" + PRESETS


def add(made: dict[str, Choice], name: str, section: dict[str, object]) -> None:
    """Under a name that fits everywhere; the name that clients know it by becomes an alias."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"
    unique, number = plain, 2
    while unique in made or any(unique in _aliases(one) for one in made.values()):
        unique, number = f"{plain}-{number}", number + 1
    taken = {alias for one in made.values() for alias in (one.name, *_aliases(one))}
    if name != unique and name not in taken:
        others = section.get("aliases")
        section = {**section, "aliases": [name, *(others if isinstance(others, list) else [])]}
    made[unique] = Choice(unique, section)


def _aliases(choice: Choice) -> list[str]:
    aliases = choice.section.get("aliases")
    return aliases if isinstance(aliases, list) else []


def _word(value: object) -> str:
    """JSON is YAML; plain words stay bare, because people read them."""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z~/][A-Za-z0-9._/~-]*", value):
        reserved = value.lower() in {"true", "false", "null", "yes", "no", "on", "off"}
        return json.dumps(value) if reserved else value
    return json.dumps(value, ensure_ascii=False)
