"""Model recipes are sections that the configuration takes; service recipes have an undo for what they do."""

from pathlib import Path

import pytest
import yaml

from local_model_gateway import config
from recipes import loader, render
from recipes.front_matter import CommandStep, Kind, ManualStep
from runtimes.settings import RuntimeSettings
from tests.recipes import golden

MODELS, SERVICES = loader.every(Kind.MODEL), loader.every(Kind.SERVICE)


@pytest.mark.parametrize("id_", MODELS)
def test_a_model_recipe_is_a_section_that_the_configuration_takes(id_: str) -> None:
    recipe = MODELS[id_]
    section = RuntimeSettings.model_validate(recipe.front.runtime)
    assert section.engine in loader.every(Kind.ENGINE)
    shown = yaml.safe_load(recipe.block("runtime").text)["runtimes"]
    assert shown == {id_: recipe.front.runtime}
    assert recipe.front.enabled is False, "a preset this large is never switched on unasked"


def test_both_presets_of_the_contract_are_there() -> None:
    assert {"qwen3-32b", "minimax-m2.7"} <= set(MODELS)


@pytest.mark.parametrize("id_", SERVICES)
def test_every_step_of_a_service_can_be_undone(id_: str) -> None:
    steps = render.render(SERVICES[id_], golden.VALUES).steps
    assert steps
    for step in steps:
        assert isinstance(step, CommandStep | ManualStep)
        assert step.undo


def test_the_gateway_of_the_compose_file_starts_with_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = render.render(SERVICES["docker-compose"], golden.VALUES)
    assert set(yaml.safe_load(made.blocks["compose"])["services"]) == {"gateway", "ollama"}
    file = tmp_path / "config.yaml"
    file.write_text(made.blocks["gateway"])
    file.chmod(0o600)
    read = config.load(file, {"LMG_API_KEY": "k" * 40})
    assert read.server.host == "0.0.0.0"
    assert set(read.runtimes) == {"qwen3-32b"}
