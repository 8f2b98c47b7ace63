"""Every engine that has a recipe, as the registry wants it."""

from collections.abc import Mapping

from recipes import loader
from recipes.front_matter import Kind
from runtimes.settings import EngineRecipe


def all_recipes() -> Mapping[str, EngineRecipe]:
    """Engine id → how it is started, watched and spoken to."""
    return {
        recipe.id: EngineRecipe.model_validate(recipe.front.engine)
        for recipe in loader.every(Kind.ENGINE).values()
    }
