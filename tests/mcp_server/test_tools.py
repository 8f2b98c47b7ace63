"""Every tool of the gateway itself, called by the SDK's client in both eras."""

from pathlib import Path

import anyio
import pytest

from tests.mcp_server.harness import ERAS, data, gateway


@pytest.mark.parametrize("mode", ERAS)
async def test_a_job_is_answered_at_once_and_its_result_found_later(
    tmp_path: Path, mode: str
) -> None:
    async with gateway(tmp_path) as here, here.client(mode) as client:
        with anyio.fail_after(60):
            job = data(
                await client.call_tool("submit_job", {"model": "tiny", "body": {"prompt": "hi"}})
            )
            assert job["state"] in {"queued", "running"}
            done = data(await client.call_tool("wait_for_job", {"job_id": job["job_id"]}))
            again = data(await client.call_tool("get_job", {"job_id": job["job_id"]}))
    assert done["state"] == again["state"] == "succeeded"
    assert done["result"]["choices"][0]["message"]["content"]
