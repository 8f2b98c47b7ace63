"""What can be wrong with a recipe, or with asking for one.

RecipeError
├── NoSuchRecipe     no_such_recipe
├── BadRecipe        bad_recipe: the file itself is wrong; a test reads every one of them
└── MissingValue     missing_value: the recipe wants something that this gateway does not know
"""

from collections.abc import Sequence


class RecipeError(Exception):
    """Every error of this package; `code` is stable."""

    code = "recipe_error"


class NoSuchRecipe(RecipeError):
    """There is no recipe of this name."""

    code = "no_such_recipe"

    def __init__(self, name: str, nearest: Sequence[str]) -> None:
        meant = f"; did you mean {', '.join(nearest)}?" if nearest else ""
        super().__init__(f"no recipe {name!r}{meant} `lmg recipes list` shows all of them")
        self.name, self.nearest = name, tuple(nearest)


class BadRecipe(RecipeError):
    """A recipe file cannot be read."""

    code = "bad_recipe"

    def __init__(self, file: str, problem: str) -> None:
        super().__init__(f"{file}: {problem}")
        self.file, self.problem = file, problem


class MissingValue(RecipeError):
    """A `${…}` of the recipe has no value here."""

    code = "missing_value"

    def __init__(self, recipe: str, name: str) -> None:
        super().__init__(f"recipe {recipe} needs a value for {name}, and none was given")
        self.recipe, self.name = recipe, name
