"""Clients on this machine, by the signs that their recipes name."""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from local_model_gateway import paths
from local_model_gateway.connecting.client_places import Places
from local_model_gateway.detection import probe
from recipes import loader
from recipes.front_matter import Detect, Kind


@dataclass(frozen=True, slots=True)
class Client:
    """A client that could use this gateway."""

    id: str
    title: str
    sign: str
    """What gave it away."""


def installed(
    home: Path,
    which: Callable[[str], str | None] = shutil.which,
    env: Mapping[str, str] = os.environ,
) -> list[Client]:
    """Every client with at least one sign."""
    found = []
    for recipe in loader.every(Kind.CLIENT).values():
        title, places = recipe.front.title, Places(home, recipe.front.moved, env)
        signs = (_sign(one, places, which) or _page(one, title) for one in recipe.front.detect)
        if (sign := next(filter(None, signs), None)) is not None:
            found.append(Client(recipe.id, title, sign))
    return found


def _sign(detect: Detect, places: Places, which: Callable[[str], str | None]) -> str | None:
    if detect.command is not None and which(detect.command):
        return detect.command
    if detect.path is not None and (path := places.path(detect.path)).exists():
        return paths.shown(path)
    return None


def _page(detect: Detect, title: str) -> str | None:
    """A client that is a page in the browser: known by its title, not by its port alone."""
    if detect.port is not None and title.lower() in probe.get(detect.port, "/").text.lower():
        return f":{detect.port}"
    return None
