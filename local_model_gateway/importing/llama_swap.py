"""llama-swap's YAML: `models:` with a command each, macros, peers, and who may run beside whom."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from local_model_gateway.importing import command_lines
from local_model_gateway.importing.carried import (
    Carried,
    NotCarried,
    Section,
    is_reference,
    reference,
)
from local_model_gateway.importing.source import Data, Source, each

_MACRO = re.compile(r"\$\{([A-Za-z0-9_-]+)\}")
_ENV = re.compile(r"\$\{env\.([A-Za-z_][A-Za-z0-9_]*)\}")
_ROUNDS = 10  # macros may hold macros; a circle ends here
_LOCAL = re.compile(r"https?://(localhost|127\.[0-9.]+|\[::1\])(:|/|$)")

_TOP_KNOWN = frozenset(
    {"models", "macros", "peers", "healthCheckTimeout", "globalTTL", "unloadTimeout"}
)
_TOP_HARMLESS = frozenset(
    {"logLevel", "logTimeFormat", "logToStdout", "startPort", "metricsMaxInMemory", "captureBuffer"}
    | {"sendLoadingState", "includeAliasesInList", "performance", "ui", "store", "upstream"}
    | {"logRequests"}
)
"""Done otherwise here, or of no meaning to a client."""
_TOGETHER = (
    "what fits the memory stays loaded side by side here, and what does not is swapped by the queue; "
    "give the models a `memory:` or let the first load measure it"
)
_TOP_WHY: Mapping[str, str] = {
    "apiKeys": "keys are not copied; put each into server.keys as ${env:NAME}",
    "groups": _TOGETHER,
    "matrix": _TOGETHER,
    "routing": f"{_TOGETHER}; who goes first is said with each request: `priority`",
    "selectors": "a name always means its own model; clients choose by `GET /v1/models`",
    "hooks": "nothing is loaded before it is asked for; run `lmg load NAME` after the start",
    "profiles": "names do not change meaning here; give a model `aliases`",
}
_KNOWN = frozenset(
    {"cmd", "aliases", "env", "ttl", "concurrencyLimit", "useModelName", "macros", "unloadTimeout"}
    | {"capabilities", "description", "proxy"}
)
_HARMLESS = frozenset({"name", "metadata", "checkEndpoint", "sendLoadingState"})
_WHY: Mapping[str, str] = {
    "cmdStop": "the gateway ends the engine's processes itself",
    "filters": "requests are passed on as they come; set such defaults in the client, or as `args`",
    "timeouts": "patience is one for all: queue.first_byte_timeout and queue.stall_timeout",
    "unlisted": "every model is listed",
}


def recognises(data: Data) -> bool:
    """Whether the file looks like one."""
    models = data.get("models")
    return isinstance(models, dict) and any(
        isinstance(model, dict) and "cmd" in model for model in models.values()
    )


def read(source: Source) -> Carried:
    """Its models as runtimes."""
    carried = Carried()
    data = source.data
    for key in data:
        if key not in _TOP_KNOWN | _TOP_HARMLESS and data[key]:
            carried.leave(source.line(key), key, _TOP_WHY.get(key, "it has no counterpart here"))
    pinned = _persistent(source)
    for name, model in source.section("models").items():
        if isinstance(model, dict):
            _model(carried, source, name, model, pinned=name in pinned)
    for peer, settings in source.section("peers").items():
        if isinstance(settings, dict):
            _peer(carried, source, peer, settings)
    return carried


def _model(carried: Carried, source: Source, name: str, model: Data, *, pinned: bool) -> None:
    at = ("models", name)
    try:
        section, notes = _runtime(source, name, model)
    except NotCarried as error:
        carried.leave(source.line(*at), name, str(error))
        return
    carried.runtimes[name] = {**section, "pinned": True} if pinned else section
    carried.lines[name] = source.line(*at) or 1
    for note in notes:
        carried.leave(source.line(*at, "cmd"), f"{name}.cmd", note)
    for key, why in _left(name, model, section):
        carried.leave(source.line(*at, *key.split(".")), f"{name}.{key}", why)


def _left(name: str, model: Data, section: Section) -> Iterator[tuple[str, str]]:
    """Every key of a model that changes nothing here."""
    for key, value in model.items():
        if key == "filters" and isinstance(value, dict):
            yield from ((f"filters.{inner}", _WHY["filters"]) for inner in value)
        elif key == "capabilities" and isinstance(value, dict):
            yield from _left_capabilities(value)
        elif key == "concurrencyLimit" and _limit(model) not in (
            None,
            section.get("max_concurrency"),
        ):
            slots = section.get("max_concurrency")
            yield key, f"the engine is started for {slots} at a time; more wait in the queue"
        elif key == "proxy" and not _LOCAL.match(str(value)):
            yield key, f"{name} is asked on this machine, where its command starts it"
        elif key not in _KNOWN | _HARMLESS and value:
            yield key, _WHY.get(key, "it has no counterpart here")


def _left_capabilities(value: Data) -> Iterator[tuple[str, str]]:
    if value.get("reranker"):
        yield "capabilities.reranker", "/v1/rerank is not served"
    if "audio" in [*each(value.get("in")), *each(value.get("out"))]:
        yield "capabilities.in", "audio is not served"


def _runtime(source: Source, name: str, model: Data) -> tuple[Section, list[str]]:
    data = source.data
    macros = {**_macros(data), **_macros(model), "MODEL_ID": name, "PORT": "{port}"}
    # Comments go first: a macro in one may hold a line break.
    command = "\n".join(command_lines.without_comments(str(model.get("cmd", ""))))
    words = command_lines.words_of(_filled(command, macros))
    found = command_lines.understood(words, called=name)
    section = command_lines.settled(found.section, source.file.parent)
    if aliases := [_filled(_alias(one), macros) for one in each(model.get("aliases"))]:
        section["aliases"] = aliases
    pairs = [_filled(pair, macros).partition("=") for pair in each(model.get("env"))]
    if pairs:
        section["env"] = {**_as_env(section), **{key: value for key, _, value in pairs}}
    if model.get("useModelName"):
        section["upstream_model"] = _filled(model["useModelName"], macros)
    if model.get("description"):
        section["notice"] = _filled(" ".join(str(model["description"]).split()), macros)
    _limits(section, model)
    _capable(section, model)
    section.update(_times(data, model))
    return section, found.notes


def _limits(section: Section, model: Data) -> None:
    """What the engine can do at a time, and what the proxy lets through: the smaller counts."""
    limit, slots = _limit(model), section.get("max_concurrency")
    if limit is not None and isinstance(slots, int):
        section["max_concurrency"] = min(limit, slots)
    elif limit is not None:
        section["max_concurrency"] = limit


def _limit(model: Data) -> int | None:
    limit = model.get("concurrencyLimit")
    return limit if isinstance(limit, int) and limit > 0 else None


def _capable(section: Section, model: Data) -> None:
    wanted = model.get("capabilities")
    if not isinstance(wanted, dict):
        return
    more = ["tools"] if wanted.get("tools") else []
    more += ["vision"] if "image" in each(wanted.get("in")) else []
    if more and "capabilities" not in section:
        section["capabilities"] = ["chat", "completions", *more]
    context = wanted.get("context")
    if isinstance(context, int) and context >= command_lines.SMALLEST_CONTEXT:
        section.setdefault("context", context)


def _times(data: Data, model: Data) -> Section:
    ttl = model.get("ttl", -1)
    ttl = data.get("globalTTL", 0) if ttl == -1 else ttl
    made: Section = {"idle_unload": f"{ttl}s" if ttl else "never"}
    if isinstance(wait := data.get("healthCheckTimeout"), int) and wait > 0:
        made["load_timeout"] = f"{max(15, wait)}s"
    if stop := model.get("unloadTimeout") or data.get("unloadTimeout"):
        made["stop_timeout"] = f"{stop}s"
    return made


def _persistent(source: Source) -> set[str]:
    """The members of groups that nothing may unload."""
    groups = {
        **source.section("groups"),
        **source.section("routing", "router", "settings", "groups"),
    }
    return {
        str(member)
        for group in groups.values()
        if isinstance(group, dict) and group.get("persistent")
        for member in each(group.get("members"))
    }


def _peer(carried: Carried, source: Source, peer: str, settings: Data) -> None:
    """Each model of another server as a runtime of its own."""
    at = ("peers", peer)
    url = str(settings.get("proxy", "")).rstrip("/")
    for key in settings:
        if key not in ("proxy", "apiKey", "models"):
            why = _WHY.get(key, "it has no counterpart here")
            carried.leave(source.line(*at, key), f"peers.{peer}.{key}", why)
    if _LOCAL.match(url):
        why = f"{url} is a server on this machine whose memory nobody would count; add its engine"
        carried.leave(source.line(*at), f"peers.{peer}", why)
        return
    key = _filled(settings.get("apiKey", ""), _macros(source.data))
    about: Section = {"url": url.removesuffix("/v1")}
    if is_reference(key):
        about["api_key"] = key
    elif key:
        why = "a key is not copied; put it into the environment and say api_key: ${env:NAME}"
        carried.leave(source.line(*at, "apiKey"), f"peers.{peer}.apiKey", why)
    for name in each(settings.get("models")):
        carried.runtimes[str(name)] = {"engine": "openai", "model": str(name), **about}
        carried.lines[str(name)] = source.line(*at, "models") or 1


def _alias(alias: Any) -> str:  # Any: a word, or a mapping with an id
    return str(alias.get("id", "")) if isinstance(alias, dict) else str(alias)


def _as_env(section: Section) -> dict[str, str]:
    env = section.get("env")
    return {str(key): str(value) for key, value in env.items()} if isinstance(env, dict) else {}


def _macros(data: Data) -> dict[str, str]:
    macros = data.get("macros")
    if not isinstance(macros, dict):
        return {}
    words = {True: "true", False: "false"}
    return {
        key: words[value] if isinstance(value, bool) else str(value)
        for key, value in macros.items()
    }


def _filled(text: object, macros: Mapping[str, str]) -> str:
    filled = str(text)
    for _ in range(_ROUNDS):
        again = _MACRO.sub(lambda found: macros.get(found[1], found[0]), filled)
        if again == filled:
            break
        filled = again
    if unknown := _MACRO.search(filled):
        raise NotCarried(f"the macro {unknown[0]} is not defined")
    return _ENV.sub(lambda found: reference(found[1]), filled)
