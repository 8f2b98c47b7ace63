"""`lmg disconnect CLIENT`: undo what `lmg connect` did, and nothing else."""

import argparse
from pathlib import Path

from local_model_gateway import client, errors
from local_model_gateway.commands import recipe_list
from local_model_gateway.connecting import connections
from local_model_gateway.connecting.client_places import Places
from local_model_gateway.connecting.connection_book import Book
from local_model_gateway.terminal import Terminal
from recipes import render
from recipes.front_matter import Kind, ManualStep


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("client", metavar="CLIENT")


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    recipe = recipe_list.found(given.client, Kind.CLIENT)
    title = recipe.front.title
    # The gateway need not run: what was done is written down, and its names are all that is left to fill in.
    rendered = render.render(recipe, render.Values(client.find(given).url, "MODEL"))
    by_hand = [step.undo for step in rendered.steps if isinstance(step, ManualStep)]
    book = Book(client.state_dir(given))
    known = bool(book.read(given.client))
    if not known:
        places = Places(Path.home(), recipe.front.moved)
        by_hand = [*connections.leftovers(rendered, places), *by_hand]
    outcomes = connections.undo(rendered, book)
    left = [one.problem for one in outcomes if one.problem]
    notes = [one.note for one in outcomes if one.note]
    content = {
        "client": given.client,
        "was_connected": known,
        "left": left,
        "notes": notes,
        "by_hand": by_hand,
    }
    if left and not terminal.json:
        raise errors.CommandFailed("\n".join([*left, *notes]))
    if not known:
        first = f"{title} was not set up by us; nothing was changed"
    elif notes:
        first = f"{terminal.paint('yellow', '!')} {title} is disconnected"
    else:
        first = f"{terminal.paint('green', '✓')} {title} is as it was before"
    lines = [first, *(f"  {note}" for note in notes), *(f"  By hand: {text}" for text in by_hand)]
    terminal.result("lmg.disconnect/1", content, "\n".join(lines))
    return 1 if left else 0
