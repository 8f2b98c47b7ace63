"""The bridge for clients that can only start a program: the SDK's client over a real child process."""

import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import mcp
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp.types import ElicitRequestParams, ElicitResult

from coordinator.state import WorkState
from local_model_gateway import config
from recipes import loader, render
from recipes.front_matter import Kind
from tests.mcp_server.harness import ERAS, data, gateway
from tests.support.gateway import ROOT, free_port

CLIENTS = loader.every(Kind.CLIENT)  # read before any loop runs
START = (
    "import sys; from local_model_gateway.commands import mcp_stdio; "
    "sys.exit(mcp_stdio.main(sys.argv[1], dict(one.split(': ', 1) for one in sys.argv[2:])))"
)
SLOW = {"model": "tiny", "body": {"prompt": "[[tokens:4000]] [[delay-ms:50]]"}, "max_attempts": 1}


@asynccontextmanager
async def bridged(
    url: str, mode: Any = "auto", *headers: str, **more: Any
) -> AsyncGenerator[mcp.Client]:
    parameters = mcp.StdioServerParameters(
        command=sys.executable, args=["-c", START, url, *headers], cwd=ROOT
    )
    async with mcp.Client(parameters, mode=mode, **more) as client:
        yield client


@pytest.mark.parametrize("mode", ERAS)
async def test_a_job_runs_over_the_bridge_with_progress(tmp_path: Path, mode: str) -> None:
    told: list[str] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append(message or "")

    async with gateway(tmp_path) as here, bridged(here.mcp_url, mode) as client:
        with anyio.fail_after(60):
            body = {"prompt": "[[tokens:60]] [[delay-ms:50]] grüß"}
            job = data(await client.call_tool("submit_job", {"model": "tiny", "body": body}))
            arguments = {"job_id": job["job_id"]}
            done = data(await client.call_tool("wait_for_job", arguments, progress_callback=hear))
    assert done["state"] == "succeeded"
    assert told


@pytest.mark.parametrize("mode", ERAS)
async def test_a_question_and_its_answer_pass_the_bridge(tmp_path: Path, mode: str) -> None:
    async def yes(context: Any, params: ElicitRequestParams) -> ElicitResult:
        return ElicitResult(action="accept", content={"approve": True})

    async with (
        gateway(tmp_path) as here,
        bridged(here.mcp_url, mode, elicitation_callback=yes) as client,
    ):
        with anyio.fail_after(60):
            done = data(await client.call_tool("force_unload_runtime", {"runtime": "tiny"}))
    assert done["done"] is True


@pytest.mark.parametrize("mode", ERAS)
async def test_cancelling_a_wait_over_the_bridge_leaves_the_job(tmp_path: Path, mode: str) -> None:
    async with gateway(tmp_path) as here, bridged(here.mcp_url, mode) as client:
        with anyio.fail_after(60):
            job = data(await client.call_tool("submit_job", SLOW))
            await here.until_engine("begin")
            with anyio.move_on_after(0.5):
                await client.call_tool("wait_for_job", {"job_id": job["job_id"]})
            found = data(await client.call_tool("get_job", {"job_id": job["job_id"]}))
            await client.call_tool("cancel_runtime_request", {"job_id": job["job_id"]})
            await here.until_job(job["job_id"], WorkState.CANCELLED)
    assert found["state"] == "running"


@pytest.mark.parametrize(("client", "block"), [("claude-desktop", "mcp"), ("generic-mcp", "stdio")])
async def test_what_a_recipe_tells_a_client_to_start_does_connect(
    tmp_path: Path, client: str, block: str
) -> None:
    async with gateway(tmp_path) as here:
        made = render.render(CLIENTS[client], render.Values(here.url, "tiny"))
        entry = json.loads(made.blocks[block])["mcpServers"]["lmg"]
        assert entry["command"] == "lmg"
        parameters = mcp.StdioServerParameters(
            command=sys.executable, args=["-m", "local_model_gateway", *entry["args"]], cwd=ROOT
        )
        with anyio.fail_after(60):
            async with mcp.Client(parameters) as connected:
                assert data(await connected.call_tool("gateway_status", {}))["ready"]


async def test_a_session_that_the_gateway_forgot_is_made_again(tmp_path: Path) -> None:
    server = config.Server(port=free_port())
    with anyio.fail_after(120):
        async with gateway(tmp_path, server=server) as here:
            url = here.mcp_url
            async with anyio.create_task_group() as group:
                restarted, asked = anyio.Event(), anyio.Event()
                answers: list[dict[str, Any]] = []

                async def use() -> None:
                    async with bridged(url, "legacy") as client:
                        answers.append(data(await client.call_tool("gateway_status", {})))
                        asked.set()
                        await restarted.wait()
                        answers.append(data(await client.call_tool("gateway_status", {})))

                group.start_soon(use)
                await asked.wait()
                sessions = here.surface.server.session_manager._server_instances
                for transport in list(sessions.values()):
                    await transport.terminate()
                sessions.clear()
                restarted.set()
    assert len(answers) == 2


async def test_a_key_is_sent_and_a_refusal_is_told_in_words(tmp_path: Path) -> None:
    server = config.Server.model_validate({"port": 0, "keys": {"ann": "a" * 40}})
    async with gateway(tmp_path, server=server) as here:
        with anyio.fail_after(60):
            async with bridged(here.mcp_url, "auto", f"Authorization: Bearer {'a' * 40}") as client:
                assert data(await client.call_tool("gateway_status", {}))["ready"]
            answer = await _raw(here.mcp_url, b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n')
    assert "401" in answer["error"]["message"]


async def test_no_gateway_is_told_with_the_command_that_starts_one() -> None:
    url = f"http://127.0.0.1:{free_port()}/mcp"
    answer = await _raw(url, b'{"jsonrpc":"2.0","id":"x","method":"tools/list"}\n')
    assert answer["id"] == "x"
    assert "lmg up" in answer["error"]["message"]


@pytest.mark.parametrize("line", [b"nonsense\n", b"[1]\n", b"\xff\n"])
async def test_a_line_that_is_no_message_is_answered_as_such(line: bytes) -> None:
    answer = await _raw("http://127.0.0.1:1/mcp", line)
    assert answer["error"]["code"] == -32700


async def _raw(url: str, line: bytes) -> dict[str, Any]:
    """One line in, one line out."""
    command = [sys.executable, "-c", START, url]
    async with await anyio.open_process(command, cwd=ROOT, stderr=None) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with anyio.fail_after(30):
            await process.stdin.send(line)
            answer: dict[str, Any] = json.loads(await process.stdout.receive())
            await process.stdin.aclose()
            assert await process.wait() == 0
    return answer


async def test_a_cancelled_request_gets_no_answer_over_the_bridge(tmp_path: Path) -> None:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }

    def call(id_: int, name: str, arguments: dict[str, Any]) -> bytes:
        params = {"name": name, "arguments": arguments, "_meta": meta}
        message = {"jsonrpc": "2.0", "id": id_, "method": "tools/call", "params": params}
        return json.dumps(message).encode() + b"\n"

    async with gateway(tmp_path) as here, here.client() as client:
        job = {"job_id": data(await client.call_tool("submit_job", SLOW))["job_id"]}
        command = [sys.executable, "-c", START, here.mcp_url]
        cancelled = {"method": "notifications/cancelled", "params": {"requestId": 1}}
        async with await anyio.open_process(command, cwd=ROOT, stderr=None) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            lines = BufferedByteReceiveStream(process.stdout)
            with anyio.fail_after(60):
                await process.stdin.send(call(1, "wait_for_job", {**job, "timeout_s": 1}))
                await process.stdin.send(call(2, "gateway_status", {}))
                answers = [await _line(lines)]
                await process.stdin.send(json.dumps({"jsonrpc": "2.0", **cancelled}).encode())
                await process.stdin.send(b"\n")
                await process.stdin.send(call(3, "wait_for_job", {**job, "timeout_s": 3}))
                answers.append(await _line(lines))
                await process.stdin.aclose()
        await client.call_tool("cancel_runtime_request", job)
    assert [answer["id"] for answer in answers] == [2, 3]


async def _line(stream: BufferedByteReceiveStream) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(await stream.receive_until(b"\n", 1 << 20))
    return line


async def test_the_bridge_starts_without_the_mcp_packages() -> None:
    words = (
        "import sys, local_model_gateway.commands.mcp_stdio; "
        "print([one for one in ('mcp', 'fastmcp', 'mcp_server') if one in sys.modules])"
    )
    done = await anyio.run_process([sys.executable, "-c", words], cwd=ROOT)
    assert done.stdout.strip() == b"[]"
