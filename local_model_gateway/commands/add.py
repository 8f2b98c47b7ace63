"""`lmg add ENGINE|MODEL`: put models into a file of their own beside the user's configuration."""

import argparse
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local_model_gateway import errors, paths, phrases
from local_model_gateway.adding import additions
from local_model_gateway.commands import recipe_list
from local_model_gateway.detection import engines, model_files, survey
from local_model_gateway.importing import carried
from local_model_gateway.terminal import Terminal
from recipes import loader
from recipes.front_matter import Kind
from runtimes.settings import EngineRecipe, LifecycleKind

STARTED_HERE = (LifecycleKind.PROCESS, LifecycleKind.EMBEDDED, LifecycleKind.ONESHOT)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="ENGINE|MODEL", help="a recipe's id: ollama, qwen3-32b")
    parser.add_argument(
        "--model", metavar="MODEL", help="a file, a folder, or the engine's own name"
    )
    parser.add_argument("--name", metavar="NAME", help="what clients ask for")
    parser.add_argument("--at", metavar="URL", help="where a server listens")
    parser.add_argument(
        "--unit", metavar="UNIT", help="the systemd unit or launchd label behind it"
    )
    parser.add_argument("--executable", metavar="FILE", help="the engine's program")
    parser.add_argument("--key-env", metavar="VARIABLE", help="holds the key that a server wants")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be written")
    parser.add_argument("--force", action="store_true", help="replace a file; the old one is kept")


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    recipe = recipe_list.found(given.what, Kind.ENGINE, Kind.MODEL)
    if recipe.front.kind is Kind.MODEL:
        chosen = _preset(given, recipe)
    else:
        chosen = _named(given, recipe) if given.model else _offered(given, recipe)
    if given.name and len(chosen) > 1:
        raise errors.CommandFailed(
            f"--name names one model and {len(chosen)} were found; say which with --model"
        )
    offered = recipe.front.kind is Kind.ENGINE and not given.model and not given.name
    undo = recipe.id if offered else chosen[0].name
    where, head = additions.target(undo), additions.head("add", undo)
    plan = additions.plan(given, chosen, where, head, force=given.force)
    if plan.conflicts:
        raise errors.RefusedByGateway(
            "; ".join(plan.conflicts.values()) + "; choose another --name"
        )
    kept = None
    if plan.new and not given.dry_run:
        kept = additions.write(plan, force=given.force)
    content: dict[str, Any] = {  # Any: JSON
        "status": "ok",
        "changed": bool(plan.new) and not given.dry_run,
        "written": str(where) if plan.new and not given.dry_run else None,
        "kept": None if kept is None else str(kept),
        "gone": list(plan.gone) if plan.new else [],
        "models": [choice.name for choice in chosen],
        "there": dict(plan.there),
        "content": plan.text if plan.new else "",
    }
    if given.dry_run or not plan.new:
        shown = [f"{paths.shown(where)} would be:", "", plan.text, *additions.replaced(plan, None)]
        said = "\n".join(shown) if plan.new else _there(plan)
        terminal.result("lmg.add/1", content, said)
        return 0
    terminal.progress("telling the gateway")
    taken = additions.taken(given, added=plan.new)
    lines = [f"wrote {paths.shown(where)}: {', '.join(plan.new)}"]
    lines += [*additions.replaced(plan, kept), taken.said, *_missing(chosen)]
    lines.append(f'Next  lmg run {plan.new[0]} "Say hello"' if taken.running else "Next  lmg up")
    lines.append(f"Undo  lmg remove {undo}")
    terminal.result("lmg.add/1", {**content, "gateway": taken.as_json()}, "\n".join(lines))
    return 0


def _there(plan: additions.Plan) -> str:
    names = ", ".join(dict.fromkeys(plan.there.values()))
    return f"nothing to do: {names} is configured already; nothing was changed"


def _missing(chosen: list[survey.Choice]) -> list[str]:
    """A file may come later; until then the model cannot start."""
    files = {str(choice.section.get("model", "")) for choice in chosen}
    return [
        f"There is no {file} yet; put it there before you ask for it."
        for file in sorted(files)
        if file.startswith(("/", "~")) and not Path(file).expanduser().exists()
    ]


def _preset(given: argparse.Namespace, recipe: loader.Recipe) -> list[survey.Choice]:
    """A model recipe's section, with the file that is really there."""
    section: dict[str, object] = dict(recipe.front.runtime)
    usual = str(section["model"])
    if given.model:
        section["model"] = _absolute(given.model)
    elif not Path(usual).expanduser().exists():
        section["model"] = _lying_elsewhere(recipe.id, usual)
    if given.executable:
        section["executable"] = _absolute(given.executable)
    return [survey.Choice(given.name or recipe.id, section)]


def _lying_elsewhere(id_: str, usual: str) -> str:
    """The one model file of this machine that is named like the recipe."""
    found = [
        one
        for one in model_files.find(os.environ, Path.home())
        if one.kind == "gguf" and one.name.startswith(id_)
    ]
    if len(found) == 1:
        return str(found[0].path)
    several = "".join(f"\n  {paths.shown(one.path)}" for one in found)
    raise errors.NoSuchThing(
        f"{id_} needs its model file and nothing is downloaded here: put it at {usual}, "
        f"or say where it is with --model FILE" + (f"; which of these?{several}" if found else "")
    )


def _named(given: argparse.Namespace, recipe: loader.Recipe) -> list[survey.Choice]:
    engine = EngineRecipe.model_validate(recipe.front.engine)
    model = str(given.model)
    by_path = engine.model_is in ("gguf", "folder", "none")
    if not model.startswith("-") and (by_path or Path(model).expanduser().exists()):
        model = _absolute(model)
        if engine.model_is == "name":  # whoever knows models by name is told a file by its address
            model = Path(model).expanduser().as_uri()
    section: dict[str, object] = {"engine": recipe.id, "model": model, **_about(given)}
    if not (given.at or engine.default_url or engine.lifecycle in STARTED_HERE):
        raise errors.NoSuchThing(
            f"say where the server of `{recipe.id}` answers: --at http://HOST:PORT"
        )
    made: dict[str, survey.Choice] = {}
    survey.add(made, given.name or _short(model), section)
    return list(made.values())


def _about(given: argparse.Namespace) -> Mapping[str, object]:
    """What was said about the server or the program."""
    about: dict[str, object] = {}
    if given.at:
        about["url"] = given.at
    if given.key_env:
        if not os.environ.get(given.key_env):
            raise errors.CommandFailed(
                f"{given.key_env} is not set; the gateway reads it at each start, so set it where "
                "the gateway is started, and here"
            )
        about["api_key"] = f"${{env:{given.key_env}}}"
    if given.unit:
        about["unit"] = given.unit
    if given.executable:
        about["executable"] = _absolute(given.executable)
    return about


def _offered(given: argparse.Namespace, recipe: loader.Recipe) -> list[survey.Choice]:
    """Everything that running servers of this kind have."""
    engine = EngineRecipe.model_validate(recipe.front.engine)
    port = re.search(r":([0-9]+)/?$", given.at or "")
    found = engines.running([int(port[1])] if port else engines.PORTS)
    chosen: list[survey.Choice] = []
    for one in (one for one in found if recipe.id in (one.engine, one.recipe)):
        if engine.lifecycle in STARTED_HERE:
            raise errors.RefusedByGateway(
                f"{recipe.front.title} runs on port {one.port} with "
                f"{phrases.count(len(one.models), 'model')}; `lmg adopt {one.port}` takes it over, "
                "and --model adds another"
            )
        chosen += served(one, recipe.id, _about(given), given.name)
    if not chosen:
        raise errors.NoSuchThing(
            f"no running {recipe.id} with a model was found; say which with --model, "
            f"or see `lmg recipes show {recipe.id}`"
        )
    return chosen


def served(
    one: engines.Engine, recipe: str, about: Mapping[str, object], name: str | None
) -> list[survey.Choice]:
    """A runtime for each model of a server that loads and drops them by itself."""
    made: dict[str, survey.Choice] = {}
    for model in map(carried.literal, one.models):
        section: dict[str, object] = {"engine": recipe, "model": model, **about}
        if one.port not in engines.USUAL_PORTS.get(recipe, ()):
            section.setdefault("url", one.url)
        survey.add(made, name if name and len(one.models) == 1 else model, section)
    return list(made.values())


def _absolute(path: str) -> str:
    """The gateway runs in a folder of its own; `~` is expanded there."""
    return path if path.startswith("~") else str(Path(path).absolute())


def _short(model: str) -> str:
    """A name to ask by, from a file, an address or a name with a namespace."""
    if model.startswith("-"):
        return model
    return re.sub(r"-\d{5}-of-\d{5}$", "", model.rpartition("/")[2].removesuffix(".gguf"))
