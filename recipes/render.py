"""Fills a recipe's `${…}` with what this gateway knows; a key is only ever the name of a variable."""

import string
import sys
from dataclasses import dataclass
from typing import Any

from recipes import errors
from recipes.front_matter import Step
from recipes.loader import Recipe

KEY_VARIABLE = "LMG_API_KEY"
SERVER_NAME = (
    "lmg"  # short: clients put it in front of every tool name, and some cap the whole at 64
)

_APP_CONFIG = {"darwin": "~/Library/Application Support", "win32": "~/AppData/Roaming"}


@dataclass(frozen=True, slots=True)
class Values:
    """What recipes may refer to."""

    base_url: str
    """Such as `http://127.0.0.1:8787`, without a slash at the end."""
    model: str
    """An alias of this gateway."""
    context_tokens: int = 32768
    name: str = SERVER_NAME
    key_env: str = KEY_VARIABLE
    app_config: str = _APP_CONFIG.get(sys.platform, "~/.config")
    """Where applications of this platform keep what users configure."""

    def mapping(self) -> dict[str, str]:
        """The names that stand in recipes."""
        host, _, port = self.base_url.partition("://")[2].partition(":")
        return {
            "base_url": self.base_url,
            "mcp_url": f"{self.base_url}/mcp",
            "openai_url": f"{self.base_url}/v1",
            "host": host,
            "port": port or "80",
            "model": self.model,
            "context_tokens": str(self.context_tokens),
            "name": self.name,
            "key_env": self.key_env,
            "app_config": self.app_config,
        }


VARIABLES = frozenset(Values("http://h:1", "m").mapping())


@dataclass(frozen=True, slots=True)
class Rendered:
    """A recipe for this gateway: nothing in it needs filling in any more."""

    recipe: Recipe
    blocks: dict[str, str]
    steps: tuple[Step, ...]
    launch: tuple[str, ...]


def fill(text: str, values: Values, recipe_id: str) -> str:
    """One text; `$$` is a dollar sign that belongs to the client."""
    try:
        return string.Template(text).substitute(values.mapping())
    except KeyError as error:
        raise errors.MissingValue(recipe_id, str(error.args[0])) from None


def render(recipe: Recipe, values: Values) -> Rendered:
    """Every block and every step."""

    def filled(value: Any) -> Any:  # Any: a tree of plain data
        match value:
            case str():
                return fill(value, values, recipe.id)
            case dict():
                return {key: filled(item) for key, item in value.items()}
            case list() | tuple():
                return type(value)(filled(item) for item in value)
            case _:
                return value

    return Rendered(
        recipe=recipe,
        blocks={name: filled(block.text) for name, block in recipe.blocks.items()},
        steps=tuple(
            type(step).model_validate(filled(step.model_dump())) for step in recipe.front.apply
        ),
        launch=filled(recipe.front.launch),
    )
