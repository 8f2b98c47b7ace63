"""The JSON Schema of the configuration and its documentation page, both made from the models."""

import argparse
import json
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic
from pydantic.fields import FieldInfo

from broker import settings as broker_settings
from local_model_gateway import paths
from local_model_gateway.config import Config
from runtimes import units

DOCS = Path(__file__).parent.parent / "docs"
SCHEMA_FILE = "config.schema.json"
PAGE_FILE = "configuration.md"

_INTRODUCTION = f"""\
# Configuration

<!-- Made by `python -m local_model_gateway.config_schema --write`; do not edit. -->

No configuration is needed: without one the gateway serves a tiny built-in model. The first of these that exists is used:

1. the file that `--config` names
2. the file that the variable `LMG_CONFIG` names
3. `{paths.PROJECT_FILE}` in the working directory
4. `config.yaml` and `conf.d/*.yaml` in the platform's configuration directory (`lmg config path` prints it;
   on Linux `~/.config/{paths.APP}`)

```yaml
# yaml-language-server: $schema=./{SCHEMA_FILE}
version: 1
runtimes:
  qwen3-32b:
    engine: llama-server
    model: ~/models/qwen3-32b-q4.gguf
    memory: 24GiB
    max_concurrency: 2
    idle_unload: 15m
```

The file is read strictly: an unknown key, a key that is set twice or a value of the wrong type is an error with its line,
and nothing starts (exit code 4). Check a file with `lmg config validate`; `lmg config schema` prints a JSON Schema for editors.

- **Durations** are written `250ms`, `30s`, `10m`, `2h`, `7d`. **Sizes** are written `512MiB`, `92GiB`.
- **`${{env:NAME}}`** is replaced by that environment variable, **`${{env:NAME:-default}}`** has a default, **`${{file:PATH}}`** is the
  text of a file (relative to the configuration). What comes in this way is never printed or logged. `$${{` stands for `${{`.
- Only `true` and `false` are truths, only decimal digits are numbers, and text that looks like either needs quotes.
- Anchors and aliases work; tags and merge keys (`<<`) do not. A file may have 256 KiB.
- A file that another user owns or may change is refused, because it names programs to start.
- A file in `conf.d` adds to the main one; the same setting in two files is an error.
"""


def schema() -> dict[str, Any]:  # Any: JSON
    """For editors: `# yaml-language-server: $schema=./config.schema.json`."""
    made = Config.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def page() -> str:
    """`docs/configuration.md`, the same bytes each time."""
    parts = [_INTRODUCTION, *_sections(Config, "")]
    return "\n".join(parts).rstrip() + "\n"


def outputs() -> dict[Path, str]:
    """What belongs in which file."""
    return {
        DOCS / SCHEMA_FILE: json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
        DOCS / PAGE_FILE: page(),
    }


def main(arguments: list[str] | None = None) -> int:
    """`--write` the two files, or `--check` that they are up to date."""
    parser = argparse.ArgumentParser(prog="config_schema", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true")
    what.add_argument("--check", action="store_true")
    chosen = parser.parse_args(arguments)
    stale = False
    for file, text in outputs().items():
        if chosen.write:
            file.write_text(text, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != text:
            stale = True
            sys.stderr.write(
                f"docs/{file.name} is out of date; run "
                "`python -m local_model_gateway.config_schema --write`\n"
            )
    return 1 if stale else 0


def _sections(model: type[pydantic.BaseModel], prefix: str) -> Iterator[str]:
    """The model's own settings as a table, then each model inside it under a heading of its own."""
    plain: list[str] = []
    nested: list[str] = []
    for name, field in model.model_fields.items():
        key = field.alias or name
        inner = _models(field.annotation)
        if not inner:
            plain.append(f"| `{key}` | {_type(field)} | {_default(field)} | {_words(field)} |")
            continue
        path = f"{prefix}{key}" + (".NAME" if _is_map(field.annotation) else "")
        for one in inner:
            title = f"## `{path}`" if not prefix else f"### `{path}`"
            if len(inner) > 1:
                title += f" ({one.__name__})"
            words = field.description or one.__doc__ or ""
            nested += [f"{title}\n\n{_clean(words)}\n", *_sections(one, f"{path}.")]
    if plain:
        yield (
            "| key | type | default | what it does |\n|---|---|---|---|\n" + "\n".join(plain) + "\n"
        )
    yield from nested


def _models(annotation: Any) -> list[type[pydantic.BaseModel]]:  # Any: a type expression
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models(part)]


def _is_map(annotation: Any) -> bool:  # Any: a type expression
    return typing.get_origin(annotation) is dict


def _type(field: FieldInfo) -> str:
    parts = (
        typing.get_args(field.annotation)
        if typing.get_origin(field.annotation) in {typing.Union, types.UnionType}
        else (field.annotation,)
    )
    return " or ".join(_type_name(part, field) for part in parts if part is not type(None))


def _type_name(part: Any, field: FieldInfo) -> str:  # Any: a type expression
    marks = [*getattr(part, "__metadata__", ()), *field.metadata]
    origin, arguments = typing.get_origin(part), typing.get_args(part)
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    for mark in marks:
        if mark in _UNITS:
            return _UNITS[mark]
    if origin is typing.Annotated:
        return _type_name(arguments[0], field)
    if origin in _CONTAINERS:
        return f"{_CONTAINERS[origin]} of {_type_name(arguments[0 if origin is not dict else 1], field)}"
    return _NAMES.get(part, getattr(part, "__name__", str(part)).lower())


# The broker has durations and sizes of its own, with other limits.
_UNITS = {
    mark: name
    for name, kinds in (
        ("duration", (units.Duration, broker_settings.Duration)),
        ("size", (units.Size, broker_settings.Size)),
    )
    for kind in kinds
    for mark in typing.get_args(kind)
    if isinstance(mark, pydantic.BeforeValidator)
}
_CONTAINERS = {tuple: "list", list: "list", frozenset: "list", dict: "map"}
_NAMES: dict[Any, str] = {  # Any: a type
    str: "text",
    int: "number",
    float: "number",
    bool: "truth",
    Path: "path",
    pydantic.SecretStr: "secret text",
}


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ((), {}, [], frozenset()):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    kind = _type(field)
    if "duration" in kind and isinstance(value, int | float):
        return f"`{_in_units(value, _DURATIONS)}`"
    if "size" in kind and isinstance(value, int):
        return f"`{_in_units(value, _SIZES)}`"
    return f"`{value}`"


_DURATIONS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_SIZES = ((1024**4, "TiB"), (1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"))


def _in_units(value: float, units: tuple[tuple[int, str], ...]) -> str:
    for factor, unit in units:
        if value and value % factor == 0:
            return f"{value / factor:.0f}{unit}"
    return f"{value:g}{units[-1][1]}"


def _words(field: FieldInfo) -> str:
    return _clean(field.description or "")


def _clean(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
