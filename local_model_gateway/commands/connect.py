"""`lmg connect CLIENT`: set a client up to use this gateway; the change is shown first and can be undone."""

import argparse
import difflib
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from local_model_gateway import client, errors, paths
from local_model_gateway.commands import recipe_list
from local_model_gateway.connecting import client_setting, connections, tool_offer
from local_model_gateway.connecting.connection_book import Book
from local_model_gateway.detection import clients as detection
from local_model_gateway.terminal import Terminal
from recipes.front_matter import EnvStep, Kind

LABEL = 17
"""As wide as the longest label, so that what is changed stands in one column."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("client", nargs="?", metavar="CLIENT", help="none: those found here")
    parser.add_argument("--model", metavar="MODEL", help="which one the client should use")
    parser.add_argument("--dry-run", action="store_true", help="only show the change")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    if given.client is None:
        return _found_here(given, terminal)
    recipe = recipe_list.found(given.client, Kind.CLIENT)
    setting = client_setting.of(recipe, given)
    book = Book(client.state_dir(given))
    changes = connections.plan(setting.rendered, setting.places, book.read(given.client))
    offer = tool_offer.asked(setting.gateway) if "mcp" in recipe.front.needs else None
    version = client_setting.version(recipe)
    content = {
        "client": given.client,
        "version": version,
        "changes": [_as_data(one) for one in changes if one.pending or one.kind == "manual"],
        "tools": {"count": offer.tools, "about_tokens": offer.tokens} if offer else None,
        "blocks": _by_hand(setting, changes),
        "secrets": setting.rendered.secrets,
        "warnings": setting.warnings(version),
        "done": False,
        "reported": list[str](),
        "not_verified": list[str](),
    }
    shown = _shown(setting, changes, content, terminal)
    pending = [change for change in changes if change.pending]
    if given.dry_run or not pending:
        # What only a person can do is never "done": nobody looked whether it was.
        done = not given.dry_run and not all(change.kind == "manual" for change in changes)
        said = _already(setting, changes, terminal) if done else shown
        terminal.result("lmg.connect/1", {**content, "done": done}, said)
        return 0
    _programs_there(given.client, pending)
    if not given.yes:
        terminal.note(shown + "\n")
        if not terminal.agreed("Go ahead?"):
            raise errors.RefusedByGateway("nothing was changed; --yes goes ahead without asking")
    connections.apply(given.client, changes, book)
    _tell(setting, changes, content, terminal)
    return 0


def _found_here(given: argparse.Namespace, terminal: Terminal) -> int:
    """Which clients there are on this machine, and which of them are connected."""
    book = Book(client.state_dir(given))
    found = detection.installed(Path.home())
    content = [
        {"id": one.id, "title": one.title, "sign": one.sign, "connected": bool(book.read(one.id))}
        for one in found
    ]
    rows = [
        (f"lmg {'disconnect' if one['connected'] else 'connect'} {one['id']}", str(one["title"]))
        + (("connected",) if one["connected"] else ("",))
        for one in content
    ]
    table = terminal.table(("COMMAND", "CLIENT", ""), rows) if rows else "No client was found here."
    text = f"{table}\n\nAll that can be connected: lmg recipes"
    terminal.result("lmg.clients/1", {"clients": content}, text)
    return 0


def difference(change: connections.Change) -> str:
    """A unified diff of a file's change; empty for the rest."""
    if change.kind != "write":
        return ""
    before = (change.before or "").splitlines(keepends=True)
    after = change.after.splitlines(keepends=True)
    name = change.text
    lines = difflib.unified_diff(before, after, name if before else "/dev/null", name, n=2)
    ended = (line.rstrip("\r\n") for line in lines)
    return "".join(f"{line}\n" for line in ended)


def _tell(
    setting: client_setting.Setting,
    changes: Sequence[connections.Change],
    content: dict[str, Any],  # Any: JSON
    terminal: Terminal,
) -> None:
    """What became of it, in the client's own words where it has some."""
    title, id_ = setting.recipe.front.title, setting.recipe.id
    reports = connections.reports(setting.rendered)
    said = [one.found for one in reports if one.found is not None]
    missing = [f"`{one.command}` does not show it yet" for one in reports if one.found is None]
    tick = terminal.paint("green", "✓")
    lines = [f'{tick} connected: {title} says "{one}"' for one in said]
    lines += [] if said else [f"{tick} {title} is set up"]
    lines += [f"{terminal.paint('yellow', '!')} {one}" for one in missing]
    lines += [_row("By hand", change.text) for change in changes if change.kind == "manual"]
    lines += [_row(name, text) for name, text in setting.rendered.secrets.items()]
    lines += _how_to_launch(setting)
    lines.append(f"  Undo: lmg disconnect {id_}")
    after = {"done": True, "reported": said, "not_verified": missing}
    terminal.result("lmg.connect/1", {**content, **after}, "\n".join(lines))


def _how_to_launch(setting: client_setting.Setting) -> list[str]:
    if not setting.launchable():
        return []
    words = f"lmg launch {setting.recipe.id} --model {setting.model}"
    session = any(isinstance(step, EnvStep) for step in setting.rendered.steps)
    when = " for one session" if session else ""
    return [f"  To use a local model in {setting.recipe.front.title}{when}: {words}"]


def _as_data(change: connections.Change) -> dict[str, str]:
    return {"do": change.kind, "what": change.text, "diff": difference(change)}


def _by_hand(
    setting: client_setting.Setting, changes: Sequence[connections.Change]
) -> dict[str, str]:
    """The snippets that a person has to put in place; none where we write them ourselves."""
    by_hand = all(change.kind == "manual" for change in changes)
    return setting.rendered.blocks if by_hand else {}


def _already(
    setting: client_setting.Setting, changes: Sequence[connections.Change], terminal: Terminal
) -> str:
    manual = [_row("By hand", change.text) for change in changes if change.kind == "manual"]
    tick = terminal.paint("green", "✓")
    first = f"{tick} {setting.recipe.front.title} is set up already; nothing was changed"
    undo = f"  Undo: lmg disconnect {setting.recipe.id}"
    return "\n".join([first, *manual, *_how_to_launch(setting), undo])


def _shown(
    setting: client_setting.Setting,
    changes: Sequence[connections.Change],
    content: dict[str, Any],  # Any: JSON
    terminal: Terminal,
) -> str:
    """The client and its version, everything that would happen to it, and what that costs."""
    front, version = setting.recipe.front, content["version"]
    rows = [line for change in changes if change.kind != "manual" for line in _rows_of(change)]
    if (tools := content["tools"]) is not None:
        about = f"{tools['count']} tools, about {tools['about_tokens']:,} tokens"
        rows.append(_row("It adds", about))
    rows += [_row("Note", text) for text in content["warnings"]]
    rows += [line for change in changes if change.kind == "manual" for line in _rows_of(change)]
    parts = [f"{front.title} {version}" if version else front.title, "", *rows]
    for change in changes:
        lines = difference(change).splitlines()
        parts += ["", *(_painted(line, terminal) for line in lines)] if lines else []
    for name, text in content["blocks"].items():
        parts += ["", f"--- {name}", text.rstrip("\n")]
    return "\n".join(parts)


def _painted(line: str, terminal: Terminal) -> str:
    color = {"+": "green", "-": "red"}.get(line[:1])
    named = line.startswith(("+++", "---"))
    return line if color is None or named else terminal.paint(color, line)


def _rows_of(change: connections.Change) -> list[str]:
    match change.kind:
        case "run":
            rows = [_row("This will run" if change.pending else "It ran", change.text)]
            path = change.path
            if path is not None and change.pending:
                kept = " (backup kept)" if path.exists() else ""
                rows.append(_row("It changes", f"{paths.shown(path)}{kept}"))
            return rows
        case "write" if not change.pending:
            return [_row("It has already", change.text)]
        case "write" if change.before is None:
            return [_row("It creates", change.text)]
        case "write":
            return [_row("It changes", f"{change.text} (backup kept)")]
        case _:
            return [_row("By hand", change.text)]


def _programs_there(client_name: str, pending: Sequence[connections.Change]) -> None:
    """Before anybody is asked to agree to what cannot be done."""
    for change in pending:
        if change.kind == "run" and shutil.which(change.run[0]) is None:
            raise errors.NoSuchThing(
                f"{change.run[0]} is not on the PATH, and has to be asked; install it first "
                f"(`lmg recipes show {client_name}` says where)"
            )


def _row(label: str, text: str) -> str:
    return textwrap.indent(text, " " * (LABEL + 2)).replace(
        " " * (LABEL + 2), f"  {label.ljust(LABEL)}", 1
    )
