"""The shipped engine recipes: two lines of configuration are enough, and nothing is bound to the network."""

from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

import pytest
import yaml

from recipes import loader
from recipes.front_matter import Kind
from runtimes import launch, registry
from runtimes.settings import EngineRecipe, LifecycleKind, RuntimeSettings

PROMISED = {
    "vllm", "llama-server", "sglang", "ollama", "tabbyapi", "lmstudio", "koboldcpp", "mlx-lm", "localai",
    "ramalama", "modular-max",
}  # fmt: skip


def shipped() -> Mapping[str, EngineRecipe]:
    return {
        name: EngineRecipe.model_validate(recipe.front.engine)
        for name, recipe in loader.every(Kind.ENGINE).items()
    }


NAMES = sorted(shipped())


def section(name: str, model: str = "/models/some.gguf") -> dict[str, Any]:
    """The runtime block of a recipe, as `lmg add` would write it."""
    text = loader.find(Kind.ENGINE, name).block("runtime").text
    written = yaml.safe_load(Template(text).substitute(name="mine", model=model))
    found: dict[str, Any] = written["runtimes"]["mine"]
    if "api_key" in found:
        found["api_key"] = "a-key"
    return found


def command(name: str, **more: Any) -> list[str]:
    settings = RuntimeSettings.model_validate({**section(name), **more})
    recipe = shipped()[name]
    spec = registry.spec("mine", settings, recipe)
    places = launch.Places(Path("/state/logs"), Path("/state/models"))
    return list(launch.RecipeLaunch(spec, settings, recipe, places).command(4711, "n0nce").argv)


STARTED_HERE = [name for name in NAMES if shipped()[name].argv]


def test_every_promised_engine_has_a_recipe() -> None:
    assert set(NAMES) >= PROMISED


@pytest.mark.parametrize("name", NAMES)
def test_the_block_of_a_recipe_is_a_valid_runtime(name: str) -> None:
    settings = RuntimeSettings.model_validate(section(name))
    places = launch.Places(Path("/state/logs"), Path("/state/models"))
    built = registry.build({"mine": settings}, shipped(), places)
    assert built.resolve("mine").engine == name


@pytest.mark.parametrize("name", STARTED_HERE)
def test_every_placeholder_is_filled_and_the_port_is_ours(name: str) -> None:
    argv = command(name, context=4096)
    assert any("4711" in part for part in argv)
    left = [part for part in argv if launch.PLACEHOLDER.search(part)]
    assert left == (["{prompt}"] if shipped()[name].lifecycle is LifecycleKind.ONESHOT else [])


@pytest.mark.parametrize("name", [name for name in STARTED_HERE if name != "llama-cli"])
def test_an_engine_listens_on_loopback_only(name: str) -> None:
    bound = [*command(name), *shipped()[name].env.values()]
    assert any("127.0.0.1" in part for part in bound)
    assert not any("0.0.0.0" in part for part in bound)


@pytest.mark.parametrize("name", ["llama-server", "vllm", "llama-cli"])
def test_an_engine_that_can_asks_for_a_key_of_this_start(name: str) -> None:
    recipe = shipped()[name]
    assert recipe.headers["authorization"] == "Bearer {key}"
    assert not any("n0nce" in part for part in command(name)), "a key on the command line is public"


def test_a_hostile_model_name_stays_one_argument() -> None:
    model = "/models/x; touch owned $(id) `id` '\"\n.gguf".replace("\n", " ")
    argv = command("llama-server", model=model)
    assert argv.count(model) == 1


@pytest.mark.parametrize("model", ["--host", "-m", "a\nb"])
def test_a_model_that_looks_like_a_flag_is_refused(model: str) -> None:
    with pytest.raises(ValueError, match="starts with '-' or has unprintable"):
        RuntimeSettings.model_validate({"engine": "vllm", "model": model})


def test_llama_servers_context_is_what_each_slot_gets() -> None:
    argv = command("llama-server", context=4096, max_concurrency=3)
    assert argv[argv.index("-c") + 1] == "12288"
    assert argv[argv.index("-np") + 1] == "3"


def test_a_whole_command_of_the_users_is_taken_as_it_is() -> None:
    argv = command("vllm", cmd=["/opt/vllm", "serve", "{model}", "--port={port}", "{unknown}"])
    assert argv == ["/opt/vllm", "serve", "/models/some.gguf", "--port=4711", "{unknown}"]


def test_another_program_takes_only_the_first_place() -> None:
    argv = command("vllm", executable="/venv/bin/vllm", args=["--enforce-eager"])
    assert (argv[0], argv[1], argv[-1]) == ("/venv/bin/vllm", "serve", "--enforce-eager")
