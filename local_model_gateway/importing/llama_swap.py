"""llama-swap's YAML: `models:` with a command each, and macros."""

import re
from typing import Any

from local_model_gateway.importing.carried import (
    Carried,
    NotCarried,
    Section,
    from_command,
    without_comments,
    words_of,
)

Data = dict[str, Any]  # Any: YAML data

_MACRO = re.compile(r"\$\{([A-Za-z0-9_-]+)\}")
_ENV = re.compile(r"\$\{env\.([A-Za-z_][A-Za-z0-9_]*)\}")
_ROUNDS = 10  # macros may hold macros; a circle ends here
_KNOWN = frozenset(
    {"cmd", "aliases", "env", "ttl", "concurrencyLimit", "useModelName", "macros", "unloadTimeout"}
)
_HARMLESS = frozenset(
    {"name", "description", "metadata", "unlisted", "checkEndpoint", "capabilities"}
)
"""Shown to people, or done by the recipes here."""
_TOP_KNOWN = frozenset(
    {"models", "macros", "apiKeys", "healthCheckTimeout", "globalTTL", "unloadTimeout"}
)
_TOP_HARMLESS = frozenset(
    {"logLevel", "logTimeFormat", "logToStdout", "startPort", "metricsMaxInMemory", "captureBuffer"}
    | {"sendLoadingState", "includeAliasesInList", "performance", "ui", "store", "upstream"}
)


def recognises(data: Data) -> bool:
    """Whether the file looks like one."""
    models = data.get("models")
    return isinstance(models, dict) and any(
        isinstance(model, dict) and "cmd" in model for model in models.values()
    )


def read(data: Data) -> Carried:
    """Its models as runtimes."""
    carried = Carried()
    carried.left_out += [
        f"`{key}` has no counterpart" for key in data if key not in _TOP_KNOWN | _TOP_HARMLESS
    ]
    if data.get("apiKeys"):
        carried.left_out.append("`apiKeys` are not copied; put keys into server.keys as ${env:…}")
    for name, model in data["models"].items():
        if not isinstance(model, dict):
            continue
        try:
            carried.runtimes[str(name)] = _runtime(str(name), model, data)
        except NotCarried as error:
            carried.left_out.append(f"{name}: {error}")
            continue
        carried.left_out += [
            f"{name}: `{key}` has no counterpart" for key in model if key not in _KNOWN | _HARMLESS
        ]
    return carried


def _runtime(name: str, model: Data, data: Data) -> Section:
    macros = {**_macros(data), **_macros(model), "MODEL_ID": name, "PORT": "{port}"}
    # Comments go first: a macro in one may hold a line break.
    command = "\n".join(without_comments(str(model.get("cmd", ""))))
    section = from_command(words_of(_filled(command, macros)))
    if aliases := [_filled(alias, macros) for alias in model.get("aliases") or ()]:
        section["aliases"] = aliases
    if env := dict(_filled(pair, macros).partition("=")[::2] for pair in model.get("env") or ()):
        section["env"] = env
    if model.get("useModelName"):
        section["upstream_model"] = _filled(model["useModelName"], macros)
    if isinstance(model.get("concurrencyLimit"), int) and model["concurrencyLimit"] > 0:
        section["max_concurrency"] = model["concurrencyLimit"]
    ttl = model.get("ttl", -1)
    ttl = data.get("globalTTL", 0) if ttl == -1 else ttl
    section["idle_unload"] = f"{ttl}s" if ttl else "never"
    if data.get("healthCheckTimeout"):
        section["load_timeout"] = f"{data['healthCheckTimeout']}s"
    stop = model.get("unloadTimeout") or data.get("unloadTimeout")
    return {**section, "stop_timeout": f"{stop}s"} if stop else section


def _macros(data: Data) -> dict[str, str]:
    macros = data.get("macros")
    return (
        {str(key): str(value) for key, value in macros.items()} if isinstance(macros, dict) else {}
    )


def _filled(text: object, macros: dict[str, str]) -> str:
    filled = str(text)
    for _ in range(_ROUNDS):
        again = _MACRO.sub(lambda found: macros.get(found[1], found[0]), filled)
        if again == filled:
            break
        filled = again
    if unknown := _MACRO.search(filled):
        raise NotCarried(f"the macro {unknown[0]} is not defined")
    return _ENV.sub(r"${env:\1}", filled)
