"""One request through every layer: HTTP, guard, queue, lease, child process, relayed answer."""

import json
from pathlib import Path

import anyio
import httpx2
import openai
import pytest

from tests.support.fake_engine import witness
from tests.support.gateway import fake, gateway


async def test_a_chat_runs_through_every_layer(tmp_path: Path) -> None:
    runtime = fake("a", tmp_path, context=12345)
    async with gateway({"runtimes": {"a": runtime}}, tmp_path) as here:
        await here.start()
        async with here.client() as client:
            models = (await client.get("/v1/models")).json()
            assert [model["id"] for model in models["data"]] == ["a"]
            body = {"model": "a", "messages": [{"role": "user", "content": "hello [[tokens:5]]"}]}
            answer = await client.post("/v1/chat/completions", json=body)
            assert answer.status_code == 200, answer.text
            assert answer.json()["usage"]["completion_tokens"] == 5
            assert answer.headers["x-lmg-runtime"] == "a"
            assert int(answer.headers["x-lmg-load-ms"]) > 0
            async with client.stream(
                "POST", "/v1/chat/completions", json={**body, "stream": True}
            ) as stream:
                lines = [line async for line in stream.aiter_lines()]
            assert "data: [DONE]" in lines
            status = (await client.get("/status")).json()
            assert status["runtimes"][0]["state"] == "ready"
            assert status["runtimes"][0]["context_tokens"] == 12345  # as the engine says
            with anyio.fail_after(10):  # interactive rows are written behind the answer
                while (await client.get("/status")).json()["finished_today"].get(
                    "succeeded", 0
                ) < 2:
                    await anyio.lowlevel.checkpoint()
        assert await here.stop() == 0
        assert here.left_behind() == []
        assert len(witness.named(here.witness, "begin")) == 2


@pytest.mark.requirement("drain-on-stop")
async def test_sigterm_lets_a_running_stream_end_and_leaves_no_process(tmp_path: Path) -> None:
    async with gateway({"runtimes": {"a": fake("a", tmp_path)}}, tmp_path) as here:
        await here.start()
        body = {
            "model": "a",
            "stream": True,
            "messages": [{"role": "user", "content": "[[tokens:30]] [[delay-ms:50]]"}],
        }
        async with (
            here.client() as client,
            client.stream("POST", "/v1/chat/completions", json=body) as stream,
        ):
            lines = stream.aiter_lines()
            while "data: {" not in await anext(lines):
                pass
            assert here.process is not None
            here.process.terminate()
            rest = [line async for line in lines]
        assert "data: [DONE]" in rest
        assert await here.died() == 0
        assert here.left_behind() == []


async def test_two_models_take_turns_and_never_meet(tmp_path: Path) -> None:
    runtimes = {name: fake(name, tmp_path) for name in ("a", "b")}
    scheduling = {"max_wait": "200ms", "min_residency": "0s"}
    async with gateway({"runtimes": runtimes, "scheduling": scheduling}, tmp_path) as here:
        await here.start()
        done: list[str] = []

        async def ask(name: str, number: int) -> None:
            async with here.client() as client:
                body = {
                    "model": name,
                    "messages": [{"role": "user", "content": f"{number} [[tokens:3]]"}],
                }
                answer = await client.post("/v1/chat/completions", json=body)
                assert answer.status_code == 200, answer.text
                done.append(name)

        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                for number in range(6):
                    group.start_soon(ask, "ab"[number % 2], number)
        assert sorted(done) == ["a"] * 3 + ["b"] * 3
        assert await here.stop() == 0
        assert witness.overlaps(here.witness) == []


@pytest.mark.requirement("one-owner")
async def test_a_second_gateway_on_the_same_state_names_the_first(tmp_path: Path) -> None:
    async with gateway({"runtimes": {"a": fake("a", tmp_path)}}, tmp_path) as here:
        await here.start()
        assert here.process is not None
        async with gateway({"runtimes": {}, "state_dir": str(tmp_path / "state")}) as second:
            await second.spawn()
            assert await second.died() == 1
            assert str(here.process.pid) in second.log
            assert len(second.log.strip().splitlines()) == 1, second.log


@pytest.mark.requirement("unknown-model-is-404")
async def test_an_unknown_model_is_refused_with_the_nearest(tmp_path: Path) -> None:
    async with gateway({"runtimes": {"qwen3-32b": fake("qwen3-32b", tmp_path)}}, tmp_path) as here:
        await here.start()
        async with here.client() as client:
            body = {"model": "qwen-32", "messages": [{"role": "user", "content": "hi"}]}
            answer = await client.post("/v1/chat/completions", json=body)
            assert answer.status_code == 404
            error = json.loads(answer.text)["error"]
            assert error["code"] == "model_not_found"
            assert "qwen3-32b" in error["message"]


@pytest.mark.requirement("dead-engine-is-no-answer")
@pytest.mark.parametrize("way", ["[[die]]", "[[cut]]", "[[garbage]]"])
async def test_an_engine_that_breaks_in_mid_stream_is_an_error_to_the_sdk(
    tmp_path: Path, way: str
) -> None:
    async with gateway({"runtimes": {"a": fake("a", tmp_path)}}, tmp_path) as here:
        await here.start()
        async with openai.AsyncOpenAI(
            base_url=f"{here.url}/v1", api_key="any", max_retries=0
        ) as client:
            stream = await client.chat.completions.create(
                model="a",
                stream=True,
                messages=[{"role": "user", "content": f"x [[tokens:9]] [[delay-ms:10]] {way}"}],
            )
            with pytest.raises((openai.APIError, httpx2.HTTPError)):
                async for _ in stream:
                    pass
            again = await client.chat.completions.create(
                model="a", messages=[{"role": "user", "content": "[[tokens:2]]"}]
            )
            assert again.choices[0].message.content
