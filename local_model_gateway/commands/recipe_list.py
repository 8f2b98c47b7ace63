"""`lmg recipes`: the clients, engines, models and services that we know how to set up."""

import argparse
import os

from local_model_gateway import client, errors
from local_model_gateway.terminal import Terminal
from recipes import errors as recipe_errors
from recipes import loader, render
from recipes.front_matter import Kind


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", default="list", choices=("list", "ls", "show"))
    parser.add_argument("name", nargs="?", metavar="NAME")
    parser.add_argument("--model", metavar="MODEL", default="MODEL", help="to fill in")


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    if given.action != "show":
        return _list(terminal)
    if given.name is None:
        raise errors.NoSuchThing("`lmg recipes show` needs a name; `lmg recipes` lists them")
    recipe = found(given.name)
    values = render.Values(client.find(given, os.environ).url, given.model)
    content = {
        "id": recipe.id,
        "kind": str(recipe.front.kind),
        "title": recipe.front.title,
        "summary": recipe.front.summary,
        "blocks": render.render(recipe, values).blocks,
    }
    terminal.result("lmg.recipe/1", content, render.fill(recipe.prose, values, recipe.id).strip())
    return 0


def found(name: str, *kinds: Kind) -> loader.Recipe:
    """The recipe of this name, of any of these kinds."""
    near: list[str] = []
    for kind in kinds or tuple(Kind):
        try:
            return loader.find(kind, name)
        except recipe_errors.NoSuchRecipe as error:
            near += error.nearest
    hint = f"did you mean {', '.join(near[:3])}?" if near else "`lmg recipes` lists them"
    raise errors.NoSuchThing(f"no recipe {name!r}; {hint}")


def _list(terminal: Terminal) -> int:
    recipes = [recipe for kind in Kind for recipe in loader.every(kind).values()]
    content = [
        {
            "id": one.id,
            "kind": str(one.front.kind),
            "title": one.front.title,
            "summary": one.front.summary,
        }
        for one in recipes
    ]
    rows = [(one["kind"], one["id"], one["summary"]) for one in content]
    terminal.result(
        "lmg.recipes/1", {"recipes": content}, terminal.table(("KIND", "ID", "WHAT FOR"), rows)
    )
    return 0
