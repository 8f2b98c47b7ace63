"""`lmg recipes`: the clients, engines, models and services that we know how to set up."""

import argparse
import os
import re
import shlex
from typing import assert_never

from local_model_gateway import client, errors
from local_model_gateway.connecting import client_setting
from local_model_gateway.terminal import Terminal
from recipes import errors as recipe_errors
from recipes import front_matter, loader, render
from recipes.front_matter import Kind

_FENCE = re.compile(r"^```(?:[a-z]+ name=(?P<name>[\w-]+))?$")
_HEADING = re.compile(r"^#+ +(?P<text>.*)$")
HOW = {
    Kind.CLIENT: "lmg connect NAME",
    Kind.ENGINE: "lmg add NAME",
    Kind.MODEL: "lmg recipes show NAME",
    Kind.SERVICE: "lmg recipes show NAME",
}
"""What one does with a recipe of this kind."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", default="list", choices=("list", "ls", "show"))
    parser.add_argument("name", nargs="?", metavar="NAME")
    parser.add_argument("--model", metavar="MODEL", help="to fill in")


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    if given.action != "show":
        return _list(terminal)
    if given.name is None:
        raise errors.NoSuchThing("`lmg recipes show` needs a name; `lmg recipes` lists them")
    recipe = found(given.name)
    values = _values(given, recipe)
    rendered = render.render(recipe, values)
    front = recipe.front
    content = {
        "id": recipe.id,
        "kind": str(front.kind),
        "title": front.title,
        "summary": front.summary,
        "docs": front.docs,
        "steps": [said for step in rendered.steps if (said := step_words(step))],
        "launch": list(rendered.launch),
        "min_context": front.min_context,
        "tested": None if front.tested is None else front.tested.model_dump(by_alias=True),
        "blocks": rendered.blocks,
    }
    prose = render.fill(recipe.prose, values, recipe.id).strip()
    text = "\n".join([*_head(rendered, terminal), "", *_readable(prose, terminal)])
    terminal.result("lmg.recipe/1", content, text)
    return 0


def _values(given: argparse.Namespace, recipe: loader.Recipe) -> render.Values:
    """For a client, what `lmg connect` would fill in: its snippets are there to be pasted."""
    if recipe.front.kind is Kind.CLIENT:
        return client_setting.values(given)
    return render.Values(client.find(given, os.environ).url, given.model or "MODEL")


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


def step_words(step: front_matter.Step) -> str:
    """One step, in a line for people."""
    match step:
        case front_matter.FileStep():
            return f"writes {step.path}, a file of its own"
        case front_matter.MergeStep():
            keys = " and ".join(".".join(path) for path in step.keys)
            return f"adds {keys} to {step.path}, and keeps all else in it"
        case front_matter.CommandStep():
            return f"runs {shlex.join(step.run)}"
        case front_matter.EnvStep():
            return f"sets {', '.join(step.set)} for a launched session, and writes nothing"
        case front_matter.ManualStep():
            return f"by hand: {step.text}"
        case _:
            assert_never(step)


def _list(terminal: Terminal) -> int:
    content, parts = [], []
    for kind in Kind:
        known = loader.every(kind).values()
        content += [
            {"id": one.id, "kind": str(kind), "title": one.front.title}
            | {"summary": one.front.summary}
            for one in known
        ]
        width = max(len(one.id) for one in known)
        heading = terminal.paint("bold", f"{kind.capitalize()}s")
        lines = [f"  {one.id.ljust(width)}   {one.front.summary}" for one in known]
        parts.append("\n".join([f"{heading}   {HOW[kind]}", *lines]))
    text = "\n\n".join([*parts, "All about one of them: lmg recipes show NAME"])
    terminal.result("lmg.recipes/1", {"recipes": content}, text)
    return 0


def _head(rendered: render.Rendered, terminal: Terminal) -> list[str]:
    """What it does and how to have it done, before the details."""
    front = rendered.recipe.front
    rows = [("Does", said) for step in rendered.steps if (said := step_words(step))]
    if front.kind is Kind.CLIENT:
        rows.append(("Apply", f"lmg connect {front.id}"))
        rows.append(("Undo", f"lmg disconnect {front.id}"))
    if rendered.launch:
        rows.append(("Launch", f"lmg launch {front.id} --model MODEL"))
    if front.min_context is not None:
        rows.append(("Needs", f"a model with {front.min_context:,} tokens of context"))
    if front.docs is not None:
        rows.append(("Docs", front.docs))
    if front.tested is not None:
        how = {"run": "run with", "documentation": "read in", "ci-fake": "checked with"}
        rows.append(("Tested", f"{how[front.tested.by]} {front.tested.with_}"))
    title = terminal.paint("bold", front.title)
    return [title, front.summary, "", *(f"  {label.ljust(8)}{text}" for label, text in rows)]


def _readable(prose: str, terminal: Terminal) -> list[str]:
    """Markdown as a page: blocks set in, with their names, and headings without their signs."""
    lines, inside = list[str](), False
    for line in prose.splitlines():
        fence, heading = _FENCE.match(line), _HEADING.match(line)
        if fence is not None:
            inside = not inside
            if fence["name"]:
                lines.append(terminal.paint("dim", f"  {fence['name']}:"))
        elif inside:
            lines.append(f"    {line}".rstrip())
        elif heading is not None:
            lines.append(terminal.paint("bold", heading["text"]))
        else:
            lines.append(line)
    return lines[2:]  # the title again, and the gap behind it
