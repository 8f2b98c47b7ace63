"""Durable work over MCP: what an agent sees of its jobs, in both eras, on the real queue and a real engine process."""

import json
from pathlib import Path
from typing import Any

import anyio
import mcp
import pytest

from coordinator.state import WorkState
from local_model_gateway import config
from tests.mcp_server.harness import ECHO, ERAS, data, gateway, said

SLOW = {"prompt": "[[tokens:4000]] [[delay-ms:50]]"}


async def submit(client: mcp.Client, body: Any, **more: Any) -> dict[str, Any]:
    arguments = {"model": "tiny", "body": body, **more}
    return data(await client.call_tool("submit_job", arguments))


@pytest.mark.parametrize("mode", ERAS)
async def test_a_job_is_answered_at_once_and_its_result_found_later(
    tmp_path: Path, mode: str
) -> None:
    async with gateway(tmp_path) as here, here.client(mode) as client:
        with anyio.fail_after(60):
            job = await submit(client, {"prompt": "hi"})
            assert job["state"] in {"queued", "running"}
            assert job["job_id"] in job["resource"]
            done = data(await client.call_tool("wait_for_job", {"job_id": job["job_id"]}))
            again = data(await client.call_tool("get_job", {"job_id": job["job_id"]}))
            listed = data(await client.call_tool("list_jobs", {}))
    assert done["state"] == again["state"] == "succeeded"
    assert done["result"]["choices"][0]["message"]["content"]
    assert [one["job_id"] for one in listed["jobs"]] == [job["job_id"]]


@pytest.mark.parametrize("mode", ERAS)
async def test_a_wait_that_is_not_over_says_what_to_do_and_tells_progress(
    tmp_path: Path, mode: str
) -> None:
    told: list[str] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append(message or "")

    async with gateway(tmp_path) as here, here.client(mode) as client:
        with anyio.fail_after(60):
            first = await submit(client, SLOW)
            await here.until_engine("begin")
            second = await submit(client, {"prompt": "behind"})
            arguments = {"job_id": second["job_id"], "timeout_s": 1.5}
            answer = data(await client.call_tool("wait_for_job", arguments, progress_callback=hear))
            await client.call_tool("cancel_runtime_request", {"job_id": first["job_id"]})
    assert answer["state"] == "queued"
    assert answer["position"] == 1
    assert "wait_for_job" in answer["next"]
    assert "do not submit again" in answer["next"]
    assert told
    assert "position 1" in told[0]


@pytest.mark.parametrize("mode", ERAS)
async def test_leaving_a_wait_cancels_the_wait_and_not_the_job(tmp_path: Path, mode: str) -> None:
    async with gateway(tmp_path) as here:
        with anyio.fail_after(60):
            async with here.client(mode) as client:
                job = await submit(client, {"prompt": "[[tokens:40]] [[delay-ms:50]]"})
                await here.until_engine("begin")
                with anyio.move_on_after(0.3):
                    await client.call_tool("wait_for_job", {"job_id": job["job_id"]})
            await here.until_job(job["job_id"], WorkState.SUCCEEDED)
    assert not here.engine_events("cancelled")


@pytest.mark.parametrize("mode", ERAS)
async def test_the_three_outcomes_of_a_cancel_are_told_apart(tmp_path: Path, mode: str) -> None:
    async with gateway(tmp_path) as here, here.client(mode) as client:

        async def cancel(job: dict[str, Any]) -> dict[str, Any]:
            arguments = {"job_id": job["job_id"]}
            return data(await client.call_tool("cancel_runtime_request", arguments))

        with anyio.fail_after(60):
            running = await submit(client, SLOW)
            await here.until_engine("begin")
            queued = await submit(client, {"prompt": "behind"})
            assert (await cancel(queued))["outcome"] == "dequeued"
            assert (await cancel(running))["outcome"] == "stopped"
            await here.until_job(running["job_id"], WorkState.CANCELLED)
            ended = await cancel(running)
            await here.until_engine("cancelled")
    assert ended["outcome"] == "already_ended"
    assert "nothing changed" in ended["message"]
    assert len(here.engine_events("begin")) == 1


async def test_jobs_belong_to_the_key_that_made_them(tmp_path: Path) -> None:
    server = config.Server.model_validate({"port": 0, "keys": {"ann": "a" * 40, "bob": "b" * 40}})
    async with (
        gateway(tmp_path, server=server) as here,
        here.client(key="a" * 40) as ann,
        here.client(key="b" * 40) as bob,
    ):
        with anyio.fail_after(60):
            job = await submit(ann, {"prompt": "mine"})
            arguments = {"job_id": job["job_id"]}
            for tool in ("get_job", "wait_for_job", "cancel_runtime_request"):
                foreign = await bob.call_tool(tool, arguments)
                assert foreign.is_error
                unknown = await bob.call_tool(tool, {"job_id": "work_nobody"})
                assert said(foreign).replace(job["job_id"], "X") == said(unknown).replace(
                    "work_nobody", "X"
                )
            assert data(await bob.call_tool("list_jobs", {}))["jobs"] == []
            with pytest.raises(mcp.MCPError):
                await bob.read_resource(job["resource"])
            assert data(await ann.call_tool("wait_for_job", arguments))["state"] == "succeeded"


async def test_one_idempotency_key_is_one_job_and_another_body_is_refused(tmp_path: Path) -> None:
    async with gateway(tmp_path) as here, here.client() as client:
        with anyio.fail_after(60):
            first = await submit(client, {"prompt": "once"}, idempotency_key="k")
            second = await submit(client, {"prompt": "once"}, idempotency_key="k")
            arguments = {"model": "tiny", "body": {"prompt": "other"}, "idempotency_key": "k"}
            refused = await client.call_tool("submit_job", arguments)
            await here.until_job(first["job_id"], WorkState.SUCCEEDED)
    assert second["job_id"] == first["job_id"]
    assert second["joined"] is True
    assert refused.is_error
    assert "idempotency_conflict" in said(refused)
    assert len(here.engine_events("begin")) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": "tinny", "body": {"prompt": "x"}}, "model_not_found"),
        ({"model": "tiny", "body": {}}, "needs `messages`"),
        ({"model": "tiny", "body": {"prompt": "x", "priority": "urgent"}}, "`priority`"),
        ({"model": "tiny", "body": {"prompt": "x", "run_timeout_s": -1}}, "`run_timeout_s`"),
        ({"model": "tiny", "kind": "embedding", "body": {"prompt": "x"}}, "needs `input`"),
        ({"model": "tiny", "body": {"prompt": "x"}, "max_attempts": 0}, "max_attempts"),
        ({"model": "tiny", "kind": "one_shot", "body": {"prompt": "x"}}, "no one-shot work"),
    ],
)
async def test_what_cannot_be_submitted_is_refused_in_words(
    tmp_path: Path, arguments: dict[str, Any], words: str
) -> None:
    async with gateway(tmp_path) as here, here.client() as client:
        refused = await client.call_tool("submit_job", arguments)
        rows = await here.coordinator.jobs(None)
    assert refused.is_error
    assert words in said(refused)
    assert rows == ()


async def test_a_long_result_is_cut_and_whole_in_its_resource(tmp_path: Path) -> None:
    async with gateway(tmp_path) as here, here.client() as client:
        with anyio.fail_after(60):
            job = await submit(client, {"prompt": "[[tokens:9000]]"})
            answer = await client.call_tool("wait_for_job", {"job_id": job["job_id"]})
            done = data(answer)
            whole = await client.read_resource(done["resource"])
    assert done["result_cut"] is True
    assert len(said(answer)) < 32 * 1024
    assert any(part.type == "resource_link" for part in answer.content)
    kept = json.loads(getattr(whole.contents[0], "text", ""))
    assert kept["result"]["usage"]["completion_tokens"] == 9000


async def test_pages_of_jobs_lead_from_one_to_the_next(tmp_path: Path) -> None:
    async with gateway(tmp_path) as here, here.client() as client:
        with anyio.fail_after(60):
            made = [(await submit(client, {"prompt": str(n)}))["job_id"] for n in range(5)]
            pages: list[list[str]] = []
            before: int | None = None
            while True:
                page = data(await client.call_tool("list_jobs", {"limit": 2, "before": before}))
                pages.append([one["job_id"] for one in page["jobs"]])
                before = page.get("more_before")
                if before is None:
                    break
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [one for page in pages for one in page] == made[::-1]


async def test_both_surfaces_show_the_same_jobs(tmp_path: Path) -> None:
    async with gateway(tmp_path) as here, here.client() as client, here.http() as http:
        with anyio.fail_after(60):
            over_mcp = (await submit(client, {"prompt": "one"}))["job_id"]
            body = {"model": "tiny", "messages": [{"role": "user", "content": "two"}]}
            head = {"prefer": "respond-async"}
            answer = await http.post("/v1/chat/completions", json=body, headers=head)
            assert answer.status_code == 202, answer.text
            over_http = answer.json()["id"]
            listed = data(await client.call_tool("list_jobs", {}))
            seen = await http.get(f"/v1/jobs/{over_mcp}")
    assert {one["job_id"] for one in listed["jobs"]} == {over_mcp, over_http}
    assert seen.status_code == 200


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"model": "tiny", "kind": "completion", "body": {"prompt": "x"}}, "text"),
        ({"model": "tiny", "kind": "embedding", "body": {"input": ["x", "y"]}}, "embedding"),
        ({"model": "echo", "kind": "one_shot", "body": {"prompt": "say this"}}, "say this"),
    ],
)
async def test_every_kind_of_job_runs_to_its_own_kind_of_result(
    tmp_path: Path, arguments: dict[str, Any], found: str
) -> None:
    echo = {"engine": "once", "cmd": [*ECHO, "echo", "{prompt}"]}
    async with gateway(tmp_path, {"tiny": {}, "echo": echo}) as here, here.client() as client:
        with anyio.fail_after(60):
            job = data(await client.call_tool("submit_job", arguments))
            done = data(await client.call_tool("wait_for_job", {"job_id": job["job_id"]}))
    assert done["state"] == "succeeded", done
    assert found in json.dumps(done["result"])
