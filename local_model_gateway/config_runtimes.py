"""What is wrong between a runtime's section, its engine's recipe and the other runtimes, with its place."""

from collections.abc import Iterator, Mapping

from local_model_gateway import config_problems
from local_model_gateway.config_reader import Document, KeyPath
from local_model_gateway.errors import Problem
from recipes import loader
from recipes.front_matter import Kind
from runtimes import errors, registry
from runtimes.settings import EngineRecipe, RuntimeSettings


def problems(runtimes: Mapping[str, RuntimeSettings], document: Document) -> Iterator[Problem]:
    """Every runtime that could not be made, and every name that two of them want."""
    recipes = loader.every(Kind.ENGINE)
    taken: dict[str, str] = {}
    for name, settings in runtimes.items():
        section = ("runtimes", name)
        recipe = recipes.get(settings.engine)
        if recipe is None:
            message = f"{config_problems.named(section)}: no engine is called {settings.engine!r}"
            hint = config_problems.did_you_mean(settings.engine, recipes)
            yield config_problems.at(document, (*section, "engine"), message, hint)
            continue
        try:
            registry.spec(name, settings, EngineRecipe.model_validate(recipe.front.engine))
        except errors.BadRuntime as error:
            message = f"{config_problems.named(section)}: {error.problem}"
            yield config_problems.at(document, section, message, "", key=True)
        for alias, path in _names(name, settings):
            if alias in taken:
                message = f"{alias!r} is a name of {taken[alias]!r} already"
                yield config_problems.at(
                    document, path, message, "; requests could go to either, rename one"
                )
            taken.setdefault(alias, name)


def _names(name: str, settings: RuntimeSettings) -> Iterator[tuple[str, KeyPath]]:
    yield name, ("runtimes", name)
    for number, alias in enumerate(settings.aliases):
        if alias != name:
            yield alias, ("runtimes", name, "aliases", number)
