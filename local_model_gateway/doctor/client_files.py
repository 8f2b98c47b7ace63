"""Checks of clients' own settings: whether they name an engine's port rather than the gateway's."""

import functools
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from local_model_gateway import paths
from local_model_gateway.connecting import client_places
from local_model_gateway.detection import at_once, engines, probe
from local_model_gateway.doctor.finding import Case, Finding, Fix, mend, note, ok, show, skip
from recipes import loader
from recipes.front_matter import FileStep, Kind, ManualStep, MergeStep
from recipes.loader import Recipe

SUBJECT = "Clients"
MAX_BYTES = 512 * 1024
VARIABLES = {"OPENAI_BASE_URL": "/v1", "OPENAI_API_BASE": "/v1", "ANTHROPIC_BASE_URL": ""}
"""Where clients' libraries look → the path that they want there."""
FILE_S = probe.TIMEOUT_S
"""A home on a network may hang; one client's file must not hide the others."""


def clients(case: Case) -> Iterator[Finding]:
    """Clients that use an engine directly and are not set up for the gateway as well."""
    recipes = loader.every(Kind.CLIENT)
    found = at_once.look(
        {id_: functools.partial(_direct, case, recipe) for id_, recipe in recipes.items()}, FILE_S
    )
    variables = list(_variables(case))
    yield from variables
    around = bool(variables)
    for id_, recipe in recipes.items():
        direct = found.get(id_, "")
        title = recipe.front.title
        if id_ not in found:
            yield skip("CLIENT-SLOW", SUBJECT, f"the settings of {title} could not be read in time")
        elif isinstance(direct, tuple):
            around = True
            address, place = direct
            yield note(
                "CLIENT-BYPASS",
                SUBJECT,
                f"{title} uses {address} directly ({place})",
                "Its requests do not wait in the queue, and load models behind the gateway's back.",
                fix(case, recipe),
            )
    if not around:
        yield ok("CLIENTS", SUBJECT, "none is set up to go around the queue")


def _variables(case: Case) -> Iterator[Finding]:
    """What every client goes by that is started from this shell."""
    ours, theirs = _addresses({_port(case)}), _addresses(_engines(case))
    for name, path in VARIABLES.items():
        text = case.env.get(name, "")
        address = next((one for one in theirs if _named(one, text)), None)
        if address is not None:
            yield note(
                "CLIENT-BYPASS",
                SUBJECT,
                f"the variable {name} sends clients to {address} directly",
                "Their requests do not wait in the queue, and load models behind the gateway's back.",
                mend(f"export {name}=http://{ours[0]}{path}"),
            )


def _direct(case: Case, recipe: Recipe) -> tuple[str, str] | None:
    """The engine's address and the file that names it; None where the gateway is named too."""
    named = [one.path for one in recipe.front.detect if one.path]
    written = [step.path for step in recipe.front.apply if isinstance(step, FileStep | MergeStep)]
    places = [place.replace("${name}", "lmg") for place in dict.fromkeys([*named, *written])]
    where = client_places.Places(case.home, recipe.front.moved, case.env)
    texts = {place: _text(where.path(place)) for place in places if place.startswith("~/")}
    ours = _addresses({_port(case)})
    if any(_named(address, text) for text in texts.values() for address in ours):
        return None
    theirs = _addresses(_engines(case))
    return next(
        (
            (address, paths.shown(where.path(place)))
            for place, text in texts.items()
            for address in theirs
            if _named(address, text)
        ),
        None,
    )


def _text(file: Path) -> str:
    # Only plain files: opening a pipe waits for its other end.
    try:
        if file.is_file() and file.stat().st_size <= MAX_BYTES:
            return file.read_text(errors="replace")
    except OSError:
        pass
    return ""


def _named(address: str, text: str) -> bool:
    """The whole port, and not the first digits of another."""
    return re.search(rf"{re.escape(address)}(?!\d)", text) is not None


def _addresses(ports: Collection[int]) -> list[str]:
    return [f"{host}:{port}" for port in sorted(ports) for host in ("127.0.0.1", "localhost")]


def _engines(case: Case) -> set[int]:
    return set(case.ports or engines.PORTS) - {_port(case)}


def _port(case: Case) -> int:
    url = str(case.gateway.get("url", ""))
    port = url.rpartition(":")[2]
    if port.isdigit():
        return int(port)
    return case.settings.server.port if case.settings else 0


def fix(case: Case, recipe: Recipe) -> Fix:
    """What only a person can do is shown; the rest is done, with a copy kept for `lmg disconnect`."""
    by_hand = all(isinstance(step, ManualStep) for step in recipe.front.apply)
    if by_hand:
        return show(case.command(f"connect {recipe.id} --dry-run"))
    return mend(case.command(f"connect {recipe.id} --yes"))
