"""Reads recipes: Markdown files with front matter and named blocks, one for each thing one can set up."""

import difflib
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pydantic
import yaml

from recipes import errors
from recipes.front_matter import FrontMatter, Kind

FOLDER = Path(__file__).parent

_FRONT = re.compile(r"\A---\n(?P<front>.*?)\n---\n(?P<body>.*)\Z", re.DOTALL)
_BLOCK = re.compile(
    r"^```(?P<language>[a-z]+) name=(?P<name>[a-z0-9_-]+)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced part of a recipe that programs use: a file's content, a fragment, a script."""

    name: str
    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """One recipe file, read and checked."""

    front: FrontMatter
    blocks: Mapping[str, Block]
    prose: str
    """The whole text below the front matter, for people."""

    @property
    def id(self) -> str:
        """What one asks for it by."""
        return self.front.id

    def block(self, name: str) -> Block:
        """A block that the front matter names."""
        return self.blocks[name]


def parse(text: str, file: str) -> Recipe:
    """One recipe from its text; `BadRecipe` says what is wrong with it."""
    parts = _FRONT.match(text)
    if parts is None:
        raise errors.BadRecipe(file, "it must begin with front matter between two lines of `---`")
    try:
        front = FrontMatter.model_validate(yaml.safe_load(parts["front"]))
    except yaml.YAMLError as error:
        raise errors.BadRecipe(file, f"its front matter is not YAML: {error}") from None
    except pydantic.ValidationError as error:
        raise errors.BadRecipe(file, f"its front matter is wrong: {error}") from None
    blocks: dict[str, Block] = {}
    for found in _BLOCK.finditer(parts["body"]):
        if found["name"] in blocks:
            raise errors.BadRecipe(file, f"block {found['name']} is there twice")
        blocks[found["name"]] = Block(found["name"], found["language"], found["text"])
    recipe = Recipe(front, MappingProxyType(blocks), parts["body"])
    for name in _named(front):
        if name not in blocks:
            raise errors.BadRecipe(file, f"it names a block {name} that is not there")
    return recipe


def _named(front: FrontMatter) -> list[str]:
    """The blocks that the front matter refers to."""
    names = [step.block for step in front.apply if step.do in ("file", "merge")]
    names += [shape.block for shape in (front.mcp, front.openai) if shape is not None]
    return names


def read(path: Path) -> Recipe:
    """One file; its name and folder must agree with its front matter."""
    recipe = parse(path.read_text(encoding="utf-8"), path.name)
    if path.stem != recipe.id or path.parent.name != f"{recipe.front.kind}s":
        raise errors.BadRecipe(path.name, "its name and folder are not its `id` and `kind`")
    return recipe


@functools.cache
def every(kind: Kind) -> Mapping[str, Recipe]:
    """All shipped recipes of one kind, by id, in the order of their ids."""
    folder = FOLDER / f"{kind}s"
    read_ = (read(path) for path in sorted(folder.glob("*.md")))
    return MappingProxyType({recipe.id: recipe for recipe in read_})


def find(kind: Kind, name: str) -> Recipe:
    """The recipe of this name, or `NoSuchRecipe` with the nearest ones."""
    known = every(kind)
    if name in known:
        return known[name]
    raise errors.NoSuchRecipe(name, difflib.get_close_matches(name, known, n=3, cutoff=0.5))
