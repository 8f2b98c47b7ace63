"""`lmg disconnect CLIENT`: undo what `lmg connect` did, and nothing else."""

import argparse

from local_model_gateway import client, connections, errors
from local_model_gateway.commands import recipe_list
from local_model_gateway.terminal import Terminal
from recipes.front_matter import Kind


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("client", metavar="CLIENT")


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    title = recipe_list.found(given.client, Kind.CLIENT).front.title
    book = connections.Book(client.state_dir(given))
    if not book.read(given.client):
        content = {"client": given.client, "was_connected": False, "left": []}
        terminal.result("lmg.disconnect/1", content, f"{title} was not set up by us")
        return 0
    left = connections.undo(given.client, book)
    content = {"client": given.client, "was_connected": True, "left": left}
    if left and not terminal.json:
        raise errors.CommandFailed("\n".join(left))
    terminal.result("lmg.disconnect/1", content, f"{title} is as it was before")
    return 1 if left else 0
