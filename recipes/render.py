"""Fills a recipe's `${…}` with what this gateway knows; a key is only ever the name of a variable."""

import re
import string
import sys
import urllib.parse
from dataclasses import dataclass
from typing import Any

from recipes import errors
from recipes.front_matter import CommandCheck, RequestCheck, Step
from recipes.loader import Recipe

KEY_VARIABLE = "LMG_API_KEY"
SERVER_NAME = (
    "lmg"  # short: clients put it in front of every tool name, and some cap the whole at 64
)

ASSUMED_TOKENS = 32768
"""Of a model that does not say: clients want a number, and this one fits most."""

_KEYED = re.compile(
    r"(?:\$\{if_key\}(?P<with>(?:(?!\$\{if_no_key\}|\$\{end_key\}).)*))?"
    r"(?:\$\{if_no_key\}(?P<without>(?:(?!\$\{end_key\}).)*))?\$\{end_key\}",
    re.DOTALL,
)

_APP_CONFIG = {"darwin": "~/Library/Application Support", "win32": "~/AppData/Roaming"}


@dataclass(frozen=True, slots=True)
class Values:
    """What recipes may refer to."""

    base_url: str
    """Such as `http://127.0.0.1:8787`, without a slash at the end."""
    model: str
    """An alias of this gateway."""
    context_tokens: int = ASSUMED_TOKENS
    name: str = SERVER_NAME
    key_env: str = KEY_VARIABLE
    with_key: bool = True
    """False for a gateway that asks for none: then clients need no variable to be set, either."""
    lmg: str = "lmg"
    """Our own program, as a client has to start it: applications do not have a shell's PATH."""
    app_config: str = _APP_CONFIG.get(sys.platform, "~/.config")
    """Where applications of this platform keep what users configure."""

    def mapping(self) -> dict[str, str]:
        """The names that stand in recipes."""
        address = urllib.parse.urlsplit(self.base_url)
        host = address.netloc.removesuffix(f":{address.port}")  # with the brackets that IPv6 has
        return {
            "base_url": self.base_url,
            "mcp_url": f"{self.base_url}/mcp",
            "openai_url": f"{self.base_url}/v1",
            "host": host,
            "port": str(address.port or 80),
            "model": self.model,
            "context_tokens": str(self.context_tokens),
            "name": self.name,
            "key_env": self.key_env,
            "lmg": self.lmg,
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
    checks: tuple[CommandCheck | RequestCheck, ...]
    secrets: dict[str, str]
    """The variables that it refers to, and what goes there."""


def fill(text: str, values: Values, recipe_id: str) -> str:
    """One text; `$$` is a dollar sign that belongs to the client.

    What stands between `${if_key}` and `${end_key}` is for gateways that ask for a key, and what stands behind an
    `${if_no_key}` in between for those that do not.
    """
    text = _KEYED.sub(lambda found: found["with" if values.with_key else "without"] or "", text)
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
                # A word that is only for gateways with keys is no word at all without one.
                return type(value)(one for item in value if (one := filled(item)) != "" or not item)
            case _:
                return value

    blocks = {name: filled(block.text) for name, block in recipe.blocks.items()}
    steps = filled([step.model_dump() for step in recipe.front.apply])
    lasting = [step for step in steps if step["do"] != "env"]
    named = values.key_env in repr((lasting, blocks))
    return Rendered(
        recipe=recipe,
        blocks=blocks,
        steps=tuple(
            type(step).model_validate(data)
            for step, data in zip(recipe.front.apply, steps, strict=True)
        ),
        launch=filled(recipe.front.launch),
        checks=tuple(
            type(check).model_validate(filled(check.model_dump())) for check in recipe.front.verify
        ),
        secrets=dict(recipe.front.secrets) if values.with_key or named else {},
    )
