"""`lmg connect CLIENT`: set a client up to use this gateway; the change is shown first and can be undone."""

import argparse
import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from local_model_gateway import client, config, connections, errors, paths
from local_model_gateway.commands import recipe_list
from local_model_gateway.terminal import Terminal
from recipes import render
from recipes.front_matter import Kind


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("client", metavar="CLIENT")
    parser.add_argument("--model", metavar="MODEL", help="which one the client should use")
    parser.add_argument("--dry-run", action="store_true", help="only show the change")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    rendered = rendered_for(given)
    book = connections.Book(client.state_dir(given))
    changes = connections.plan(rendered, Path.home(), book.read(given.client))
    content = {
        "client": given.client,
        "changes": [
            {"do": change.kind, "what": change.text, "diff": difference(change)}
            for change in changes
            if change.needed
        ],
        "blocks": _by_hand(rendered, changes),
        "secrets": dict(rendered.recipe.front.secrets),
        "done": False,
        "not_verified": list[str](),
    }
    pending = [change for change in changes if change.needed and change.kind != "manual"]
    pending = [one for one in pending if not _in_force(one, book.read(given.client))]
    shown = _shown(rendered, changes)
    if given.dry_run or not pending:
        # What only a person can do is never "done": nobody looked whether it was.
        done = not given.dry_run and not all(change.kind == "manual" for change in changes)
        said = _already(rendered, changes) if done else shown
        terminal.result("lmg.connect/1", {**content, "done": done}, said)
        return 0
    if not given.yes:
        terminal.note(shown)
        if not terminal.agreed("Go ahead?"):
            raise errors.RefusedByGateway("nothing was changed; --yes goes ahead without asking")
    connections.apply(given.client, changes, book)
    missing = connections.verify(rendered)
    content = {**content, "done": True, "not_verified": missing}
    lines = [f"{rendered.recipe.front.title} is set up", *missing]
    lines += [change.text for change in changes if change.kind == "manual"]
    lines += [f"{name}: {text}" for name, text in rendered.recipe.front.secrets.items()]
    lines.append(f"Undo: lmg disconnect {given.client}")
    terminal.result("lmg.connect/1", content, "\n".join(lines))
    return 0


def rendered_for(given: argparse.Namespace) -> render.Rendered:
    """The client's recipe, filled in with this gateway's address and a model of it."""
    recipe = recipe_list.found(given.client, Kind.CLIENT)
    gateway = client.find(given)
    model, context = _model(given, gateway)
    values = render.Values(gateway.url, model, context_tokens=context or 32768)
    return render.render(recipe, values)


def difference(change: connections.Change) -> str:
    """A unified diff of a file's change; empty for the rest."""
    if change.kind != "write":
        return ""
    before = (change.before or "").splitlines(keepends=True)
    after = change.after.splitlines(keepends=True)
    name = change.text
    lines = difflib.unified_diff(before, after, name if before else "/dev/null", name, n=2)
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)


def _by_hand(rendered: render.Rendered, changes: Sequence[connections.Change]) -> dict[str, str]:
    """The snippets that a person has to put in place; none where we write them ourselves."""
    return rendered.blocks if all(change.kind == "manual" for change in changes) else {}


def _already(rendered: render.Rendered, changes: Sequence[connections.Change]) -> str:
    manual = [f"  By hand: {change.text}" for change in changes if change.kind == "manual"]
    return "\n".join([f"{rendered.recipe.front.title} is set up already", *manual])


def _in_force(change: connections.Change, done: Sequence[connections.Done]) -> bool:
    return change.kind == "run" and any(one.run == list(change.run) for one in done)


def _shown(rendered: render.Rendered, changes: Sequence[connections.Change]) -> str:
    parts = [f"{rendered.recipe.front.title}: {rendered.recipe.front.summary}", ""]
    for change in changes:
        match change.kind:
            case "run":
                backup = (
                    f"\n  It changes {paths.shown(change.path)} (backup kept)"
                    if change.path
                    else ""
                )
                parts.append(f"  This will run {change.text}{backup}")
            case "write":
                parts.append(difference(change) or f"  {change.text} needs no change")
            case _:
                parts.append(f"  By hand: {change.text}")
    for name, text in _by_hand(rendered, changes).items():
        parts += ["", f"--- {name}", text.rstrip("\n")]
    return "\n".join(parts)


def _model(given: argparse.Namespace, gateway: client.Client) -> tuple[str, int | None]:
    try:
        listed = gateway.get("/v1/models", timeout_s=5)["data"]
    except errors.Unreachable:
        settings = config.load(Path(given.config) if given.config else None, os.environ)
        listed = [{"id": name} for name in settings.runtimes]
    for model in listed:
        if given.model in (None, model["id"]):
            return str(model["id"]), model.get("context_length")
    if given.model:
        raise errors.NoSuchThing(f"no model {given.model!r}; `lmg models` lists them")
    return "MODEL", None
