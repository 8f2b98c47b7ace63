"""`lmg remove NAME`: take out what `add`, `adopt` or `import` wrote; the user's own files stay as they are."""

import argparse
import difflib

from local_model_gateway import errors, paths, phrases
from local_model_gateway.adding import additions
from local_model_gateway.terminal import Terminal


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a model, or a file of conf.d that we wrote")
    parser.add_argument("--dry-run", action="store_true", help="only say what would happen")
    parser.add_argument(
        "--force", action="store_true", help="also from a file that was edited; it is kept"
    )


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    one, names = _found(given)
    gone = set(names) == set(one.sections)
    kept = None if given.dry_run else additions.take_out(one, names, force=given.force)
    content = {
        "status": "ok",
        "changed": not given.dry_run,
        "file": str(one.file),
        "removed": list(names),
        "deleted": gone,
        "kept": None if kept is None else str(kept),
    }
    what = f"{', '.join(names)} from {paths.shown(one.file)}"
    if not names:
        what = paths.shown(one.file)
    elif gone:
        what = f"{paths.shown(one.file)} with {', '.join(names)}"
    if given.dry_run:
        terminal.result("lmg.remove/1", content, f"would remove {what}")
        return 0
    terminal.progress("telling the gateway")
    taken = additions.taken(given, removed=names)
    said = [f"removed {what}", taken.said]
    if kept is not None:
        said.insert(1, f"the edited file is kept as {paths.shown(kept)}")
    terminal.result("lmg.remove/1", {**content, "gateway": taken.as_json()}, "\n".join(said))
    return 0


def _found(given: argparse.Namespace) -> tuple[additions.Ours, tuple[str, ...]]:
    """The file of ours, and which of its runtimes are meant."""
    ours = additions.ours()
    for one in ours:
        for name, section in one.sections.items():
            if given.name == name or given.name in (section.get("aliases") or ()):
                return one, (name,)
    for one in ours:
        if given.name in (one.file.stem, one.file.name):
            return one, tuple(one.sections)
    existing = additions.configured(given)
    if there := existing.get(given.name):
        first, last = there.place.line, there.last_line
        lines = f"line {first}" if first == last else f"lines {first} to {last}"
        raise errors.RefusedByGateway(
            f"{given.name} is in {paths.shown(there.place.file)}, which is yours: delete {lines} "
            "there; a running gateway takes it at once"
        )
    known = [name for one in ours for name in (*one.sections, one.file.stem)]
    near = difflib.get_close_matches(given.name, [*known, *existing], n=3)
    hint = f"did you mean {', '.join(near)}?" if near else _listing(known)
    raise errors.NoSuchThing(f"no {given.name!r} is configured; {hint}")


def _listing(known: list[str]) -> str:
    if not known:
        return "nothing was added by `lmg add`, `lmg adopt` or `lmg import`"
    names = list(dict.fromkeys(known))
    return f"{phrases.count(len(names), 'name')} can be removed: {', '.join(names)}"
