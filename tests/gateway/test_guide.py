"""What `/llms.txt` tells a model is true: its examples run, and whatever it names is there."""

import ast
import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import jsonschema
import mcp
import yaml
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult

from local_model_gateway import answers, config, discovery, guide
from openai_shim import errors
from runtimes import errors as runtimes_errors
from runtimes import upstream
from tests.support.gateway import ROOT, Gateway, fake, gateway

WITHIN_S = 60.0
GUIDE = guide.written("http://127.0.0.1:8787", [], keys=False)
KEY = "k" * 40
SECTION = re.compile(r"^## (.+)\n((?:(?!^## ).*\n)*)", re.MULTILINE)
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELLS: dict[str, list[str]] = {
    "sh": ["sh", "-ec"],
    "python": [sys.executable, "-c"],
    "js": ["node", "--input-type=module", "-e"],
}


@asynccontextmanager
async def serving(folder: Path, **more: Any) -> AsyncGenerator[Gateway]:
    """The real gateway, in front of a fake engine."""
    async with gateway({"runtimes": {"a": fake("a", folder)}, **more}, folder) as here:
        await here.start()
        yield here


def sections(text: str) -> dict[str, str]:
    return dict(SECTION.findall(text))


async def ran(language: str, script: str, **env: str) -> str:
    """What an example prints; it must end well."""
    bare = {"PATH": os.environ["PATH"], "HOME": "/nowhere", "no_proxy": "*", **env}
    with anyio.fail_after(WITHIN_S):
        done = await anyio.run_process([*SHELLS[language], script], check=False, env=bare)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


async def check_examples(text: str, **env: str) -> None:
    """Every example of a request, and that of long work, as they stand."""
    examples = dict(FENCE.findall(sections(text)["A request"]))
    assert set(examples) == set(SHELLS)
    for language, script in examples.items():
        if shutil.which(SHELLS[language][0]):
            said = await ran(language, script, **env)
            assert "[DONE]" in said if language == "sh" else said.strip(), language
    [(_, script)] = FENCE.findall(sections(text)["Long work"])
    job = json.loads(await ran("sh", script, **env))
    assert job["status"] == "succeeded"
    assert job["result"]["choices"]


async def test_the_examples_run_as_they_stand(tmp_path: Path) -> None:
    async with serving(tmp_path) as here, here.client() as client:
        await check_examples((await client.get("/llms.txt")).text)


async def test_the_same_examples_run_where_a_key_is_asked_for(tmp_path: Path) -> None:
    runtimes = {"a": fake("a", tmp_path)}
    async with gateway({"runtimes": runtimes}, tmp_path) as here, here.client() as client:
        here.config["server"] = {"port": here.port, "keys": {"me": KEY}}
        client.headers["authorization"] = f"Bearer {KEY}"
        await here.spawn()
        await until_ready(client)
        text = (await client.get("/llms.txt")).text
        assert "with a key" in text
        assert KEY not in text
        await check_examples(text, LMG_API_KEY=KEY)


async def until_ready(client: httpx2.AsyncClient) -> None:
    with anyio.fail_after(WITHIN_S):
        while True:
            with contextlib.suppress(httpx2.TransportError):
                if (await client.get("/ready")).status_code == 200:
                    return
            await anyio.sleep(0.02)


def test_the_states_of_a_job_are_all_named() -> None:
    named = re.search(r"`status` is (.+?);", sections(GUIDE)["Long work"])
    assert named is not None
    spec = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text(encoding="utf-8"))
    states = spec["components"]["schemas"]["Job"]["properties"]["status"]["enum"]
    assert set(re.findall(r"`(\w+)`", named[1])) == set(states)


@asynccontextmanager
async def tools(here: Gateway) -> AsyncGenerator[mcp.Client]:
    async with httpx2.AsyncClient(timeout=WITHIN_S, trust_env=False) as http:
        transport = streamable_http_client(f"{here.url}/mcp", http_client=http)
        async with mcp.Client(transport) as client:
            yield client


async def test_the_tools_are_those_of_the_server_and_the_example_leads_to_a_call(
    tmp_path: Path,
) -> None:
    command = [sys.executable, str(ROOT / "tests" / "gateway" / "servers" / "files.py")]
    files = {"command": command[0], "args": command[1:]}
    async with serving(tmp_path, mcp_servers={"files": files}) as here, tools(here) as client:
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
        body = sections(GUIDE)["MCP tools"]
        assert re.findall(r"^- `(\w+)`: ", body, re.MULTILINE) == list(listed)
        offered = {str(one.uri) for one in (await client.list_resources()).resources}
        patterns = await client.list_resource_templates()
        offered |= {one.uri_template for one in patterns.resource_templates}
        assert set(re.findall(r"`(gateway://[^`]+)`", body)) <= offered
        [(_, example)] = FENCE.findall(sections(GUIDE)["Tools of other MCP servers"])
        steps = [json.loads(line) for line in example.splitlines()]
        with anyio.fail_after(WITHIN_S):  # it is listed once, after the start
            while not found(await call(client, steps[0])):
                await anyio.sleep(0.05)
        for step in steps:
            jsonschema.validate(step["arguments"], listed[step["tool"]].input_schema)
            said = str(await call(client, step))
            assert steps[-1]["arguments"]["tool_id"] in said or "what is in /srv" in said


async def call(client: mcp.Client, step: dict[str, Any]) -> CallToolResult:
    answer = await client.call_tool(step["tool"], step["arguments"])
    assert isinstance(answer, CallToolResult)
    assert not answer.is_error, answer
    return answer


def found(answer: CallToolResult) -> bool:
    return bool((answer.structured_content or {}).get("results"))


async def test_every_route_that_is_named_is_served(tmp_path: Path) -> None:
    spec = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text(encoding="utf-8"))
    async with serving(tmp_path) as here, here.client() as client:
        text = (await client.get("/llms.txt")).text
        named = {
            path.rstrip("./").removesuffix("/ID")
            for path in re.findall(rf"(?:{re.escape(here.url)}|[ `(])(/[\w./-]+)", text)
            if path.startswith(("/v1", "/mcp", "/status", "/ready", "/health", "/.well-known"))
        }
        assert len(named) > 9
        for path in named - {"/v1"}:
            described = path in spec["paths"] or not path.startswith("/v1/")
            status = (await client.get(path)).status_code
            assert described, path
            assert status != 404, path


def test_every_header_and_field_of_the_waiting_contract_is_in_the_openapi_file() -> None:
    body = sections(GUIDE)["Waiting is normal"]
    described = (ROOT / "docs" / "openapi.yaml").read_text(encoding="utf-8").lower()
    headers = set(re.findall(r"x-[a-z-]+|Idempotency-Key|X-Session-Id|Prefer", body))
    assert len(headers) > 8
    for header in headers:
        assert header.lower() in described, header
    for setting in ("max_queue_wait_s", "run_timeout_s", "priority", "respond-async", "whitespace"):
        assert setting in body
        assert setting in described


def refusals() -> Iterator[tuple[int, str]]:
    """Status and code of every refusal that stands as such in the code in front of the routes."""
    for source in (ROOT / "local_model_gateway").glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Name(id="Refusal") | ast.Attribute(attr="Refusal"),
                    args=[ast.Constant(value=int(status)), ast.Constant(value=str(code)), *_],
                ):
                    yield status, code
                case ast.Call(
                    func=ast.Attribute(attr="_refused"), args=[ast.Constant(value=int(status)), *_]
                ):
                    yield status, "request_timeout"


def answered() -> Iterator[tuple[int, str]]:
    """Status and code of every error that the routes under /v1 can meet."""
    for kind, (status, _) in errors._STATUSES.items():
        yield status, kind.code
    for shim in (errors.InvalidRequest, errors.UnsupportedFeature, errors.EngineBroke):
        yield shim.status, shim.code
    yield 404, runtimes_errors.UnknownModel.code
    yield 400, upstream.NotOffered.code
    for status in (400, 404, 405, 413, 421, 500):
        yield status, answers.for_status(status).code
    yield 431, "headers_too_large"


def test_the_error_table_has_every_code_with_its_status_and_no_other() -> None:
    listed = {(one.status, one.code) for one in guide.ERRORS}
    assert listed == {*refusals(), *answered()}
    for one in guide.ERRORS:
        assert f"| {one.status} | {one.code} | {one.retry} | {one.advice} |" in GUIDE


def test_the_pages_of_the_repository_that_are_named_exist() -> None:
    for path in re.findall(r"`(docs/[\w./-]+)`", GUIDE):
        assert (ROOT / path).is_file(), path


def test_the_guide_is_short_and_filled_in() -> None:
    assert len(GUIDE.splitlines()) <= 250
    assert "@" not in GUIDE
    assert discovery.described(config.Config(), "http://x", [], None)["error_codes"] == [
        one.code for one in guide.ERRORS
    ]
