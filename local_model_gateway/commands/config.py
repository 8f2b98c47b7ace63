"""`lmg config`: where the configuration is, what it says, whether it holds."""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from local_model_gateway import config, config_schema, errors, paths, redact
from local_model_gateway.terminal import Terminal


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action", nargs="?", default="path", choices=("path", "show", "validate", "schema")
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="instead of the usual one")


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    named = given.file or given.config
    file = Path(named) if named else None
    match given.action:
        case "path":
            return _path(file, terminal)
        case "schema":
            terminal.say(json.dumps(config_schema.schema(), indent=2, ensure_ascii=False))
            return 0
        case "validate":
            return _validate(file, terminal)
        case _:
            shown = effective(config.load(file, os.environ))
            terminal.result("lmg.config/1", {"config": shown}, _as_yaml(shown))
            return 0


def effective(settings: config.Config) -> dict[str, Any]:  # Any: YAML data
    """Every setting with its default; what came from elsewhere as its reference, secrets never."""
    redactor = redact.Redactor(settings.secrets)
    shown: dict[str, Any] = _cleaned(settings.model_dump(mode="json", by_alias=True), redactor)
    for path, written in settings.written.items():
        inside: Any = shown
        for part in path[:-1]:
            inside = inside[part]
        inside[path[-1]] = written
    return shown


def _cleaned(value: Any, redactor: redact.Redactor) -> Any:  # Any: YAML data
    if isinstance(value, dict):
        return {key: _cleaned(inner, redactor) for key, inner in value.items()}
    if isinstance(value, list):
        return [_cleaned(inner, redactor) for inner in value]
    return redactor(value) if isinstance(value, str) else value


def _as_yaml(shown: dict[str, Any]) -> str:
    import yaml

    text: str = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)
    return text.rstrip()


def _path(file: Path | None, terminal: Terminal) -> int:
    used = config.find(file, os.environ)
    content = {
        "used": [str(one) for one in used],
        "config_dir": str(paths.config_dir(os.environ)),
        "state_dir": str(paths.state_dir(os.environ)),
        "cache_dir": str(paths.cache_dir(os.environ)),
    }
    lines = [
        "used      " + (", ".join(paths.shown(one) for one in used) or "none: the built-in one"),
        f"config    {paths.shown(paths.config_dir(os.environ))}",
        f"state     {paths.shown(paths.state_dir(os.environ))}",
        f"cache     {paths.shown(paths.cache_dir(os.environ))}",
    ]
    terminal.result("lmg.config.path/1", content, "\n".join(lines))
    return 0


def _validate(file: Path | None, terminal: Terminal) -> int:
    try:
        settings = config.load(file, os.environ)
    except errors.ConfigError as error:
        if terminal.json:
            problems = [
                {
                    "file": None if one.file is None else str(one.file),
                    "line": one.line,
                    "column": one.column,
                    "message": one.message + (one.suggestion or ""),
                }
                for one in error.problems
            ]
            terminal.object({"schema": "lmg.config.validate/1", "ok": False, "problems": problems})
        else:
            for one in error.problems:
                terminal.note(f"{one}{_excerpt(one)}")
        return error.exit_code
    content = {"ok": True, "problems": [], "runtimes": list(settings.runtimes)}
    names = ", ".join(settings.runtimes) or "none"
    where = ", ".join(paths.shown(one) for one in settings.files) or "the built-in configuration"
    terminal.result("lmg.config.validate/1", content, f"{where} holds; models: {names}")
    return 0


def _excerpt(problem: errors.Problem) -> str:
    """The line itself with a finger under it."""
    if problem.file is None or not problem.line or not problem.column:
        return ""
    try:
        line = problem.file.read_text(encoding="utf-8", errors="replace").splitlines()[
            problem.line - 1
        ]
    except (OSError, IndexError):
        return ""
    line = redact.Redactor()(line[:200])
    return f"\n  {problem.line:4} | {line}\n       | {' ' * (problem.column - 1)}^"
