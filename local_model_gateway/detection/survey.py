"""Everything at once, within hard limits, and the configuration that follows from it."""

import importlib.util
import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from local_model_gateway import phrases
from local_model_gateway.detection import clients, engines, model_files

MOST_MODELS = 24

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

    memory_bytes: int
    free_bytes: int
    running: Sequence[engines.Engine]
    programs: Mapping[str, str]
    models: Sequence[model_files.ModelFile]
    clients: Sequence[clients.Client]
    embedded: bool
    """The embedded engine is installed."""

    def as_json(self) -> dict[str, Any]:  # Any: JSON
        """For programs."""
        return {
            "memory_bytes": self.memory_bytes,
            "free_bytes": self.free_bytes,
            "engines": [{**asdict(one), "url": one.url} for one in self.running],
            "programs": dict(self.programs),
            "models": [
                {**asdict(one), "path": str(one.path), "name": one.name} for one in self.models
            ],
            "clients": [asdict(one) for one in self.clients],
        }


@dataclass(frozen=True, slots=True)
class Choice:
    """One runtime that could be configured."""

    name: str
    section: Mapping[str, object]


def look(env: Mapping[str, str], home: Path, ports: Sequence[int] = engines.PORTS) -> Survey:
    """Look at ports, programs, files and clients side by side; starts nothing, writes nothing."""
    memory = psutil.virtual_memory()
    with ThreadPoolExecutor(max_workers=2) as pool:
        running = pool.submit(engines.running, ports)
        models = pool.submit(model_files.find, env, home)
        found = clients.installed(home)
        return Survey(
            memory_bytes=memory.total,
            free_bytes=memory.available,
            running=[one for one in running.result() if one.engine != engines.OURS],
            programs=engines.programs(),
            models=models.result(),
            clients=found,
            embedded=importlib.util.find_spec("xllamacpp") is not None,
        )


def choices(survey: Survey) -> list[Choice]:
    """A runtime for each model that we know how to serve, no name twice."""
    made: dict[str, Choice] = {}
    for engine in survey.running:
        usual = engines.USUAL_PORTS.get(engine.engine)
        for model in engine.models if usual else ():
            section: dict[str, object] = {"engine": engine.engine, "model": model}
            if engine.port not in (usual or ()):
                section["url"] = engine.url
            add(made, model, section)
    gguf = (
        "llama-server"
        if "llama-server" in survey.programs
        else "embedded"
        if survey.embedded
        else None
    )
    for file in survey.models:
        served_by = (
            gguf if file.kind == "gguf" else "mlx-lm" if "mlx-lm" in survey.programs else None
        )
        if served_by is not None:
            add(made, file.name, {"engine": served_by, "model": str(file.path)})
    return list(made.values())[:MOST_MODELS]


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


def described(survey: Survey) -> str:
    """What was found, for people."""
    lines = [
        f"  Machine   {phrases.size(survey.memory_bytes)} of memory, {phrases.size(survey.free_bytes)} free"
    ]
    label = "Engines"
    for engine in survey.running:
        version = f" {engine.version}" if engine.version else ""
        models = phrases.count(len(engine.models), "model") + _some(engine.models)
        lines.append(f"  {label:9} {engine.engine}{version} on :{engine.port}   {models}")
        label = ""
    for program, path in survey.programs.items():
        if all(one.engine != program for one in survey.running):
            lines.append(f"  {label:9} {program} installed   {path}")
            label = ""
    if survey.models:
        total = phrases.size(sum(one.size_bytes for one in survey.models))
        lines.append(f"  Models    {phrases.count(len(survey.models), 'file')}, {total} in all")
    if survey.clients:
        lines.append(f"  Clients   {', '.join(one.title for one in survey.clients)}")
    return "\n".join(lines)


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


def _some(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f": {', '.join(names[:2])}{more}"


def _word(value: object) -> str:
    """JSON is YAML; plain words stay bare, because people read them."""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z~/][A-Za-z0-9._/~-]*", value):
        reserved = value.lower() in {"true", "false", "null", "yes", "no", "on", "off"}
        return json.dumps(value) if reserved else value
    return json.dumps(value, ensure_ascii=False)
