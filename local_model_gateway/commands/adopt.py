"""`lmg adopt PID|PORT`: an engine that was started by hand becomes one that the gateway starts."""

import argparse
from collections.abc import Sequence
from typing import Any

from local_model_gateway import durations, errors, paths, phrases
from local_model_gateway.adding import additions, adoption, hand_started
from local_model_gateway.commands import add
from local_model_gateway.detection import engines, survey
from local_model_gateway.terminal import Terminal

PATIENCE_S = 60.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("which", metavar="PID|PORT", help="a process, or where it listens (:8080)")
    parser.add_argument("--name", metavar="NAME", help="what clients ask for")
    parser.add_argument("--dry-run", action="store_true", help="only show what would happen")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--force", action="store_true", help="kill it if it does not end by itself")
    parser.add_argument(
        "--wait",
        type=durations.given,
        default=PATIENCE_S,
        metavar="TIME",
        help="how long it may take to end (60s)",
    )


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    found = hand_started.find(given.which)
    if isinstance(found, engines.Engine):
        return _served(given, found, terminal)
    adopted = adoption.understood(found, given.name, additions.taken_names(given))
    made: dict[str, survey.Choice] = {}
    survey.add(made, adopted.name, adopted.section)
    choice = next(iter(made.values()))
    plan = _planned(given, [choice], choice.name)
    name = plan.there.get(choice.name, choice.name)
    content: dict[str, Any] = {  # Any: JSON
        "status": "ok",
        "pid": found.pid,
        "port": found.port,
        "connections": found.connections,
        "open": found.open,
        "model": name,
        "notes": adopted.notes,
        "content": plan.text if plan.new else "",
        "written": None,
        "ended": False,
    }
    if given.dry_run:
        terminal.result("lmg.adopt/1", content, _shown(found, plan, name, adopted.notes))
        return 0
    _agreed(given, terminal, _shown(found, plan, name, adopted.notes))
    if plan.new:
        additions.write(plan)
        content["written"] = str(plan.target)
    terminal.progress("telling the gateway")
    taken = additions.taken(given, added=plan.new)
    lines = _ended(given, terminal, found, name)
    content |= {"ended": True, "gateway": taken.as_json()}
    if plan.new:
        lines.insert(0, f"wrote {paths.shown(plan.target)}: {name}")
    lines += [taken.said, f"Undo  lmg remove {name}"]
    lines.append(f'Next  lmg run {name} "Say hello"' if taken.running else "Next  lmg up")
    terminal.result("lmg.adopt/1", content, "\n".join(lines))
    return 0


def _served(given: argparse.Namespace, engine: engines.Engine, terminal: Terminal) -> int:
    """A server that loads and drops models by itself goes on running; its models are added."""
    recipe = engine.recipe or engine.engine
    chosen = add.served(engine, recipe, {}, given.name)
    if not chosen:
        raise errors.NoSuchThing(f"the {engine.engine} on port {engine.port} has no model")
    plan = _planned(given, chosen, recipe)
    content: dict[str, Any] = {  # Any: JSON
        "status": "ok",
        "port": engine.port,
        "models": [choice.name for choice in chosen],
        "content": plan.text if plan.new else "",
        "written": None,
        "ended": False,
    }
    said = (
        f"{engine.engine} on port {engine.port} manages its own models; it goes on running, and the "
        f"gateway asks it for one at a time."
    )
    shown = f"{said}\n\n{paths.shown(plan.target)} would be:\n\n{plan.text}"
    if not plan.new:
        shown = f"{said}\nnothing to do: {', '.join(plan.there.values())} is configured already"
    if given.dry_run or not plan.new:
        terminal.result("lmg.adopt/1", content, shown)
        return 0
    _agreed(given, terminal, shown)
    additions.write(plan)
    terminal.progress("telling the gateway")
    taken = additions.taken(given, added=plan.new)
    content |= {"written": str(plan.target), "gateway": taken.as_json()}
    lines = [f"wrote {paths.shown(plan.target)}: {', '.join(plan.new)}", taken.said]
    lines.append(f"Undo  lmg remove {plan.target.stem}")
    terminal.result("lmg.adopt/1", content, "\n".join(lines))
    return 0


def _planned(
    given: argparse.Namespace, chosen: Sequence[survey.Choice], name: str
) -> additions.Plan:
    plan = additions.plan(given, chosen, additions.target(name), additions.head("adopt", name))
    if plan.conflicts:
        raise errors.RefusedByGateway(
            "; ".join(plan.conflicts.values()) + "; choose another --name"
        )
    if plan.new and plan.replaces:
        raise errors.RefusedByGateway(
            f"{paths.shown(plan.target)} exists and was edited, or is yours; choose another --name"
        )
    return plan


def _agreed(given: argparse.Namespace, terminal: Terminal, shown: str) -> None:
    if given.yes:
        return
    terminal.note(shown)
    if not terminal.agreed("Go ahead?"):
        raise errors.RefusedByGateway("nothing was changed; --yes goes ahead without asking")


def _shown(stray: hand_started.Stray, plan: additions.Plan, name: str, notes: Sequence[str]) -> str:
    busy = "nobody is connected to it"
    if stray.connections:
        busy = f"it has {phrases.count(stray.connections, 'open connection')}"
    lines = [f"{paths.shown(plan.target)} would be:", "", plan.text]
    if not plan.new:
        lines = [f"{name} is configured already; nothing is written.", ""]
    lines += [f"Note: {note}" for note in notes]
    if stray.open:
        lines.append("Note: other machines reach it now; behind the gateway only this one does")
    lines += [
        f"pid {stray.pid} is then asked to end ({busy}), and its port {stray.port} is free;",
        f"the gateway starts {name} when it is asked for. Clients of port {stray.port} ask the",
        f'gateway instead, for the model "{name}".',
        f"Undo: lmg remove {name}",
    ]
    return "\n".join(lines)


def _ended(
    given: argparse.Namespace, terminal: Terminal, stray: hand_started.Stray, name: str
) -> list[str]:
    terminal.progress(f"waiting for pid {stray.pid} to end")
    if not hand_started.end(stray, given.wait, force=given.force):
        raise errors.CommandFailed(
            f"{name} is configured, but pid {stray.pid} still runs {phrases.span(given.wait)} after it "
            f"was asked to end, and holds memory that nobody counts: `lmg adopt {stray.pid} --force` "
            f"kills it, `lmg remove {name}` leaves everything as it was"
        )
    again = hand_started.taken_again(stray.port)
    if again is not None:
        raise errors.CommandFailed(
            f"{name} is configured and pid {stray.pid} has ended, but pid {again} listens on port "
            f"{stray.port} again: something starts it anew; stop that, or `lmg remove {name}`"
        )
    return [f"pid {stray.pid} has ended"]
