"""`lmg init`: look around, and write a short configuration with what was found."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from local_model_gateway import config, config_reader, errors, paths, phrases
from local_model_gateway.detection import survey, telling
from local_model_gateway.terminal import Terminal


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--user", action="store_true", help="for this user, wherever you are")
    parser.add_argument("--output", metavar="FILE", help="write there")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be written")
    parser.add_argument("--force", action="store_true", help="replace a file; the old one is kept")


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    target = _target(given)
    terminal.progress("looking for engines and models")
    found = survey.look(os.environ, Path.home())
    chosen = survey.choices(found)
    text = survey.as_yaml(chosen)
    # What we write must be what we read.
    config.validate(config_reader.parse(text.encode(), target, os.environ))
    kept = None if given.dry_run else write(target, text, force=given.force)
    content = {
        "status": "ok",
        "written": None if given.dry_run else str(target),
        "kept": None if kept is None else str(kept),
        "models": [choice.name for choice in chosen],
        "found": found.as_json(),
        "content": text,
    }
    lines = [telling.survey(found), ""]
    if given.dry_run:
        lines += [f"{paths.shown(target)} would be:", "", text]
    else:
        lines += [f"wrote {paths.shown(target)}, {phrases.count(len(chosen) or 1, 'model')}"]
        lines += _next(given, target, [choice.name for choice in chosen])
    terminal.result("lmg.init/1", content, "\n".join(lines))
    return 0


def _next(given: argparse.Namespace, target: Path, names: Sequence[str]) -> list[str]:
    """A gateway that runs looks into the user's folder, and nowhere else unless it was told so."""
    from local_model_gateway.adding import additions

    if target.parent != paths.config_dir(os.environ):
        return ["Next  lmg up"]
    taken = additions.taken(given, added=names)
    return [
        taken.said,
        f'Next  lmg run {names[0]} "Say hello"' if taken.taken and names else "Next  lmg up",
    ]


def write(target: Path, text: str, *, force: bool = False) -> Path | None:
    """Put the file there as a whole; where one is, refuse, or keep it beside and say where."""
    kept = None
    if target.exists():
        if not force:
            raise errors.RefusedByGateway(
                f"{paths.shown(target)} exists and is yours; --force replaces it and keeps the old one"
            )
        kept = paths.free_beside(target)
        target.replace(kept)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = target.with_name(f".{target.name}.{os.getpid()}")
    made.write_text(text, encoding="utf-8")
    made.chmod(0o600)
    made.replace(target)
    return kept


def _target(given: argparse.Namespace) -> Path:
    named = given.output or given.config
    if named:
        return Path(named).expanduser().absolute()
    if given.user:
        return paths.config_dir(os.environ) / "config.yaml"
    return Path(paths.PROJECT_FILE).absolute()
