"""local-engine-router's YAML: `engines:` of four types, `models:` that name one, and `aliases:`."""

from typing import Any

from local_model_gateway.importing.carried import (
    Carried,
    NotCarried,
    Section,
    from_command,
    words_of,
)

Data = dict[str, Any]  # Any: YAML data

_BY_PATH = (("/api/v1/models/load", "lmstudio"), ("/v1/model/load", "tabbyapi"))
_TOP_KNOWN = frozenset({"engines", "models", "aliases"})
_TOP_HARMLESS = frozenset(
    {"log_level", "log_file", "state_file", "swap_keepalive_enabled", "swap_keepalive_interval_s"}
    | {"drain_timeout_s", "upstream_connect_timeout_s", "allow_destructive_ollama_api"}
    | {"swap_memory_settle_timeout_s"}
)


def recognises(data: Data) -> bool:
    """Whether the file looks like one."""
    engines = data.get("engines")
    return isinstance(engines, dict) and isinstance(data.get("models"), list)


def read(data: Data) -> Carried:
    """Its models as runtimes; one engine with several models becomes one runtime for each."""
    carried = Carried()
    carried.left_out += [
        f"`{key}` has no counterpart"
        for key in data
        if key not in _TOP_KNOWN | _TOP_HARMLESS | {"api_keys", "host", "port"}
    ]
    if data.get("api_keys"):
        carried.left_out.append("`api_keys` are not copied; put keys into server.keys as ${env:…}")
    if "port" in data:
        carried.left_out.append(f"`port: {data['port']}` is not copied; clients use the gateway's")
    aliases = data.get("aliases") if isinstance(data.get("aliases"), dict) else {}
    for model in data["models"]:
        name = str(model.get("id", ""))
        engine = data["engines"].get(model.get("engine"))
        try:
            section = _runtime(name, model, engine)
        except NotCarried as error:
            carried.left_out.append(f"{name}: {error}")
            continue
        named = [str(alias) for alias, target in (aliases or {}).items() if target == name]
        carried.runtimes[name] = {**section, "aliases": named} if named else section
    return carried


def _runtime(name: str, model: Data, engine: object) -> Section:
    if not name or not isinstance(engine, dict):
        raise NotCarried(f"its engine {model.get('engine')!r} is not configured")
    if engine.get("enabled") is False:
        raise NotCarried(f"its engine {model.get('engine')!r} is switched off")
    section = _served(name, engine)
    if isinstance(model.get("context_length"), int) and model["context_length"] >= 256:
        section["context"] = model["context_length"]
    if isinstance(engine.get("env"), dict):
        section["env"] = {str(key): str(value) for key, value in engine["env"].items()}
    for theirs, ours in (("start_timeout_s", "load_timeout"), ("stop_timeout_s", "stop_timeout")):
        if isinstance(engine.get(theirs), int | float):
            section[ours] = f"{engine[theirs]:g}s"
    return section


def _served(name: str, engine: Data) -> Section:
    match engine.get("type"):
        case "generic_process":
            return from_command(words_of(engine.get("start_cmd", "")))
        case "ollama":
            return {"engine": "ollama", "model": name, **_url(engine, 11434)}
        case "api_swap":
            return {"engine": _api(engine), "model": name, **_url(engine, None)}
        case "ds4" if engine.get("systemd_user_unit"):
            unit = engine["systemd_user_unit"]
            raise NotCarried(f"it is the unit {unit}; give its engine a `unit:` by hand")
        case other:
            raise NotCarried(f"engines of type {other!r} are not known")


def _url(engine: Data, usual: int | None) -> Section:
    url = str(engine.get("base_url", ""))
    return {} if not url or (usual and url.endswith(f":{usual}")) else {"url": url}


def _api(engine: Data) -> str:
    for path, known in _BY_PATH:
        if engine.get("load_path") == path:
            return known
    if str(engine.get("unload_path", "")).startswith("/v1/model/"):
        return "tabbyapi"
    raise NotCarried("its load and unload calls are of no engine with a recipe")
