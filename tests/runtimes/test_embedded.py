"""The embedded default: real llama.cpp in a child of ours, with the model written by hand."""

import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from runtimes import base, embedded, launch, registry
from runtimes.settings import EngineRecipe, RuntimeSettings
from tests.runtimes import engines

RECIPE = EngineRecipe.model_validate(
    {
        "lifecycle": "embedded",
        "model_is": "none",
        "ready": {"body": {"status": "ok"}},
        "headers": {"authorization": "Bearer {key}"},
        "capabilities": ["chat", "completions", "embeddings", "tools"],
        "max_concurrency": 2,
    }
)


def runtime(folder: Path, **section: Any) -> registry.Managed:
    places = launch.Places(logs=folder / "logs", models=folder / "models")
    places.logs.mkdir(exist_ok=True)
    settings = RuntimeSettings.model_validate({"engine": "embedded", **section})
    return registry.build({"tiny": settings}, {"embedded": RECIPE}, places).runtimes["tiny"]


async def say(running: base.Running, prompt: str, **more: object) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": prompt}], "temperature": 0, **more}
    headers = dict(running.headers)
    async with httpx2.AsyncClient(base_url=running.base_url, timeout=30) as client:
        answer = await client.post("/v1/chat/completions", json=body, headers=headers)
    said: dict[str, Any] = answer.json()
    return said


SENTENCE = (
    "Nothing I say here means anything: my few weights were written by hand, never trained. Still, each word "
    "was decoded in a real engine on this machine. Add your own model to get sense."
)


async def test_it_serves_with_no_model_configured_and_says_what_it_is(tmp_path: Path) -> None:
    made = runtime(tmp_path)
    assert "toy" in (made.spec.notice or "")
    with anyio.fail_after(50):
        running = await made.lifecycle.start(lambda _: None)
        try:
            answer = await say(running, "What is the capital of Italy?")
            counted = await say(running, "please count", max_tokens=12)
        finally:
            await made.lifecycle.stop()
    assert answer["choices"][0]["message"]["content"] == SENTENCE
    assert answer["usage"]["completion_tokens"] == 35
    assert counted["choices"][0]["message"]["content"] == " 1 2 3 4 5 6 7 8 9 10 11 12"


async def test_a_tool_is_called_and_its_result_answered(tmp_path: Path) -> None:
    made = runtime(tmp_path)
    tool = {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "enum": ["Rome"]}},
                "required": ["city"],
            },
        },
    }
    with anyio.fail_after(50):
        running = await made.lifecycle.start(lambda _: None)
        try:
            answer = await say(running, "use the tool", tools=[tool])
        finally:
            await made.lifecycle.stop()
    call = answer["choices"][0]["message"]["tool_calls"][0]["function"]
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    assert (call["name"], json.loads(call["arguments"])) == ("get_weather", {"city": "Rome"})


async def test_nobody_without_its_key_is_answered(tmp_path: Path) -> None:
    made = runtime(tmp_path)
    with anyio.fail_after(50):
        running = await made.lifecycle.start(lambda _: None)
        try:
            async with httpx2.AsyncClient(base_url=running.base_url) as client:
                answer = await client.post("/v1/chat/completions", json={"messages": []})
        finally:
            await made.lifecycle.stop()
    assert answer.status_code == 401


async def test_a_file_that_is_no_model_is_said_so_before_anything_starts(tmp_path: Path) -> None:
    model = tmp_path / "notes.gguf"
    model.write_text("not a model")
    made = await anyio.to_thread.run_sync(lambda: runtime(tmp_path, model=str(model)))
    with pytest.raises(base.EngineFailed, match="is not a GGUF file") as caught:
        await made.lifecycle.start(lambda _: None)
    assert caught.value.exit.failure_class is base.FailureClass.MODEL_MISSING
    assert not list((tmp_path / "logs").iterdir())


async def test_a_truncated_model_fails_with_the_engines_own_words(tmp_path: Path) -> None:
    whole = tmp_path / "whole.gguf"
    await embedded.make_tiny(whole)
    (tmp_path / "half.gguf").write_bytes(whole.read_bytes()[:20_000])
    path = str(tmp_path / "half.gguf")
    made = await anyio.to_thread.run_sync(lambda: runtime(tmp_path, model=path))
    with anyio.fail_after(50), pytest.raises(base.EngineFailed) as caught:
        await made.lifecycle.start(lambda _: None)
    assert caught.value.exit.exit_code not in (0, None)
    assert caught.value.exit.log_tail


async def test_the_hand_made_model_is_the_same_on_every_run(tmp_path: Path) -> None:
    one, two = tmp_path / "one.gguf", tmp_path / "two.gguf"
    with anyio.fail_after(50):
        await embedded.make_tiny(one)
        await embedded.make_tiny(two)
    assert one.read_bytes() == two.read_bytes()
    # Whoever changes the model changes `embedded.TINY_VERSION` as well, and then this.
    assert hashlib.sha256(one.read_bytes()).hexdigest().startswith("d3799f9c436dc04b")
    assert one.stat().st_size < 500_000
    assert not list(tmp_path.glob("*.part"))


async def test_an_adopted_child_outlives_its_first_gateway_and_an_orphan_does_not(
    tmp_path: Path,
) -> None:
    model = tmp_path / "tiny.gguf"
    await embedded.make_tiny(model)
    heartbeat = tmp_path / "alive"
    command = embedded.EmbeddedLaunch(
        runtime(tmp_path).spec,
        RuntimeSettings.model_validate({"engine": "embedded", "args": ["--orphan-grace", "0.5"]}),
        RECIPE,
        launch.Places(logs=tmp_path, models=tmp_path / "models"),
    ).command(0, "nonce")
    argv = [part.replace(str(command.cwd / "tiny.alive"), str(heartbeat)) for part in command.argv]
    argv[argv.index("--model") + 1] = str(model)
    with anyio.fail_after(50):
        process = await anyio.open_process(argv, stdin=-1, stdout=-3, stderr=-3)
        assert process.stdin is not None
        heartbeat.touch()
        future = 4_000_000_000
        os.utime(heartbeat, (future, future))
        await process.stdin.aclose()
        with anyio.move_on_after(4):
            await process.wait()
        assert process.returncode is None, "ended although somebody kept its heartbeat going"
        heartbeat.unlink()
        assert await process.wait() == 75
    assert engines.gone(process.pid)


async def test_sigterm_ends_it(tmp_path: Path) -> None:
    made = runtime(tmp_path)
    with anyio.fail_after(50):
        running = await made.lifecycle.start(lambda _: None)
        assert running.process is not None
        os.kill(running.process.pid, signal.SIGTERM)
        assert (await made.lifecycle.died()).exit_code == 0
