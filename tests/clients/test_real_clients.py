"""Client programs that people really use, also across a load that is longer than their patience."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from openai_shim import options
from tests.clients import install
from tests.conformance.install import CannotInstall
from tests.openai_shim import harness
from tests.support.fake_engine import answers

PROGRAMS = Path(__file__).parent / "programs"
ROOT = Path(__file__).parents[2]
SMALL_LOAD_S, SMALL_PATIENCE_S = 4.0, 1.5
"""As 40 s to 15 s, a tenth of the time; the full size is among the slow tests."""


def litellm() -> list[str]:
    """LiteLLM, in its own environment."""
    return [str(install.python("litellm")), str(PROGRAMS / "litellm_client.py")]


def langchain() -> list[str]:
    """langchain-openai, in its own environment."""
    return [str(install.python("langchain")), str(PROGRAMS / "langchain_client.py")]


def npm_openai() -> list[str]:
    """The npm package; the folder that has it is where the program runs."""
    install.folder("npm-openai")
    node = shutil.which("node")
    if node is None:
        raise CannotInstall("node is not on PATH")
    return [node, str(PROGRAMS / "npm_openai.mjs")]


CLIENTS: dict[str, Callable[[], list[str]]] = {
    "litellm": litellm,
    "langchain": langchain,
    "npm-openai": npm_openai,
}


async def run(name: str, base_url: str, patience_s: float) -> dict[str, Any]:
    """What this client found."""
    try:
        command = await to_thread.run_sync(CLIENTS[name])
    except CannotInstall as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{name} cannot be installed here: {error}")
    environment = {
        **os.environ,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LANGCHAIN_TRACING_V2": "false",
        "NO_PROXY": "127.0.0.1",
    }
    done = await anyio.run_process(
        [*command, base_url, str(patience_s)],
        cwd=install.CLIENTS / name,
        env=environment,
        check=False,
    )
    output = done.stdout.decode()
    assert "FOUND" in output, output + done.stderr.decode()
    found: dict[str, Any] = json.loads(output.rsplit("FOUND", 1)[1])
    return found


def judge(found: dict[str, Any]) -> None:
    """Every way to ask gave the engine's own words, and no half answer passed for a whole one."""
    words = answers.text("tiny", "hello", 8)
    for way in ("stream", "whole", "spaces", "responses", "responses-stream"):
        assert found.get(way, words) == words, way
    assert found["tool"] == ["get_weather", '{"city":"Rome"}']
    assert found["embedding"] == answers.embedding("tiny", "a")
    assert found["cut"]
    assert found["cut-stream"]
    assert "half" not in found


@pytest.mark.parametrize("name", CLIENTS)
async def test_a_client_gets_its_answers_also_across_a_cold_load(tmp_path: Path, name: str) -> None:
    await to_thread.run_sync(_installed, name)
    async with harness.gateway(tmp_path, {"tiny": {"load_s": SMALL_LOAD_S}}) as gateway:
        with anyio.fail_after(55):
            found = await run(name, gateway.base_url, SMALL_PATIENCE_S)

    judge(found)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", CLIENTS)
async def test_a_client_with_15_s_of_patience_outlasts_a_load_of_40_s(
    tmp_path: Path, name: str
) -> None:
    await to_thread.run_sync(_installed, name)
    runtimes = {"tiny": {"load_s": 40.0}}
    async with harness.gateway(tmp_path, runtimes, options.ShimOptions()) as gateway:
        with anyio.fail_after(150):
            found = await run(name, gateway.base_url, 15.0)

    judge(found)


def _installed(name: str) -> None:
    """Before the clock of the test proper runs."""
    try:
        CLIENTS[name]()
    except CannotInstall as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{name} cannot be installed here: {error}")
