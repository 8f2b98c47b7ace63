"""Agent libraries, each in an environment of its own, running the very scripts that their recipes show."""

from pathlib import Path

import pytest

from tests.agents import driving
from tests.agents.engine import READ

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("client", ["openai-agents", "pydantic-ai", "llamaindex"])
async def test_the_script_of_a_recipe_runs_model_and_tools_through_us(
    tmp_path: Path, client: str
) -> None:
    python = driving.python(client)
    async with driving.gateway(tmp_path) as here:
        script = tmp_path / "script.py"
        script.write_text(driving.recipe(client, here).blocks["script"])
        ran = await driving.run([python, script], tmp_path / "home")
    assert ran.code == 0, ran.all
    assert READ in ran.out
    assert "1 running" in ran.out or "0 running" in ran.out


async def test_langchain_lists_and_calls_our_tools(tmp_path: Path) -> None:
    python = driving.python("langchain-mcp-adapters")
    async with driving.gateway(tmp_path) as here:
        script = tmp_path / "script.py"
        script.write_text(driving.recipe("langgraph", here).blocks["tools"])
        ran = await driving.run([python, script], tmp_path / "home")
    assert ran.code == 0, ran.all
    assert "ready: 0 running" in ran.out


FASTMCP = """
import asyncio, sys
from fastmcp import Client

async def main() -> None:
    async with Client(sys.argv[1]) as client:
        names = [tool.name for tool in await client.list_tools()]
        status = await client.call_tool("gateway_status", {})
        print(len(names), status.structured_content["ready"])
        job = await client.call_tool("submit_job", {"model": "tiny", "body": {"prompt": "hi"}})
        print(job.structured_content["job_id"])

asyncio.run(main())
"""


async def test_fastmcp_lists_and_calls_our_tools(tmp_path: Path) -> None:
    python = driving.python("pydantic-ai")
    async with driving.gateway(tmp_path) as here:
        script = tmp_path / "script.py"
        script.write_text(FASTMCP)
        ran = await driving.run([python, script, here.mcp_url], tmp_path / "home")
    assert ran.code == 0, ran.all
    assert "True" in ran.out
    assert "work_" in ran.out


TASKS = """
import asyncio, sys
from fastmcp import Client
from fastmcp_tasks import call_tool_task

JOB = {"model": "tiny", "body": {"prompt": "hi"}}

async def main() -> None:
    async with Client(sys.argv[1]) as client:
        task = await call_tool_task(client, "submit_job", JOB)
        print("task", task.task_id)
        done = await client.call_tool("submit_job", JOB)
        print("state", done.structured_content["state"])

asyncio.run(main())
"""


async def test_a_client_that_knows_tasks_gets_a_job_as_a_task_and_its_result(
    tmp_path: Path,
) -> None:
    python = driving.python("fastmcp-tasks")
    async with driving.gateway(tmp_path) as here:
        script = tmp_path / "script.py"
        script.write_text(TASKS)
        ran = await driving.run([python, script, here.mcp_url], tmp_path / "home")
    assert ran.code == 0, ran.all
    assert "task work_" in ran.out
    assert "state succeeded" in ran.out
