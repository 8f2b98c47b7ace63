"""local-engine-router's YAML: `engines:` of four types, `models:` that name one, and `aliases:`."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from local_model_gateway.importing import command_lines
from local_model_gateway.importing.carried import Carried, NotCarried, Section, reference
from local_model_gateway.importing.source import Data, Source, each

_BY_PATH = (
    ("/api/v1/models/load", "lmstudio"),
    ("/v1/model/load", "tabbyapi"),
    ("/backend/load", "localai-server"),
    ("/models/load", "llama-server-router"),
    ("/api/admin/reload_config", "koboldcpp-admin"),
)
_TOP_KNOWN = frozenset({"engines", "models", "aliases", "ollama", "ds4", "host", "port"})
_TOP_HARMLESS = frozenset(
    {"log_level", "log_file", "state_file", "swap_keepalive_enabled", "swap_keepalive_interval_s"}
    | {"upstream_connect_timeout_s", "swap_memory_settle_timeout_s"}
)
"""Done otherwise here: waiting is shown, memory is awaited, the log is `lmg logs`."""
_TOP_WHY: Mapping[str, str] = {
    "api_keys": "keys are not copied; put each into server.keys as ${env:NAME}",
    "drain_timeout_s": "running answers are never cut off to make room",
    "allow_destructive_ollama_api": "no route here deletes, creates or copies models",
    "routing_mode": "a name always means its own model; another is never chosen silently",
    "smart": "a name always means its own model; another is never chosen silently",
    "discover": "models are configured: `lmg add ollama` adds what Ollama has",
}
_ENGINE_KNOWN = frozenset(
    {"type", "enabled", "base_url", "start_cmd", "env", "cwd", "start_timeout_s", "stop_timeout_s"}
    | {"load_timeout_s", "unload_timeout_s", "systemd_user_unit", "control", "control_headers"}
)
_ENGINE_HARMLESS = frozenset(
    {"ready_path", "ready_check", "health_path", "process_pattern", "log_file", "tags_cache_ttl_s"}
    | {"unload_path", "unload_method", "unload_body", "load_path", "load_method", "load_body"}
    | {"loaded_path", "loaded_models_key", "loaded_name_key", "loaded_filter", "loaded_id_key"}
    | {"serve_script", "name", "description"}
)
"""What the engine's recipe knows by itself."""
_ENGINE_WHY: Mapping[str, str] = {
    "systemd_unit": "a server that manages its own models is not started here; let the system do it",
    "stop_signal": "engines are asked to end with SIGTERM",
}
_MODEL_KNOWN = frozenset({"id", "engine", "context_length", "memory_gb", "capabilities"})
_MODEL_HARMLESS = frozenset({"display_name"})
_MODEL_WHY: Mapping[str, str] = {
    "disable_thinking_below_max_tokens": "requests are passed on as they come",
    "quality_tier": "models are asked for by name",
    "speed_tier": "models are asked for by name",
    "strengths": "models are asked for by name",
}
_CAPABILITIES = frozenset({"chat", "completions", "embeddings", "tools", "vision"})
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def recognises(data: Data) -> bool:
    """Whether the file looks like one."""
    models = data.get("models")
    engines = any(isinstance(data.get(key), dict) for key in ("engines", "ollama", "ds4"))
    return engines and isinstance(models, list) and any(isinstance(one, dict) for one in models)


def read(source: Source) -> Carried:
    """Its models as runtimes; several models of one process are several names of one runtime."""
    carried, data = Carried(), source.data
    for key in data:
        if key not in _TOP_KNOWN | _TOP_HARMLESS and data[key] not in ([], {}, "", None, False):
            carried.leave(source.line(key), key, _TOP_WHY.get(key, "it has no counterpart here"))
    if data.get("host") not in (None, *_LOOPBACK):
        why = "the gateway listens on loopback; server.host and server.keys open it"
        carried.leave(source.line("host"), "host", why)
    if "port" in data:
        why = f"clients of port {data['port']} use the gateway's, or set server.port to it"
        carried.leave(source.line("port"), "port", why)
    engines = _engines(source)
    for key, engine in engines.items():
        _engine_rest(carried, source, key, engine)
    started: dict[str, str] = {}
    for number, model in enumerate(data["models"]):
        if isinstance(model, dict):
            _model(carried, source, number, engines, started)
    _aliases(carried, source)
    return carried


def _engines(source: Source) -> dict[str, Data]:
    """The table, or what stood for it before there was one."""
    table = source.section("engines")
    if not table:
        found = {key: {**source.section(key), "type": key} for key in ("ollama", "ds4")}
        return {key: engine for key, engine in found.items() if len(engine) > 1}
    return {key: engine for key, engine in table.items() if isinstance(engine, dict)}


def _engine_rest(carried: Carried, source: Source, key: str, engine: Data) -> None:
    at = ("engines", key) if source.section("engines") else (key,)
    for name, value in engine.items():
        if name == "stop_signal" and value in ("SIGTERM", 15):
            continue
        if name == "control_headers" and value:
            why = "keys are not copied; give the runtime api_key: ${env:NAME}"
        elif name in _ENGINE_KNOWN | _ENGINE_HARMLESS:
            continue
        else:
            why = _ENGINE_WHY.get(name, "it has no counterpart here")
        carried.leave(source.line(*at, name), f"{'.'.join(at)}.{name}", why)


def _model(
    carried: Carried,
    source: Source,
    number: int,
    engines: Mapping[str, Data],
    started: dict[str, str],
) -> None:
    model, at = source.data["models"][number], ("models", number)
    name, key = str(model.get("id", "")), str(model.get("engine"))
    if first := started.get(key):
        # One command serves one model, whatever it is called.
        _more_aliases(carried.runtimes[first], name)
        return
    try:
        section, notes = _runtime(source, name, key, model, engines)
    except NotCarried as error:
        carried.leave(source.line(*at), name or f"models[{number}]", str(error))
        return
    carried.runtimes[name] = section
    carried.lines[name] = source.line(*at) or 1
    if engines[key].get("type") in ("generic_process", "ds4"):
        started[key] = name
    for note in notes:
        carried.leave(source.line(*at), name, note)
    for word, why in _model_rest(model, engines[key]):
        carried.leave(source.line(*at, word), f"{name}.{word}", why)


def _model_rest(model: Data, engine: Data) -> Iterator[tuple[str, str]]:
    for word in model:
        if word == "context_length" and engine.get("type") in ("ollama", "api_swap"):
            yield (
                word,
                "the server keeps its own setting; `context` here would make it load that much",
            )
        elif word not in _MODEL_KNOWN | _MODEL_HARMLESS:
            yield word, _MODEL_WHY.get(word, "it has no counterpart here")


def _runtime(
    source: Source, name: str, key: str, model: Data, engines: Mapping[str, Data]
) -> tuple[Section, list[str]]:
    engine = engines.get(key)
    if name.startswith("<"):
        raise NotCarried(f"{name} is still to be filled in")
    if not name or engine is None:
        raise NotCarried(f"its engine {key!r} is not configured")
    if str(engine.get("enabled", True)).lower() in ("false", "no", "off"):
        raise NotCarried(f"its engine {key!r} is switched off")
    section, notes = _served(source, name, engine)
    if isinstance(model.get("memory_gb"), int | float) and model["memory_gb"] > 0:
        section["memory"] = f"{model['memory_gb']:g}GiB"
    wanted = [one for one in each(model.get("capabilities")) if one in _CAPABILITIES]
    if wanted:
        section.setdefault("capabilities", wanted)
    context = model.get("context_length")
    process = engine.get("type") == "generic_process" and "context" not in section
    if process and isinstance(context, int) and context >= command_lines.SMALLEST_CONTEXT:
        section["context"], notes = context, []
    if isinstance(engine.get("env"), dict) and engine["env"]:
        section["env"] = {str(variable): str(value) for variable, value in engine["env"].items()}
    return {**section, **_times(engine)}, notes


def _times(engine: Data) -> Section:
    made: Section = {}
    for theirs, ours in (
        ("load_timeout_s", "load_timeout"),
        ("start_timeout_s", "load_timeout"),
        ("unload_timeout_s", "stop_timeout"),
        ("stop_timeout_s", "stop_timeout"),
    ):
        if isinstance(engine.get(theirs), int | float):
            made[ours] = f"{engine[theirs]:g}s"
    return made


def _served(source: Source, name: str, engine: Data) -> tuple[Section, list[str]]:
    match engine.get("type"):
        case "generic_process":
            command = engine.get("start_cmd", "")
            shell = isinstance(command, str)
            words = command_lines.words_of(command, for_shell=shell)
            words = [_reference(word) for word in words] if shell else words
            found = command_lines.understood(words, called=name)
            folder = source.file.parent / str(engine.get("cwd") or "")
            return command_lines.settled(found.section, folder), found.notes
        case "ollama":
            return {"engine": "ollama", "model": name, **_url(engine, 11434)}, []
        case "api_swap":
            return {"engine": _api(engine), "model": name, **_url(engine, None)}, []
        case "ds4" if engine.get("control", "systemd-user") == "systemd-user":
            unit = str(engine.get("systemd_user_unit") or "ds4.service")
            url = str(engine.get("base_url", "http://127.0.0.1:8099"))
            return {"engine": "service", "model": name, "unit": unit, "url": url}, []
        case "ds4":
            raise NotCarried(
                "it is started by a script; give engine `service` its start_cmd by hand"
            )
        case other:
            raise NotCarried(f"engines of type {other!r} are not known")


def _reference(word: str) -> str:
    """A shell filled in variables; we do the same, from the gateway's environment."""
    return _VARIABLE.sub(lambda found: reference(found[1] or found[2]), word)


def _url(engine: Data, usual: int | None) -> Section:
    url = str(engine.get("base_url", "")).rstrip("/")
    return {} if not url or (usual and url.endswith(f":{usual}")) else {"url": url}


def _api(engine: Data) -> str:
    for path, known in _BY_PATH:
        if engine.get("load_path") == path:
            return known
    if str(engine.get("unload_path", "")).startswith("/v1/model/"):
        return "tabbyapi"
    if str(engine.get("unload_path", "")).startswith("/api/v1/models/"):
        return "lmstudio"
    raise NotCarried("its load and unload calls are of no engine with a recipe; `lmg recipes`")


def _aliases(carried: Carried, source: Source) -> None:
    for alias, target in source.section("aliases").items():
        found = next(
            (
                section
                for name, section in carried.runtimes.items()
                if target == name or target in (section.get("aliases") or ())  # type: ignore[operator] # ours
            ),
            None,
        )
        if found is None:
            why = f"no model {target!r} was carried over"
            carried.leave(source.line("aliases", alias), f"aliases.{alias}", why)
        else:
            _more_aliases(found, alias)


def _more_aliases(section: Section, name: str) -> None:
    there: Any = section.get("aliases", [])  # Any: a list of ours
    section["aliases"] = [*there, name]
