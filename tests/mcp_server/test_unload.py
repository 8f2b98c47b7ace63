"""Stopping a stuck runtime asks first: a form where the client shows one, a token in two calls where it cannot."""

from pathlib import Path
from typing import Any

import anyio
import mcp
import pytest
from mcp.types import ElicitRequestParams, ElicitResult

from coordinator.state import WorkState
from tests.mcp_server.harness import ERAS, data, gateway, said

SLOW = {"model": "tiny", "body": {"prompt": "[[tokens:4000]] [[delay-ms:50]]"}, "max_attempts": 1}


def answering(action: Any, content: dict[str, Any] | None, asked: list[str]) -> Any:
    """A user who always answers the same."""

    async def answer(context: Any, params: ElicitRequestParams) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action=action, content=content)

    return answer


async def unload(client: mcp.Client, **more: Any) -> dict[str, Any]:
    arguments = {"runtime": "tiny", **more}
    return data(await client.call_tool("force_unload_runtime", arguments))


@pytest.mark.parametrize("mode", ERAS)
async def test_a_yes_in_the_form_stops_the_runtime_and_what_runs_on_it(
    tmp_path: Path, mode: str
) -> None:
    asked: list[str] = []
    answer = answering("accept", {"approve": True}, asked)
    async with gateway(tmp_path) as here, here.client(mode, elicitation_callback=answer) as client:
        with anyio.fail_after(60):
            job = data(await client.call_tool("submit_job", SLOW))
            await here.until_engine("begin")
            done = await unload(client)
            await here.until_job(job["job_id"], WorkState.CANCELLED, WorkState.FAILED)
    assert done["done"] is True
    assert len(asked) == 1
    assert "tiny" in asked[0]


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize(
    ("action", "content"), [("decline", None), ("cancel", None), ("accept", {"approve": False})]
)
async def test_anything_but_a_yes_stops_nothing(
    tmp_path: Path, mode: str, action: str, content: dict[str, Any] | None
) -> None:
    answer = answering(action, content, [])
    async with gateway(tmp_path) as here, here.client(mode, elicitation_callback=answer) as client:
        with anyio.fail_after(60):
            job = data(await client.call_tool("submit_job", SLOW))
            await here.until_engine("begin")
            done = await unload(client)
            row = (await here.coordinator.job(job["job_id"], None)).item
            await here.coordinator.cancel(job["job_id"], None, "the test")
    assert done["done"] is False
    assert row.state is WorkState.RUNNING


@pytest.mark.parametrize("mode", ERAS)
async def test_a_client_without_forms_confirms_with_a_token_that_is_good_once(
    tmp_path: Path, mode: str
) -> None:
    async with gateway(tmp_path) as here, here.client(mode) as client:
        with anyio.fail_after(60):
            asked = await unload(client)
            assert asked["done"] is False
            assert "Ask the user" in asked["message"]
            token = asked["confirm"]
            wrong = {"runtime": "tiny", "confirm": ("B" if token[0] == "A" else "A") + token[1:]}
            forged = await client.call_tool("force_unload_runtime", wrong)
            done = await unload(client, confirm=token)
            right = {"runtime": "tiny", "confirm": token}
            again = await client.call_tool("force_unload_runtime", right)
    assert done["done"] is True
    assert forged.is_error
    assert again.is_error
    assert "bad_confirm" in said(again)


async def test_a_token_outlives_a_restart_of_the_surface(tmp_path: Path) -> None:
    async with gateway(tmp_path) as here, here.client() as client:
        token = (await unload(client))["confirm"]
    async with gateway(tmp_path) as here, here.client() as client:
        done = await unload(client, confirm=token)
    assert done["done"] is True
