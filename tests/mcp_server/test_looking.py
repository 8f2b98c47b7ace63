"""What the gateway tells of itself, and how much of an agent's context that takes."""

import json
from pathlib import Path
from typing import Any

import anyio
import jsonschema
import pytest
from mcp.types import Tool

from broker.service import Broker
from mcp_server.server import INSTRUCTIONS
from tests.mcp_server.harness import ERAS, data, gateway, said

CONTRACT = [
    "gateway_status",
    "list_runtime_models",
    "recommend_local_profile",
    "runtime_status",
    "force_unload_runtime",
    "submit_job",
    "get_job",
    "wait_for_job",
    "list_jobs",
    "cancel_runtime_request",
    "generate_client_config",
    "validate_client_config",
    "search_tools",
    "describe_tool",
    "call_tool",
    "list_servers",
]
TOKEN_LIMIT = 2500
CHARACTERS_A_TOKEN = 4.0
"""Counted with a public tokenizer this list has 4.2 characters a token, so this errs on the safe side."""


def wire(tool: Tool) -> dict[str, Any]:
    return tool.model_dump(mode="json", by_alias=True, exclude_none=True)


async def test_the_list_is_the_contract_and_cheap_for_every_conversation(tmp_path: Path) -> None:
    async with (
        Broker({}, tmp_path / "broker") as broker,
        gateway(tmp_path, broker=broker) as here,
        here.client() as client,
    ):
        listed = await client.list_tools()
        again = await client.list_tools()
    assert [tool.name for tool in listed.tools] == CONTRACT
    assert [wire(tool) for tool in again.tools] == [wire(tool) for tool in listed.tools]
    assert listed.ttl_ms >= 3_600_000
    text = json.dumps([wire(tool) for tool in listed.tools], separators=(",", ":"))
    assert len(text) / CHARACTERS_A_TOKEN < TOKEN_LIMIT
    for tool in listed.tools:
        assert tool.output_schema is not None, tool.name
        assert tool.annotations is not None, tool.name
        jsonschema.Draft202012Validator.check_schema(tool.input_schema)
        jsonschema.Draft202012Validator.check_schema(tool.output_schema)


def test_the_instructions_fit_where_clients_show_them() -> None:
    assert len(INSTRUCTIONS) <= 500
    assert "submit_job" in INSTRUCTIONS


@pytest.mark.parametrize("mode", ERAS)
async def test_every_answer_fits_the_schema_that_was_announced(tmp_path: Path, mode: str) -> None:
    arguments: dict[str, dict[str, Any]] = {
        "runtime_status": {"runtime": "tiny"},
        "force_unload_runtime": {"runtime": "tiny"},
        "generate_client_config": {"client": "codex"},
        "validate_client_config": {"client": "codex", "config": ""},
    }
    async with gateway(tmp_path) as here, here.client(mode) as client:
        with anyio.fail_after(60):
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            job = {"model": "tiny", "body": {"prompt": "x"}}
            job_id = data(await client.call_tool("submit_job", job))["job_id"]
            for name in ("get_job", "wait_for_job", "cancel_runtime_request"):
                arguments[name] = {"job_id": job_id}
            for name, tool in tools.items():
                if name == "submit_job":
                    continue
                answer = data(await client.call_tool(name, arguments.get(name, {})))
                jsonschema.validate(answer, tool.output_schema or {})


async def test_the_status_says_what_runs_waits_and_is_wrong(tmp_path: Path) -> None:
    problems = ("config.yaml:3: unknown key",)
    async with (
        gateway(tmp_path, problems=lambda: problems) as here,
        here.client() as client,
    ):
        with anyio.fail_after(60):
            slow = {"model": "tiny", "body": {"prompt": "[[tokens:4000]] [[delay-ms:50]]"}}
            first = data(await client.call_tool("submit_job", slow))
            await here.until_engine("begin")
            await client.call_tool("submit_job", {"model": "tiny", "body": {"prompt": "next"}})
            status = data(await client.call_tool("gateway_status", {}))
            runtime = data(await client.call_tool("runtime_status", {"runtime": "tiny"}))
            read = await client.read_resource("gateway://status")
            await client.call_tool("cancel_runtime_request", {"job_id": first["job_id"]})
    assert (status["running"], status["queued"]) == (1, 1)
    assert status["problems"] == list(problems)
    assert status["queue"][0]["position"] == 1
    assert first["job_id"] not in json.dumps(status)  # knowing an id is the right to cancel it
    assert runtime["running"] == 1
    assert "1 of 1 slots busy" in runtime["summary"]
    assert json.loads(getattr(read.contents[0], "text", ""))["running"] == 1


async def test_a_runtime_that_cannot_load_tells_why(tmp_path: Path) -> None:
    broken = {"crash": "load", "crash_text": "CUDA error: out of memory", "exit_code": 3}
    async with gateway(tmp_path, {"tiny": broken}) as here, here.client() as client:
        with anyio.fail_after(60):
            job = {"model": "tiny", "body": {"prompt": "x"}, "max_attempts": 1}
            job_id = data(await client.call_tool("submit_job", job))["job_id"]
            await here.until_engine("listening")
            with anyio.fail_after(30):
                while not here.coordinator.snapshot().runtimes[0].failures:
                    await here.coordinator.changed()
            report = data(await client.call_tool("runtime_status", {"runtime": "tiny"}))
            await client.call_tool("cancel_runtime_request", {"job_id": job_id})
    assert report["failures"] >= 1
    assert "exit code 3" in report["last_error"]
    assert any("out of memory" in line for line in report["log_tail"])


async def test_an_unknown_runtime_is_refused_with_the_nearest_names(tmp_path: Path) -> None:
    async with gateway(tmp_path, {"qwen3-32b": {}}) as here, here.client() as client:
        refused = await client.call_tool("runtime_status", {"runtime": "qwen3"})
    assert refused.is_error
    assert "qwen3-32b" in said(refused)


async def test_a_listener_hears_that_the_status_changed(tmp_path: Path) -> None:
    async with gateway(tmp_path) as here, here.client() as client:
        with anyio.fail_after(60):
            async with client.listen(resource_subscriptions=["gateway://status"]) as heard:
                job = {"model": "tiny", "body": {"prompt": "x"}}
                await client.call_tool("submit_job", job)
                event = await anext(aiter(heard))
                assert here.surface._bus.listeners == 1
            while here.surface._bus.listeners:
                await anyio.sleep(0.02)  # the stream ends in its own time
    assert getattr(event, "uri", None) == "gateway://status"
