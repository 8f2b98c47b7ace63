"""What a client that has to wait is told, and what its budgets do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from coordinator import settings
from coordinator.state import WorkState
from openai_shim import options
from tests.openai_shim import harness

ONE_SLOT = {"tiny": {"max_concurrency": 1}}
HOG = harness.chat("[[tokens:100000]] [[delay-ms:20]] hog", stream=True)
TEXT = {"model": "tiny"}
SLOW_TO_SPEAK = options.ShimOptions(hold_back_s=30.0, keepalive_s=30.0, look_s=30.0)


class Hog:
    """Holds the only slot until told to let go."""

    def __init__(self, gateway: harness.Gateway) -> None:
        self._gateway = gateway
        self._group = anyio.create_task_group()
        self._holding = anyio.CancelScope()

    async def __aenter__(self) -> "Hog":
        await self._group.__aenter__()
        self._group.start_soon(self._hold)
        with anyio.fail_after(30):
            while not self._gateway.coordinator.snapshot().running:
                await self._gateway.coordinator.changed()
        return self

    async def _hold(self) -> None:
        with self._holding:
            async with self._gateway.client(headers={"x-session-id": "hog"}) as client:
                await client.post("/v1/chat/completions", json=HOG)

    def let_go(self) -> None:
        self._holding.cancel()

    async def __aexit__(self, *_: object) -> None:
        self.let_go()
        await self._group.__aexit__(None, None, None)


async def cut_stream(
    client: httpx2.AsyncClient, asked: dict[str, Any], on_first: Callable[[], Any] | None = None
) -> str:
    """All that came of a stream whose connection was cut; fails for a clean end."""
    text = ""
    try:
        async with client.stream("POST", "/v1/chat/completions", json=asked) as answer:
            assert answer.status_code == 200
            async for block in answer.aiter_text():
                if not text and on_first is not None:
                    await on_first()
                text += block
    except httpx2.RemoteProtocolError:
        return text
    raise AssertionError("the stream ended as if it were whole")


async def until_comment(lines: Any, word: str) -> str:
    """The next comment with this word in it."""
    async for line in lines:
        if line.startswith(": ") and word in line:
            return str(line)
    raise AssertionError(f"no comment said {word}")


async def test_a_waiting_stream_is_told_its_place_and_then_answered(tmp_path: Path) -> None:
    async with harness.gateway(tmp_path, ONE_SLOT) as gateway, Hog(gateway) as hog:
        asked = harness.chat("hi", stream=True)
        with anyio.fail_after(30):
            async with (
                gateway.client() as client,
                client.stream("POST", "/v1/chat/completions", json=asked) as answer,
            ):
                assert answer.status_code == 200
                lines = answer.aiter_lines()
                first = await until_comment(lines, "queued")
                assert "position=1" in first
                await until_comment(lines, "queued")  # again, although nothing changed
                hog.let_go()
                rest = [line async for line in lines]

    assert rest[-2:] == ["data: [DONE]", ""]


async def test_a_loading_stream_is_told_so(tmp_path: Path) -> None:
    async with harness.gateway(tmp_path, {"tiny": {"load_s": 2.0}}) as gateway:
        asked = harness.chat("hi", stream=True)
        async with gateway.client() as client:
            answer = await client.post("/v1/chat/completions", json=asked)

    assert any(text.startswith(("loading", "queued")) for text in harness.comments(answer.text))
    assert answer.text.endswith("data: [DONE]\n\n")


async def test_an_early_error_keeps_its_status(tmp_path: Path) -> None:
    async with harness.gateway(tmp_path, ONE_SLOT, SLOW_TO_SPEAK) as gateway, Hog(gateway):
        asked = harness.chat("hi", stream=True, max_queue_wait_s=0.1)
        async with gateway.client() as client:
            answer = await client.post("/v1/chat/completions", json=asked)

    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (504, "queue_timeout")
    assert answer.headers["x-should-retry"] == "false"
    assert error["details"]["waited_s"] >= 0


async def test_a_late_error_is_an_event_and_the_connection_is_cut(tmp_path: Path) -> None:
    async with (
        harness.gateway(tmp_path, ONE_SLOT) as gateway,
        Hog(gateway),
        gateway.client() as client,
    ):
        text = await cut_stream(client, harness.chat("hi", stream=True, max_queue_wait_s=1.0))

    assert harness.events(text)[-1]["error"]["code"] == "queue_timeout"
    assert "[DONE]" not in text


async def test_spaces_keep_an_answer_alive_that_is_not_streamed(tmp_path: Path) -> None:
    async with harness.gateway(tmp_path, ONE_SLOT) as gateway, Hog(gateway) as hog:
        headers = {"x-lmg-keepalive": "whitespace"}
        with anyio.fail_after(30):
            async with (
                gateway.client(headers=headers) as client,
                client.stream("POST", "/v1/chat/completions", json=harness.chat("hi")) as answer,
            ):
                blocks = answer.aiter_bytes()
                first = await anext(blocks)
                hog.let_go()
                rest = b"".join([block async for block in blocks])

    assert first.strip() == b""
    assert (first + rest).lstrip().startswith(b'{"id"')
    assert answer.headers["content-type"] == "application/json"


async def test_an_error_after_spaces_cuts_the_connection(tmp_path: Path) -> None:
    async with harness.gateway(tmp_path, ONE_SLOT) as gateway, Hog(gateway):
        asked = harness.chat("hi", max_queue_wait_s=1.0)
        async with gateway.client(headers={"x-lmg-keepalive": "whitespace"}) as client:
            with pytest.raises(httpx2.RemoteProtocolError):
                await client.post("/v1/chat/completions", json=asked)


async def test_without_asking_no_space_is_sent(tmp_path: Path) -> None:
    slow = {"tiny": {"load_s": 1.5}}
    async with harness.gateway(tmp_path, slow) as gateway, gateway.client() as client:
        answer = await client.post("/v1/chat/completions", json=harness.chat("hi"))

    assert answer.content.startswith(b"{")
    assert int(answer.headers["x-lmg-load-ms"]) > 0


async def test_the_run_budget_ends_an_answer_that_takes_too_long(tmp_path: Path) -> None:
    async with harness.gateway(tmp_path, ONE_SLOT) as gateway:
        asked = harness.chat("[[tokens:100000]] [[delay-ms:20]] on", run_timeout_s=0.5)
        async with gateway.client() as client:
            answer = await client.post("/v1/chat/completions", json=asked)
        rows = await gateway.until_rows(WorkState.FAILED)

    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "run_timeout")
    assert rows[0].code == "run_timeout"


async def test_a_full_queue_refuses_at_once_with_a_time_to_come_back(tmp_path: Path) -> None:
    limits = settings.CoordinatorSettings(max_queue=1)
    async with (
        harness.gateway(tmp_path, ONE_SLOT, limits=limits) as gateway,
        Hog(gateway),
        gateway.client() as client,
        anyio.create_task_group() as group,
    ):
        group.start_soon(lambda: client.post("/v1/completions", json={**TEXT, "prompt": "patient"}))
        await gateway.until_queued(1)
        refused = await client.post("/v1/chat/completions", json=harness.chat("hi", stream=True))
        group.cancel_scope.cancel()

    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
    assert int(refused.headers["retry-after"]) >= 1


@pytest.mark.requirement("load-failure-is-told")
async def test_a_model_that_cannot_start_is_told_with_its_log(tmp_path: Path) -> None:
    broken = {"tiny": {"crash": "load", "crash_text": "CUDA error: out of memory", "exit_code": 3}}
    async with (
        harness.gateway(tmp_path, broken, SLOW_TO_SPEAK) as gateway,
        gateway.client() as client,
    ):
        streamed = await client.post("/v1/chat/completions", json=harness.chat("hi", stream=True))
        again = await client.post("/v1/chat/completions", json=harness.chat("hi"))

    for each in (streamed, again):
        error = each.json()["error"]
        assert (each.status_code, error["code"]) == (503, "engine_load_failed")
        assert error["details"]["exit_code"] == 3
        assert any("out of memory" in line for line in error["details"]["log_tail"])
        assert int(each.headers["retry-after"]) >= 1
        assert each.headers["x-should-retry"] == "false"


async def test_a_stopping_gateway_ends_streams_with_an_error_event(tmp_path: Path) -> None:
    async with harness.gateway(tmp_path, ONE_SLOT) as gateway, gateway.client() as client:
        async with anyio.create_task_group() as group:

            async def stop() -> None:
                group.start_soon(gateway.coordinator.shutdown, 0.0)

            text = await cut_stream(client, HOG, stop)
        refused = await client.post("/v1/chat/completions", json=harness.chat("hi"))

    assert harness.events(text)[-1]["error"]["code"] == "shutting_down"
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
    assert refused.headers["retry-after"]


async def test_an_identical_retry_takes_the_place_that_its_first_copy_left(
    tmp_path: Path,
) -> None:
    first, second = harness.chat("first", stream=True), harness.chat("second", stream=True)
    async with harness.gateway(tmp_path, ONE_SLOT) as gateway, Hog(gateway):

        async def ask(asked: dict[str, Any], session: str) -> None:
            async with gateway.client(headers={"x-session-id": session}) as client:
                await client.post("/v1/chat/completions", json=asked)

        async with anyio.create_task_group() as group:
            async with anyio.create_task_group() as leaver:
                leaver.start_soon(ask, first, "ann")
                await gateway.until_queued(1)
                group.start_soon(ask, second, "bob")
                await gateway.until_queued(2)
                leaver.cancel_scope.cancel()
            await gateway.until_queued(1)
            group.start_soon(ask, first, "ann")
            await gateway.until_queued(2)
            places = {line.id: line.position for line in gateway.coordinator.snapshot().queue}
            rows = [row for row in await gateway.rows() if row.id in places]
            owners = {row.owner: places[row.id] for row in rows}
            group.cancel_scope.cancel()

    assert owners == {"session:ann": 1, "session:bob": 2}
