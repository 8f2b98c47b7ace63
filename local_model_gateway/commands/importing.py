"""`lmg import FILE`: take over the models of another program's configuration."""

import argparse
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from local_model_gateway import config, config_reader, errors, paths, phrases
from local_model_gateway.adding import additions
from local_model_gateway.detection import survey
from local_model_gateway.importing import carried, engine_router, llama_presets, llama_swap, source
from local_model_gateway.terminal import Terminal

KINDS = ("llama-swap", "local-engine-router", "llama-server-presets")
MAX_BYTES = 1024 * 1024


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--output", metavar="FILE", help="instead of one in conf.d")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be written")
    parser.add_argument("--force", action="store_true", help="replace a file; the old one is kept")


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    file = Path(given.file).expanduser().absolute()
    kind, found = recognised(file)
    name = f"imported-{kind}"
    where = additions.target(name)
    if given.output:
        where = Path(given.output).expanduser().absolute()
    chosen = _holding(found, where)
    if not chosen:
        raise errors.CommandFailed(
            "\n".join(["nothing could be carried over:", *_said(file, found)])
        )
    head = additions.head("import", name, f"{file.name} ({kind})")
    plan = additions.plan(given, chosen, where, head, force=given.force)
    for wanted, whose in plan.conflicts.items():
        found.leave(found.lines.get(wanted), wanted, f"{whose}; rename one of them")
    kept = None
    if plan.new and not given.dry_run:
        kept = additions.write(plan, force=given.force)
    content: dict[str, Any] = {  # Any: JSON
        "kind": kind,
        "changed": bool(plan.new) and not given.dry_run,
        "written": str(where) if plan.new and not given.dry_run else None,
        "kept": None if kept is None else str(kept),
        "gone": list(plan.gone) if plan.new else [],
        "models": [choice.name for choice in chosen if choice.name not in plan.conflicts],
        "there": dict(plan.there),
        "left_out": [{"file": file.name, **asdict(one)} for one in found.left],
        "content": plan.text if plan.new else "",
    }
    lines = [*_outcome(plan, dry_run=given.dry_run), *additions.replaced(plan, kept)]
    if plan.new and not given.dry_run and where.parent == additions.folder():
        terminal.progress("telling the gateway")
        taken = additions.taken(given, added=plan.new)
        content["gateway"] = taken.as_json()
        lines += [taken.said, f"Undo  lmg remove {where.stem}"]
    if found.left:
        lines += ["", f"not carried over, {phrases.count(len(found.left), 'thing')}:"]
    lines += _said(file, found)
    terminal.result("lmg.import/1", content, "\n".join(lines))
    return 0


def _outcome(plan: additions.Plan, *, dry_run: bool) -> list[str]:
    lines = []
    if plan.new and dry_run:
        lines += [f"{paths.shown(plan.target)} would be:", "", plan.text]
    elif plan.new:
        count = phrases.count(len(plan.new), "model")
        lines.append(f"wrote {paths.shown(plan.target)}: {count}")
    if plan.there:
        names = ", ".join(plan.there.values())
        lines.append(f"configured already, and left as it is: {names}")
    if not plan.new:
        lines.append("nothing was changed")
    return lines


def _said(file: Path, found: carried.Carried) -> list[str]:
    """One line for each, in the order of the file."""
    return [
        f"  {file.name}:{one.line or 1}: {one.key}: {one.why}"
        for one in sorted(found.left, key=lambda one: one.line or 0)
    ]


def recognised(file: Path) -> tuple[str, carried.Carried]:
    """What the file is, and what is in it."""
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise errors.NoSuchThing(f"{file}: {(error.strerror or 'unreadable').lower()}") from None
    if len(content) > MAX_BYTES:
        raise errors.CommandFailed(f"{file.name} is larger than {MAX_BYTES // 1024} KiB")
    text = content.decode("utf-8-sig", "replace")
    if file.suffix in (".ini", ".conf", ".cfg"):
        presets = source.read_ini(text, file)
        if llama_presets.recognises(presets):
            return KINDS[2], llama_presets.read(presets)
    else:
        read = source.read_yaml(text, file)
        if llama_swap.recognises(read.data):
            return KINDS[0], llama_swap.read(read)
        if engine_router.recognises(read.data):
            return KINDS[1], engine_router.read(read)
    raise errors.CommandFailed(f"{file.name} is no configuration of {', '.join(KINDS)}")


def _holding(found: carried.Carried, where: Path) -> list[survey.Choice]:
    """Only runtimes that our own reader takes; for the others, why not."""
    made: dict[str, survey.Choice] = {}
    for name, section in found.runtimes.items():
        before: Mapping[str, survey.Choice] = dict(made)
        survey.add(made, carried.literal(name), carried.literal_section(section))
        text = "version: 1\n" + survey.sections(list(made.values()))
        try:
            config.validate(config_reader.parse(text.encode(), where, os.environ))
        except errors.ConfigError as error:
            made = dict(before)
            found.leave(found.lines.get(name), name, f"{error.message}{error.suggestion or ''}")
    return list(made.values())
