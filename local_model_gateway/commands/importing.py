"""`lmg import FILE`: take over the models of another program's configuration."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local_model_gateway import config, config_reader, errors, paths
from local_model_gateway.commands import init
from local_model_gateway.detection import survey
from local_model_gateway.importing import carried, engine_router, llama_presets, llama_swap
from local_model_gateway.terminal import Terminal

KINDS = ("llama-swap", "local-engine-router", "llama-server-presets")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--output", metavar="FILE", help="instead of one in conf.d")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be written")
    parser.add_argument("--force", action="store_true", help="replace a file; the old one is kept")


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    kind, found = recognised(Path(given.file).expanduser())
    target = paths.config_dir(os.environ) / "conf.d" / f"imported-{kind}.yaml"
    if given.output:
        target = Path(given.output).expanduser().absolute()
    chosen, left_out = _holding(found, target)
    text = f"# From {Path(given.file).name} ({kind}).\nversion: 1\n\n{survey.sections(chosen)}\n"
    if not chosen:
        raise errors.CommandFailed("\n".join(["nothing could be carried over:", *left_out]))
    kept = None if given.dry_run else init.write(target, text, force=given.force)
    content: Mapping[str, Any] = {
        "kind": kind,
        "written": None if given.dry_run else str(target),
        "kept": None if kept is None else str(kept),
        "models": [choice.name for choice in chosen],
        "left_out": left_out,
        "content": text,
    }
    lines = [text] if given.dry_run else [f"wrote {paths.shown(target)}: {len(chosen)} models"]
    lines += [f"not carried over: {reason}" for reason in left_out]
    terminal.result("lmg.import/1", content, "\n".join(lines))
    return 0


def recognised(file: Path) -> tuple[str, carried.Carried]:
    """What the file is, and what is in it."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise errors.NoSuchThing(f"{file}: {(error.strerror or 'unreadable').lower()}") from None
    text = content.decode("utf-8", "replace")
    if file.suffix == ".ini" and llama_presets.recognises(text):
        return KINDS[2], llama_presets.read(text)
    # Their references mean something else than ours: nothing is filled in here.
    data = config_reader.parse(content.replace(b"${", b"$${"), file, {}).data
    if llama_swap.recognises(data):
        return KINDS[0], llama_swap.read(data)
    if engine_router.recognises(data):
        return KINDS[1], engine_router.read(data)
    raise errors.CommandFailed(f"{file.name} is no configuration of {', '.join(KINDS)}")


def _holding(found: carried.Carried, target: Path) -> tuple[list[survey.Choice], list[str]]:
    """Only runtimes that our own reader takes; for the others, why not."""
    made: dict[str, survey.Choice] = {}
    left_out = list(found.left_out)
    for name, section in found.runtimes.items():
        before = dict(made)
        survey.add(made, name, section)
        text = "version: 1\n" + survey.sections(list(made.values()))
        try:
            config.validate(config_reader.parse(text.encode(), target, os.environ))
        except errors.ConfigError as error:
            made = before
            left_out.append(f"{name}: {error.message}{error.suggestion or ''}")
    return list(made.values()), left_out
