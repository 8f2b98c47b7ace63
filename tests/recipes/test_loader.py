"""Reading recipe files: what is shipped is sound, and what is wrong is named."""

import pytest

from recipes import errors, loader, render
from recipes.front_matter import Kind

GOOD = """---
recipe: 1
id: x
kind: client
title: X
summary: For tests.
apply: [{do: file, path: ~/x, block: b}]
---
# X

```toml name=b
a = "${mcp_url}"
b = "$${LMG}"
```
"""


def test_a_recipe_is_its_front_matter_and_its_named_blocks() -> None:
    recipe = loader.parse(GOOD, "x.md")
    assert recipe.id == "x"
    assert recipe.block("b").language == "toml"
    made = render.render(recipe, render.Values("http://127.0.0.1:1", "m"))
    assert made.blocks["b"] == 'a = "http://127.0.0.1:1/mcp"\nb = "${LMG}"\n'


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("---\nrecipe", "recipe"), "must begin with front matter"),
        (("recipe: 1", "recipe: 2"), "recipe"),
        (("title: X", "heading: X"), "heading"),
        (("do: file", "do: shell"), "do"),
        (("block: b", "block: c"), "block c that is not there"),
        (("title: X", "title: [X"), "not YAML"),
        (("# X", "```toml name=b\nc = 1\n```"), "there twice"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(change: tuple[str, str], words: str) -> None:
    with pytest.raises(errors.BadRecipe, match=r"x\.md") as refused:
        loader.parse(GOOD.replace(*change), "x.md")
    assert words in str(refused.value)


def test_a_value_that_is_not_there_is_an_error_and_not_an_empty_text() -> None:
    recipe = loader.parse(GOOD.replace("mcp_url", "nobody"), "x.md")
    with pytest.raises(errors.MissingValue, match="nobody"):
        render.render(recipe, render.Values("http://127.0.0.1:1", "m"))


@pytest.mark.parametrize("kind", list(Kind))
def test_every_shipped_recipe_can_be_read(kind: Kind) -> None:
    recipes = loader.every(kind)
    assert recipes
    for recipe in recipes.values():
        assert recipe.front.kind is kind
        assert recipe.front.summary.endswith(".") or recipe.front.summary


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(errors.NoSuchRecipe) as refused:
        loader.find(Kind.CLIENT, "claude")
    assert "claude-code" in refused.value.nearest
