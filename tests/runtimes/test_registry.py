"""From a configuration to runtimes: names, defaults, and what cannot be."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from runtimes import errors, launch, registry
from runtimes.settings import EngineRecipe, RuntimeSettings
from tests.runtimes import engines
from tests.runtimes.conformance import shipped

PLACES = launch.Places(Path("/state/logs"), Path("/state/models"))


def build(**sections: dict[str, Any]) -> registry.Registry:
    settings = {
        name: RuntimeSettings.model_validate({"engine": "fake", **section})
        for name, section in sections.items()
    }
    recipes = {"fake": engines.recipe()}
    recipes |= {name: shipped(name) for name in ("embedded", "openai", "ollama", "llama-cli")}
    return registry.build(settings, recipes, PLACES)


def test_a_runtime_answers_to_its_name_and_its_aliases() -> None:
    built = build(qwen={"aliases": ["gpt-4o", "default"]}, other={})
    assert [built.resolve(alias).name for alias in ("qwen", "gpt-4o", "default")] == ["qwen"] * 3
    assert built.resolve("qwen").aliases == ("qwen", "gpt-4o", "default")


def test_an_unknown_model_is_never_another_one_and_names_the_nearest() -> None:
    built = build(**{"qwen3-32b": {}, "qwen3-8b": {}, "minimax": {}, "gemma": {}})
    with pytest.raises(errors.UnknownModel) as caught:
        built.resolve("qwen-32b")
    assert caught.value.nearest[0] == "qwen3-32b"
    assert len(caught.value.nearest) == 3
    assert caught.value.code == "model_not_found"


def test_a_gateway_without_models_says_so() -> None:
    with pytest.raises(errors.UnknownModel, match="none is configured"):
        build().resolve("anything")


def test_two_runtimes_cannot_have_one_name() -> None:
    with pytest.raises(errors.DuplicateAlias, match="'a' and 'b' both answer to 'default'"):
        build(a={"aliases": ["default"]}, b={"aliases": ["default"]})


def test_an_alias_cannot_be_another_runtimes_name() -> None:
    with pytest.raises(errors.DuplicateAlias):
        build(a={}, b={"aliases": ["a"]})


def test_an_unknown_engine_is_answered_with_the_nearest() -> None:
    with pytest.raises(errors.UnknownEngine, match="did you mean 'ollama'"):
        build(a={"engine": "olama"})


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"engine": "ollama"}, "has no `model`"),
        ({"engine": "openai", "model": "x"}, "has no `url`"),
        ({"engine": "embedded", "url": "http://127.0.0.1:1"}, "`url` has no meaning"),
    ],
)
def test_a_section_that_does_not_fit_its_engine_is_said_so(
    section: dict[str, Any], said: str
) -> None:
    with pytest.raises(errors.BadRuntime, match=said):
        build(a=section)


def test_a_service_needs_a_way_to_start_and_to_stop() -> None:
    recipe = EngineRecipe.model_validate({"lifecycle": "service", "model_is": "none"})
    for section in ({}, {"start_cmd": ["x"]}):
        settings = RuntimeSettings.model_validate(
            {"engine": "s", "url": "http://127.0.0.1:1", **section}
        )
        with pytest.raises(errors.BadRuntime):
            registry.build({"a": settings}, {"s": recipe}, PLACES)


def test_a_remote_server_is_no_gpu_work_and_a_one_shot_needs_everything() -> None:
    built = build(
        cloud={"engine": "openai", "model": "x", "url": "https://api.example.com"},
        once={"engine": "llama-cli", "model": "/models/x.gguf", "max_concurrency": 4},
    )
    assert not built.resolve("cloud").gpu_work
    assert built.resolve("once").exclusive
    assert built.resolve("once").max_concurrency == 1


def test_never_unloaded_is_none_seconds() -> None:
    assert build(a={"idle_unload": "never"}).resolve("a").idle_unload_s is None
    assert build(a={"idle_unload": "15m"}).resolve("a").idle_unload_s == 900


def test_an_unknown_footprint_stays_unknown_and_a_configured_one_is_taken() -> None:
    assert build(a={}).resolve("a").memory_bytes is None
    assert build(a={"memory": "24GiB"}).resolve("a").memory_bytes == 24 << 30


@pytest.mark.parametrize("key", ["cmd", "args", "start_cmd", "stop_cmd", "status_cmd"])
def test_a_command_as_one_string_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match="never one string"):
        RuntimeSettings.model_validate({"engine": "x", key: "sh -c 'echo hi'"})


@pytest.mark.parametrize(
    "url", ["127.0.0.1:80", "ftp://x", "http://user:pw@x", "http://x?y", "http://", "http://a b"]
)
def test_an_address_with_anything_but_a_host_and_a_path_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        RuntimeSettings.model_validate({"engine": "x", "url": url})
