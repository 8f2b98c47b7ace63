"""Engines that listen on this machine, known by what they say of themselves and never by their port alone."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from local_model_gateway.detection import probe

PORTS: Sequence[int] = (11434, 1234, 8080, 9931, 8000, 8001, 30000, 5000, 5001, 8081, 10240)
"""Where engines listen if nobody says otherwise; several share one."""
SERVED_BY: Mapping[str, str] = {
    "ollama": "ollama",
    "lmstudio": "lmstudio",
    "llama-server-router": "llama-server-router",
    "localai": "localai-server",
}
"""Engines that load and drop models while they run → the recipe that has them do so for us."""
USUAL_PORTS: Mapping[str, Sequence[int]] = {
    "ollama": (11434,),
    "lmstudio": (1234,),
    "llama-server-router": (9931,),
    "localai-server": (8080,),
}
"""Where a recipe looks by itself, so that no address needs to be written down."""
PROGRAMS: Mapping[str, Sequence[str]] = {
    "llama-server": ("llama-server",),
    "ollama": ("ollama",),
    "vllm": ("vllm",),
    "sglang": ("sglang",),
    "lmstudio": ("lms",),
    "koboldcpp": ("koboldcpp",),
    "localai": ("local-ai",),
    "mlx-lm": ("mlx_lm.server",),
    "ramalama": ("ramalama",),
    "modular-max": ("max",),
}
"""Recipe → programs that start it."""

OURS = "local-model-gateway"
UNKNOWN = "openai"
"""Something that speaks OpenAI's routes and does not say what it is."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A server that answers."""

    engine: str
    """A recipe's id."""
    port: int
    version: str | None
    models: tuple[str, ...]

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def recipe(self) -> str | None:
        """What serves its models while it runs; None where it has to be started by the gateway."""
        return SERVED_BY.get(self.engine)


def running(ports: Sequence[int] = PORTS) -> list[Engine]:
    """Whatever answers on these ports, asked all at once; about two seconds at the very worst."""
    with ThreadPoolExecutor(max_workers=max(1, len(ports))) as pool:
        return [engine for engine in pool.map(identify, ports) if engine is not None]


def programs(which: Callable[[str], str | None] = shutil.which) -> dict[str, str]:
    """Recipe → path, for engines that are installed."""
    return {
        engine: path
        for engine, names in PROGRAMS.items()
        for path in [next(filter(None, map(which, names)), None)]
        if path is not None
    }


def identify(port: int) -> Engine | None:
    """What listens there; None for nothing, or for nothing of our concern."""
    root = probe.get(port, "/")
    if root.status == 0:
        return None
    # The order matters: several engines imitate Ollama and llama-server, so those who name themselves go first.
    for engine, version in filter(None, (rule(port, root) for rule in _RULES)):
        return Engine(engine, port, version, _models(engine, port))
    return None


Rule = Callable[[int, probe.Answer], tuple[str, str | None] | None]


def _ours(port: int, _: probe.Answer) -> tuple[str, str | None] | None:
    known = probe.get(port, "/.well-known/local-model-gateway.json").json
    if isinstance(known, dict) and str(known.get("schema", "")).startswith("lmg."):
        return OURS, _text(known.get("version"))
    return None


def _named(port: int, _: probe.Answer) -> tuple[str, str | None] | None:
    software = _at(probe.get(port, "/.well-known/serviceinfo").json, "software")
    name = str(_at(software, "name") or "").lower()
    for word, engine in (("kobold", "koboldcpp"), ("tabby", "tabbyapi")):
        if word in name:
            return engine, _text(_at(software, "version"))
    return None


def _llama_server(port: int, root: probe.Answer) -> tuple[str, str | None] | None:
    if "llama.cpp" not in root.headers.get("server", ""):
        return None
    # One server for many models says of each whether it is loaded.
    rows = _at(probe.get(port, "/models").json, "data")
    router = isinstance(rows, list) and any(_at(row, "status") for row in rows)
    build = _text(_at(probe.get(port, "/props").json, "build_info"))
    return "llama-server-router" if router else "llama-server", build


def _sglang(port: int, _: probe.Answer) -> tuple[str, str | None] | None:
    info = probe.get(port, "/server_info").json or probe.get(port, "/get_server_info").json
    if isinstance(info, dict) and "model_path" in info:
        return "sglang", _text(info.get("version"))
    return None


def _lmstudio(port: int, _: probe.Answer) -> tuple[str, str | None] | None:
    models = _at(probe.get(port, "/api/v1/models").json, "models")
    keyed = isinstance(models, list) and all(
        isinstance(one, dict) and "key" in one for one in models
    )
    return ("lmstudio", None) if keyed else None


def _localai(port: int, _: probe.Answer) -> tuple[str, str | None] | None:
    ready = probe.get(port, "/readyz").status == 200
    return (
        ("localai", None)
        if ready and isinstance(_at(probe.get(port, "/system").json, "backends"), list)
        else None
    )


def _ollama(port: int, root: probe.Answer) -> tuple[str, str | None] | None:
    if root.text.strip() != "Ollama is running":
        return None
    return "ollama", _text(_at(probe.get(port, "/api/version").json, "version"))


def _by_owner(port: int, root: probe.Answer) -> tuple[str, str | None] | None:
    listed = probe.get(port, "/v1/models").json
    rows = _at(listed, "data")
    if not isinstance(rows, list):
        return None
    owners = {str(_at(row, "owned_by") or "").lower() for row in rows}
    version = _text(_at(probe.get(port, "/version").json, "version"))
    for word, engine in (("vllm", "vllm"), ("sglang", "sglang"), ("modular", "modular-max")):
        if any(word in owner for owner in owners):
            return engine, version
    if root.headers.get("server", "").startswith("BaseHTTP") and rows:
        return "mlx-lm", None
    return UNKNOWN, version


_RULES: Sequence[Rule] = (
    _ours,
    _named,
    _llama_server,
    _sglang,
    _lmstudio,
    _localai,
    _ollama,
    _by_owner,
)


def _models(engine: str, port: int) -> tuple[str, ...]:
    """What it offers, by the names that its recipe wants."""
    match engine:
        case "ollama":
            rows, key = _at(probe.get(port, "/api/tags").json, "models"), "name"
        case "lmstudio":
            rows, key = _at(probe.get(port, "/api/v1/models").json, "models"), "key"
        case "llama-server-router":
            rows, key = _at(probe.get(port, "/models").json, "data"), "id"
        case _:
            rows, key = _at(probe.get(port, "/v1/models").json, "data"), "id"
    if not isinstance(rows, list):
        return ()
    names = (_text(_at(row, key)) for row in rows)
    return tuple(sorted({name for name in names if name}))


def _at(value: Any, key: str) -> Any:  # Any: JSON
    return value.get(key) if isinstance(value, dict) else None


def _text(value: Any) -> str | None:  # Any: JSON
    """A short printable word: what a port says ends up on a terminal and in a file."""
    return value[:200] if isinstance(value, str) and value.isprintable() and value else None
