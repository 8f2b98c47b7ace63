"""A client's recipe, filled in with what the gateway says of itself."""

import argparse
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_model_gateway import client, config, errors
from local_model_gateway.connecting import connections
from local_model_gateway.connecting.client_places import Places
from recipes import render
from recipes.loader import Recipe

LIMIT_S = 5.0
VERSION_S = 5.0
_VERSION = re.compile(r"\d+\.\d+\w*(?:[.+-]\w+)*")


@dataclass(frozen=True, slots=True)
class Setting:
    """Everything that connecting, launching and taking back need to know."""

    rendered: render.Rendered
    gateway: client.Client
    model: str
    context_tokens: int | None
    """What the model can hold; None where nobody said."""

    @property
    def recipe(self) -> Recipe:
        """The recipe as it was before anything was filled in."""
        return self.rendered.recipe

    @property
    def places(self) -> Places:
        """Where this client keeps its files."""
        return Places(Path.home(), self.recipe.front.moved)

    def launchable(self) -> bool:
        """Whether a session of this client could run on a local model here."""
        if not self.rendered.launch:
            return False
        path = self.recipe.front.launch_speaks
        try:
            if path is not None:
                self.gateway.post(path, {}, timeout_s=LIMIT_S)
        except errors.NoSuchThing:
            return False
        except errors.GatewayError:
            return True  # an empty request is refused where it is understood
        return True

    def warnings(self, version: str | None) -> list[str]:
        """What will not work as well as it could, before anything is changed."""
        return [one for one in (self._too_old(version), self.too_small()) if one is not None]

    def _too_old(self, version: str | None) -> str | None:
        """A word of warning where the client is older than what the recipe was written for."""
        front = self.recipe.front
        wanted = next(iter(front.versions.values()), "").removeprefix(">=")
        if version is None or not wanted or _numbers(version) >= _numbers(wanted):
            return None
        return f"{front.title} {version} is older than {wanted}, which this needs; update it first"

    def too_small(self) -> str | None:
        """A word of warning where the model holds less than this client needs."""
        wanted, has = self.recipe.front.min_context, self.context_tokens
        if wanted is None or has is None or has >= wanted:
            return None
        return (
            f"{self.recipe.front.title} wants a model with {wanted:,} tokens of context, and {self.model} has {has:,}: "
            "long sessions will be cut short"
        )


def of(recipe: Recipe, given: argparse.Namespace, env: Mapping[str, str] = os.environ) -> Setting:
    """For the gateway that this command is about."""
    gateway = client.find(given, env)
    filled, context = _known(given, gateway, env)
    return Setting(render.render(recipe, filled), gateway, filled.model, context)


def values(given: argparse.Namespace, env: Mapping[str, str] = os.environ) -> render.Values:
    """What recipes are filled in with for the gateway that this command is about."""
    return _known(given, client.find(given, env), env)[0]


def _known(
    given: argparse.Namespace, gateway: client.Client, env: Mapping[str, str]
) -> tuple[render.Values, int | None]:
    """The values, and the model's context if anybody said; what does not answer is told from the configuration."""
    try:
        listed = gateway.get("/v1/models", timeout_s=LIMIT_S)["data"]
        keyed = _asks_for_key(gateway)
    except errors.Unreachable:
        settings = config.load(Path(given.config) if given.config else None, env)
        listed = [{"id": name} for name in settings.runtimes]
        keyed = bool(settings.server.keys)
    model, context = _chosen(listed, given.model)
    made = render.Values(
        gateway.url,
        model,
        context_tokens=context or render.ASSUMED_TOKENS,
        with_key=keyed,
        lmg=_ourselves(),
    )
    return made, context


def version(recipe: Recipe) -> str | None:
    """Of the client's own program; None where it is not on the PATH, or does not say."""
    for sign in recipe.front.detect:
        if sign.command is not None and shutil.which(sign.command):
            code, said = connections.command([sign.command, "--version"], VERSION_S)
            found = _VERSION.search(said) if code == 0 else None
            return found[0] if found else None
    return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _ourselves() -> str:
    """The program that runs now, where applications find it too; slashes that need no escaping."""
    started = Path(sys.argv[0])
    if started.stem != "lmg" or not started.is_file():
        found = shutil.which("lmg")
        return Path(found).as_posix() if found else "lmg"
    return started.absolute().as_posix()


def _asks_for_key(gateway: client.Client) -> bool:
    """A gateway that does not say is taken for one that does: a key too many does no harm."""
    try:
        manifest = gateway.get("/.well-known/local-model-gateway.json", timeout_s=LIMIT_S)
        return bool(manifest["auth"]["required"])
    except (errors.CommandFailed, errors.NoSuchThing, KeyError, TypeError):
        return True


def _chosen(listed: Any, wanted: str | None) -> tuple[str, int | None]:  # Any: JSON
    for model in listed:
        if wanted in (None, model["id"]) or wanted in model.get("aliases", ()):
            return str(wanted or model["id"]), model.get("context_length")
    if wanted:
        raise errors.NoSuchThing(f"no model {wanted!r}; `lmg models` lists them")
    return "MODEL", None
