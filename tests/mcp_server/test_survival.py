"""What outlives what: a job its gateway, an agent its session, a question the process that asked it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import mcp
import pytest
from mcp.client.streamable_http import streamable_http_client

from tests.mcp_server import harness
from tests.mcp_server.harness import ERAS, data
from tests.support.fake_engine import witness
from tests.support.gateway import Gateway, fake, gateway


@asynccontextmanager
async def client(here: Gateway, mode: Any) -> AsyncGenerator[mcp.Client]:
    async with httpx2.AsyncClient(timeout=60, trust_env=False) as http:
        transport = streamable_http_client(f"{here.url}/mcp", http_client=http)
        async with mcp.Client(transport, mode=mode) as made:
            yield made


@pytest.mark.requirement("queue-survives-kill")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("mode", ERAS)
async def test_a_job_outlives_kill_9_and_its_agent_finds_it_done_once(
    tmp_path: Path, mode: str
) -> None:
    async with gateway({"runtimes": {"a": fake("a", tmp_path)}}, tmp_path) as here:
        await here.start()
        async with client(here, mode) as before:
            jobs = [
                data(
                    await before.call_tool(
                        "submit_job",
                        {"model": "a", "body": {"prompt": f"{n} [[tokens:20]] [[delay-ms:20]]"}},
                    )
                )
                for n in range(3)
            ]
            await here.kill()
        await here.start()
        async with client(here, mode) as after:
            with anyio.fail_after(90):
                for job in jobs:
                    found = data(await after.call_tool("get_job", {"job_id": job["job_id"]}))
                    assert found["state"] in {"queued", "running", "succeeded"}
                    while found["state"] in {"queued", "running"}:
                        arguments = {"job_id": job["job_id"]}
                        found = data(await after.call_tool("wait_for_job", arguments))
                    assert found["state"] == "succeeded"
                listed = data(await after.call_tool("list_jobs", {}))
    assert [one["state"] for one in listed["jobs"]] == ["succeeded"] * 3
    assert len(witness.named(here.witness, "end")) == 3


async def test_sessions_are_capped_and_the_oldest_client_is_not_thrown_out(tmp_path: Path) -> None:
    async with harness.gateway(tmp_path, max_sessions=2) as here:
        with anyio.fail_after(60):
            async with here.client("legacy") as first, here.client("legacy") as second:
                refused = await _initialize(here)
                assert data(await first.call_tool("gateway_status", {}))["ready"]
                assert data(await second.call_tool("gateway_status", {}))["ready"]
            again = await _initialize(here)
    assert refused.status_code >= 400
    assert "traceback" not in refused.text.lower()
    assert again.status_code == 200


async def test_an_idle_session_is_closed_and_told_so(tmp_path: Path) -> None:
    async with harness.gateway(tmp_path, session_idle_s=0.2) as here:
        with anyio.fail_after(60):
            opened = await _initialize(here)
            manager = here.surface.server.session_manager
            while manager._server_instances:
                await anyio.sleep(0.02)  # the SDK's own timer: nobody here is told
            headers = {"mcp-session-id": opened.headers["mcp-session-id"]}
            late = await _post(here, {"jsonrpc": "2.0", "id": 2, "method": "ping"}, headers)
    assert late.status_code == 404


async def _initialize(here: harness.Gateway) -> httpx2.Response:
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    }
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    return await _post(here, message, {})


async def _post(
    here: harness.Gateway, message: dict[str, Any], headers: dict[str, str]
) -> httpx2.Response:
    async with here.http() as http:
        head = {"accept": "application/json, text/event-stream", **headers}
        return await http.post("/mcp", json=message, headers=head)


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_a_probe_before_any_session_is_answered_and_does_not_hang(
    tmp_path: Path, method: str
) -> None:
    async with harness.gateway(tmp_path) as here, here.http() as http:
        with anyio.fail_after(30):
            answer = await http.request(method, "/mcp", headers={"accept": "text/event-stream"})
    assert 400 <= answer.status_code < 500


async def test_a_host_that_was_configured_is_taken_and_another_is_not(tmp_path: Path) -> None:
    async with harness.gateway(tmp_path, allowed_hosts=("models.lan:1",)) as here:
        own = here.url.removeprefix("http://")
        refused = await _post(here, {"jsonrpc": "2.0", "id": 1, "method": "ping"}, {"host": own})
    assert refused.status_code == 421
