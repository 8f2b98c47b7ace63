"""Servers that the gateway uses and did not start: where they listen, and which processes they are."""

import urllib.parse

from local_model_gateway.doctor.finding import Case
from recipes import loader
from recipes.front_matter import Kind
from runtimes.settings import EngineRecipe, RuntimeSettings

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def recipe(settings: RuntimeSettings) -> EngineRecipe:
    """How its engine is started and asked; an unknown engine is no configuration."""
    return EngineRecipe.model_validate(loader.find(Kind.ENGINE, settings.engine).front.engine)


def address(settings: RuntimeSettings) -> tuple[str, int] | None:
    """Its address and port, if it runs on this machine and somebody else starts it."""
    url = settings.url or recipe(settings).default_url
    if url is None:
        return None
    parts = urllib.parse.urlsplit(url)
    return (url, parts.port or 80) if parts.hostname in _LOOPBACK else None


def ports(case: Case) -> frozenset[int]:
    """Where they listen."""
    runtimes = case.settings.runtimes.values() if case.settings else ()
    return frozenset(found[1] for one in runtimes if (found := address(one)) is not None)


def processes(case: Case) -> frozenset[int]:
    """Them and their children: what these hold, the queue gave them."""
    listeners, found = case.table.listeners(), set[int]()
    for port in ports(case):
        found |= case.table.family(listeners.get(port))
    return frozenset(found)
