"""Engines that load and unload over HTTP: their shapes, and what goes wrong with them."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest

from runtimes import base
from runtimes.lifecycles import http_swap
from runtimes.settings import Loaded
from tests.runtimes import conformance
from tests.runtimes.conformance import Case
from tests.support.fake_engine import witness


@pytest.fixture
async def tabby(tmp_path: Path) -> AsyncGenerator[Case]:
    async with conformance.CASES["tabbyapi"](tmp_path) as case:
        yield case


async def test_a_load_reports_its_modules(tabby: Case) -> None:
    seen: list[base.LoadProgress] = []
    made = tabby.make()
    await made.lifecycle.start(seen.append)
    assert seen[-1] == base.LoadProgress("weights", 1.0)
    assert [one.fraction for one in seen[1:]] == [0.0, 1 / 3, 2 / 3, 1.0]
    await made.lifecycle.stop()


async def test_a_load_that_was_cancelled_is_unloaded_although_the_server_finished_it(
    tabby: Case,
) -> None:
    made = tabby.make()
    with anyio.move_on_after(0.1):
        await made.lifecycle.start(lambda _: None)
    assert await tabby.make().lifecycle.look(None) is None


async def test_a_model_that_the_server_dropped_by_itself_is_noticed(tmp_path: Path) -> None:
    async with conformance.CASES["lmstudio"](tmp_path) as case:
        made, other = case.make(), case.make()
        await made.lifecycle.start(lambda _: None)
        await other.lifecycle.stop()
        ended = await made.lifecycle.died()
    assert ended.failure_class is base.FailureClass.UNKNOWN
    assert "no longer has" in ended.log_tail[-1]


async def test_ollamas_names_without_a_tag_are_the_latest(tmp_path: Path) -> None:
    assert http_swap._tagged("llama3") == http_swap._tagged("llama3:latest")
    assert http_swap._tagged("hf.co/x/y") == "hf.co/x/y:latest"
    assert http_swap._tagged("qwen:8b") != http_swap._tagged("qwen")


async def test_no_server_at_all_says_what_to_do(tabby: Case) -> None:
    made = tabby.make(url="http://127.0.0.1:9")
    with pytest.raises(base.EngineFailed, match="start it first"):
        await made.lifecycle.start(lambda _: None)


async def test_memory_is_what_the_server_says(tmp_path: Path) -> None:
    async with conformance.CASES["ollama"](tmp_path) as case:
        made = case.make()
        await made.lifecycle.start(lambda _: None)
        assert made.lifecycle.memory_used() == 8 << 20
        await made.lifecycle.stop()
        assert made.lifecycle.memory_used() is None


async def test_a_context_length_that_is_not_configured_is_not_sent(tmp_path: Path) -> None:
    for context in (None, 8192):
        async with conformance.CASES["ollama"](tmp_path) as case:
            changes = {"context": context} if context else {}
            lifecycle = case.make(**changes).lifecycle
            assert isinstance(lifecycle, http_swap.HttpSwapLifecycle)
            call = lifecycle._swap.load
            body = lifecycle._filled(call, "")
            assert body["options"] == ({"num_ctx": 8192} if context else {})


@pytest.mark.parametrize(
    ("said", "loaded", "expected"),
    [
        (
            {"models": [{"key": "a", "loaded_instances": []}, {"key": "b", "loaded_instances": [{"id": "b:2"}]}]},
            {"rows": "models", "id": "key", "instance": "loaded_instances.0.id", "only_if": "loaded_instances"},
            [http_swap.Row("b", "b:2", None)],
        ),
        ({"id": "x"}, {"id": "id"}, [http_swap.Row("x", "x", None)]),
        (None, {"id": "id"}, []),
        ({"result": "inactive"}, {"id": "result", "absent": ["inactive"]}, []),
        ({"result": "koboldcpp/m"}, {"id": "result", "prefix": "koboldcpp/"}, [http_swap.Row("m", "koboldcpp/m", None)]),
        ({"is_sleeping": True}, {"id": "", "only_if": "is_sleeping=False"}, []),
        ({"is_sleeping": False}, {"id": "", "only_if": "is_sleeping=False"}, [http_swap.Row("", "", None)]),
        ([], {"id": "id"}, []),
        ({"models": "nonsense"}, {"rows": "models", "id": "key"}, []),
    ],
)  # fmt: skip
def test_each_engines_list_is_read_in_its_own_shape(
    said: Any, loaded: dict[str, Any], expected: list[http_swap.Row]
) -> None:
    assert http_swap.rows(said, Loaded.model_validate({"path": "/x", **loaded})) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("500: CUDA out of memory", base.FailureClass.OUT_OF_MEMORY),
        ("404: model 'x' not found", base.FailureClass.MODEL_MISSING),
        ("400: Could not find the model path x for load.", base.FailureClass.MODEL_MISSING),
        ("418", base.FailureClass.UNKNOWN),
    ],
)
def test_a_refusal_is_classified_by_its_words(words: str, expected: base.FailureClass) -> None:
    assert http_swap.classify(words) is expected


async def test_a_model_that_is_there_already_is_not_loaded_twice(tabby: Case) -> None:
    await tabby.make().lifecycle.start(lambda _: None)
    made = tabby.make()
    await made.lifecycle.start(lambda _: None)
    assert tabby.log
    assert len(witness.named(tabby.log, "loading")) == 1
    await made.lifecycle.stop()
