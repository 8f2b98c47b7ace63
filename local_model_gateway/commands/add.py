"""`lmg add ENGINE`: put models of one engine into a file of their own beside the user's configuration."""

import argparse
import os
import re
from pathlib import Path

from local_model_gateway import config, config_reader, errors, paths
from local_model_gateway.commands import init, recipe_list
from local_model_gateway.detection import engines, survey
from local_model_gateway.terminal import Terminal
from recipes.front_matter import Kind


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("engine", metavar="ENGINE", help="a recipe's id, such as ollama")
    parser.add_argument(
        "--model", metavar="MODEL", help="a file, a folder, or the engine's own name"
    )
    parser.add_argument("--name", metavar="NAME", help="what clients ask for")
    parser.add_argument("--at", metavar="URL", help="where a server listens")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be written")
    parser.add_argument("--force", action="store_true", help="replace a file; the old one is kept")


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    engine = recipe_list.found(given.engine, Kind.ENGINE).id
    chosen = _named(given, engine) if given.model else _offered(given, engine)
    name = given.name or (chosen[0].name if len(chosen) == 1 else engine)
    target = paths.config_dir(os.environ) / "conf.d" / f"{_plain(name)}.yaml"
    text = f"version: 1\n\n{survey.sections(chosen)}\n"
    document = config_reader.parse(text.encode(), target, os.environ)
    config.validate(document)
    _not_configured_yet(document, target)
    kept = None if given.dry_run else init.write(target, text, force=given.force)
    content = {
        "status": "ok",
        "written": None if given.dry_run else str(target),
        "kept": None if kept is None else str(kept),
        "models": [choice.name for choice in chosen],
        "content": text,
    }
    said = (
        text
        if given.dry_run
        else f"wrote {paths.shown(target)}: {', '.join(c.name for c in chosen)}"
    )
    terminal.result("lmg.add/1", content, f"{said}\nNext  lmg down; lmg up")
    return 0


def _named(given: argparse.Namespace, engine: str) -> list[survey.Choice]:
    section: dict[str, object] = {"engine": engine, "model": given.model}
    if given.at:
        section["url"] = given.at
    made: dict[str, survey.Choice] = {}
    file = Path(given.model)
    survey.add(made, given.name or file.name.removesuffix(".gguf"), section)
    return list(made.values())


def _offered(given: argparse.Namespace, engine: str) -> list[survey.Choice]:
    """Everything that a running server of this kind has."""
    port = re.search(r":([0-9]+)/?$", given.at or "")
    found = engines.running([int(port[1])] if port else engines.PORTS)
    made: dict[str, survey.Choice] = {}
    for one in found:
        for model in one.models if one.engine == engine else ():
            section: dict[str, object] = {"engine": engine, "model": model}
            if given.at or one.port not in engines.USUAL_PORTS.get(engine, ()):
                section["url"] = given.at or one.url
            survey.add(made, model, section)
    if not made:
        raise errors.NoSuchThing(
            f"no running {engine} with a model was found; say which with --model, "
            f"or see `lmg recipes show {engine}`"
        )
    return list(made.values())


def _not_configured_yet(document: config_reader.Document, target: Path) -> None:
    """A model in two files would make the whole configuration invalid, later and elsewhere."""
    there = [file for file in config.find(None, os.environ) if file != target]
    try:
        config_reader.merge([*(config_reader.read(file, os.environ) for file in there), document])
    except errors.ConfigError as error:
        raise errors.RefusedByGateway(f"{error.message}{error.suggestion or ''}") from None


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "models"
