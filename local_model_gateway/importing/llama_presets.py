"""llama-server's presets: an INI file with a section for each model, keys as on its command line."""

from collections.abc import Mapping

from local_model_gateway.importing import command_lines
from local_model_gateway.importing.carried import Carried, NotCarried, Section
from local_model_gateway.importing.source import Source

_EVERY = "*"
_MODEL = ("model", "m", "hf-repo", "hf", "hfr", "model-url", "mu")
_ROUTERS = frozenset({"version", "dedup-cache-models", "host", "port", "models-dir"})
"""llama-server's router says these itself, or they mean nothing here."""
_WHY: Mapping[str, str] = {
    "load-on-startup": "nothing is loaded before it is asked for; run `lmg load NAME` after the start",
    "models-preset": "it names another such file; import that one too",
    "models-max": "what fits the memory stays loaded side by side here",
    "models-autoload": "a model is loaded when it is asked for",
    "api-key": "keys are not copied; put each into server.keys as ${env:NAME}",
    "api-key-file": "keys are not copied; put each into server.keys as ${file:PATH}",
    "sleep-idle-seconds": "an idle engine is stopped here: `idle_unload`",
    "reranking": "/v1/rerank is not served",
    "rerank": "/v1/rerank is not served",
    "tags": "they are shown nowhere",
}
_WITH_OPPOSITE = frozenset(
    {"mmap", "jinja", "webui", "ui", "cont-batching", "context-shift", "warmup", "slots", "perf"}
    | {
        "mmproj-auto",
        "mmproj-offload",
        "kv-offload",
        "repack",
        "escape",
        "kv-unified",
        "op-offload",
    }
    | {"prefill-assistant", "direct-io", "cache-prompt", "log-prefix", "log-timestamps"}
)
"""Options without a value; `no-` in front means the opposite."""
_SWITCHES = _WITH_OPPOSITE | frozenset(
    {"metrics", "props", "embedding", "embeddings", "rerank", "reranking", "mlock", "swa-full"}
    | {"cpu-moe", "verbose", "offline", "special", "check-tensors", "ignore-eos", "log-disable"}
    | {"spm-infill", "lora-init-without-apply", "no-host", "cpu-moe-draft"}
)
_NEGATIVES: Mapping[str, str] = {
    "nkvo": "kv-offload",
    "nocb": "cont-batching",
    "nr": "repack",
    "ndio": "direct-io",
    "no-mmproj": "mmproj-auto",
}
_NO = frozenset({"off", "disabled", "false", "0", "no"})
_NAMES: Mapping[str, str] = {"n-parallel": "parallel", "ctx": "ctx-size", "n-ctx": "ctx-size"}
"""What the environment variables call an option, where the command line has another word."""


def recognises(source: Source) -> bool:
    """Whether the file looks like one."""
    return any(
        _plain(key) in _MODEL
        for keys in source.data.values()
        if isinstance(keys, dict)
        for key in keys
    )


def read(source: Source) -> Carried:
    """Its models as runtimes."""
    carried = Carried()
    shared = dict(source.section(_EVERY))
    _leave(carried, source, _EVERY, shared)
    for name in source.data:
        own = source.section(name)
        if name == _EVERY or not {_plain(key) for key in own} - _ROUTERS:
            continue
        _leave(carried, source, name, own)
        try:
            section, notes = _runtime(source, {**_by_plain(shared), **_by_plain(own)})
        except NotCarried as error:
            carried.leave(source.line(name), name, str(error))
            continue
        carried.runtimes[name] = section
        carried.lines[name] = source.line(name) or 1
        for note in notes:
            carried.leave(source.line(name), name, note)
    return carried


def _leave(carried: Carried, source: Source, section: str, keys: Mapping[str, str]) -> None:
    for key, value in keys.items():
        why = _WHY.get(_plain(key))
        if why and value.lower() not in _NO:
            carried.leave(source.line(section, key), f"[{section}] {key}", why)


def _runtime(source: Source, keys: Mapping[str, str]) -> tuple[Section, list[str]]:
    words, more = ["llama-server"], dict[str, object]()
    for key, value in keys.items():
        if key == "stop-timeout":
            more["stop_timeout"] = f"{value}s"
        elif key == "sleep-idle-seconds" and value.isdigit() and value != "0":
            more["idle_unload"] = f"{value}s"
        elif key not in _ROUTERS and (key not in _WHY or key in ("rerank", "reranking")):
            words += _as_words(key, value)
    found = command_lines.understood(words)
    section = command_lines.settled(found.section, source.file.parent)
    if found.names:
        section["aliases"] = found.names
    return {**section, **more}, found.notes


def _as_words(key: str, value: str) -> list[str]:
    """One key as the command line would say it; a switch that is off says so."""
    negative = key not in _SWITCHES and (key in _NEGATIVES or key.startswith("no-"))
    name = _NEGATIVES.get(key, key.removeprefix("no-")) if negative else key
    if name not in _SWITCHES:
        return [f"-{key}" if len(key) <= 3 and key != "fit" else f"--{key}", value]
    if (value.lower() not in _NO) is not negative:
        return [f"--{name}"]
    return [f"--no-{name}"] if name in _WITH_OPPOSITE else []


def _by_plain(keys: Mapping[str, str]) -> dict[str, str]:
    """By the option's own name, so that a model's `c` replaces everybody's `LLAMA_ARG_CTX_SIZE`."""
    return {_LONG.get(_plain(key), _plain(key)): value for key, value in keys.items()}


def _plain(key: str) -> str:
    if not key.startswith("LLAMA_ARG_"):
        return key
    plain = key.removeprefix("LLAMA_ARG_").lower().replace("_", "-")
    return _NAMES.get(plain, plain)


_LONG: Mapping[str, str] = {
    "m": "model",
    "c": "ctx-size",
    "np": "parallel",
    "ngl": "n-gpu-layers",
    "gpu-layers": "n-gpu-layers",
    "a": "alias",
    "b": "batch-size",
    "ub": "ubatch-size",
    "t": "threads",
    "fa": "flash-attn",
    "ctk": "cache-type-k",
    "ctv": "cache-type-v",
    "hf": "hf-repo",
    "hfr": "hf-repo",
    "mm": "mmproj",
    "kvo": "kv-offload",
    "kvu": "kv-unified",
    "cb": "cont-batching",
    "dio": "direct-io",
    "cmoe": "cpu-moe",
    "v": "verbose",
}
