"""Stored work over plain HTTP."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.openai_shim import harness
from tests.support.fake_engine import answers


@pytest.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[harness.Gateway]:
    folder: Path = tmp_path_factory.mktemp("jobs")
    async with harness.gateway(folder, {"tiny": {"max_concurrency": 1}}) as made:
        yield made


@pytest.fixture
async def client(gateway: harness.Gateway) -> AsyncIterator[httpx2.AsyncClient]:
    async with gateway.client() as made:
        yield made


async def finished(client: httpx2.AsyncClient, job_id: str) -> dict[str, Any]:
    while True:
        job: dict[str, Any] = (await client.get(f"/v1/jobs/{job_id}?wait=30")).json()
        if job["ended_at"] is not None:
            return job


async def test_respond_async_turns_a_chat_into_a_job(client: httpx2.AsyncClient) -> None:
    headers = {"prefer": "respond-async"}
    taken = await client.post("/v1/chat/completions", json=harness.chat("hi"), headers=headers)
    job = taken.json()
    done = await finished(client, job["id"])

    assert taken.status_code == 202
    assert taken.headers["location"] == f"/v1/jobs/{job['id']}"
    assert taken.headers["preference-applied"] == "respond-async"
    assert job["status"] == "queued"
    assert done["status"] == "succeeded"
    message = done["result"]["choices"][0]["message"]
    assert message["content"] == answers.text("tiny", "hi", 8)
    assert done["result"]["model"] == "tiny"


async def test_a_response_that_was_stored_comes_back_as_a_response(
    client: httpx2.AsyncClient,
) -> None:
    asked = {"model": "tiny", "input": "hi"}
    taken = await client.post("/v1/responses", json=asked, headers={"prefer": "respond-async"})
    done = await finished(client, taken.json()["id"])

    assert done["path"] == "/v1/responses"
    assert done["result"]["object"] == "response"
    assert done["result"]["output"][0]["content"][0]["text"] == answers.text("tiny", "hi", 8)


@pytest.mark.parametrize(
    "body",
    [
        {"path": "/v1/chat/completions", "body": harness.chat("one")},
        harness.chat("one"),
        {"model": "tiny", "prompt": "one", "priority": "batch"},
        {"path": "/v1/embeddings", "body": {"model": "tiny", "input": "one"}, "max_attempts": 2},
        {"path": "/v1/responses", "model": "tiny", "input": "one"},
    ],
)
async def test_a_job_is_taken_in_either_shape(
    client: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    taken = await client.post("/v1/jobs", json=body)

    assert taken.status_code == 202
    assert (await finished(client, taken.json()["id"]))["status"] == "succeeded"


@pytest.mark.requirement("idempotent-submit")
async def test_one_key_is_one_job(client: httpx2.AsyncClient) -> None:
    headers = {"idempotency-key": "k-1"}
    first = await client.post("/v1/jobs", json=harness.chat("same"), headers=headers)
    again = await client.post("/v1/jobs", json=harness.chat("same"), headers=headers)
    other = await client.post("/v1/jobs", json=harness.chat("other"), headers=headers)

    assert first.json()["id"] == again.json()["id"]
    assert again.json()["joined"] is True
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_conflict")


async def test_a_queued_and_a_running_job_are_cancelled_differently(
    client: httpx2.AsyncClient, gateway: harness.Gateway
) -> None:
    endless = harness.chat("[[tokens:100000]] [[delay-ms:20]] go on")
    running = (await client.post("/v1/jobs", json=endless)).json()["id"]
    while len(gateway.coordinator.snapshot().running) < 1:
        await gateway.coordinator.changed()
    queued = (await client.post("/v1/jobs", json=harness.chat("later"))).json()
    outcomes = [
        (await client.delete(f"/v1/jobs/{each}")).json()["outcome"]
        for each in (queued["id"], running)
    ]
    ended = [await finished(client, each) for each in (queued["id"], running)]
    again = (await client.delete(f"/v1/jobs/{running}")).json()["outcome"]

    assert queued["position"] == 1
    assert outcomes == ["dequeued", "stopped"]
    assert [job["status"] for job in ended] == ["cancelled", "cancelled"]
    assert again == "already_ended"


async def test_jobs_are_listed_page_by_page_newest_first(client: httpx2.AsyncClient) -> None:
    headers = {"x-session-id": "lister"}
    made = [
        (await client.post("/v1/jobs", json=harness.chat(f"n{n}"), headers=headers)).json()["id"]
        for n in range(3)
    ]
    for each in made:
        while (await client.get(f"/v1/jobs/{each}?wait=30", headers=headers)).json()[
            "ended_at"
        ] is None:
            pass
    first = (await client.get("/v1/jobs?limit=2", headers=headers)).json()
    rest = (await client.get(f"/v1/jobs?limit=2&before={first['before']}", headers=headers)).json()
    done = (await client.get("/v1/jobs?status=succeeded", headers=headers)).json()

    assert [job["id"] for job in first["data"]] == [made[2], made[1]]
    assert first["has_more"] is True
    assert [job["id"] for job in rest["data"]] == [made[0]]
    assert rest["has_more"] is False
    assert len(done["data"]) == 3


async def test_a_foreign_job_is_answered_like_an_unknown_one(client: httpx2.AsyncClient) -> None:
    mine = (
        await client.post("/v1/jobs", json=harness.chat("x"), headers={"x-session-id": "ann"})
    ).json()["id"]
    bob = {"x-session-id": "bob"}
    seen = [
        await client.get(f"/v1/jobs/{mine}", headers=bob),
        await client.delete(f"/v1/jobs/{mine}", headers=bob),
        await client.get("/v1/jobs/work_unknown", headers=bob),
    ]

    assert [(each.status_code, each.json()["error"]["code"]) for each in seen] == [
        (404, "not_found")
    ] * 3
    assert seen[0].text.replace(mine, "X") == seen[2].text.replace("work_unknown", "X")


async def test_a_job_that_the_engine_refuses_fails_with_its_words(
    client: httpx2.AsyncClient,
) -> None:
    taken = await client.post("/v1/jobs", json=harness.chat("[[http400]] x"))
    done = await finished(client, taken.json()["id"])

    assert done["status"] == "failed"
    assert done["error"]["code"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"path": "/v1/audio", "body": harness.chat("x")}, "path"),
        ({"body": 5}, "body"),
        ({"model": "tiny", "input": "x"}, "path"),
        ({"model": "tiny"}, "path"),
        ({**harness.chat("x"), "max_attempts": 0}, "max_attempts"),
        ({**harness.chat("x"), "idempotency_key": 5}, "idempotency_key"),
        ({**harness.chat("x"), "priority": -1}, "priority"),
    ],
)
async def test_a_job_that_makes_no_sense_is_refused(
    client: httpx2.AsyncClient, body: dict[str, Any], param: str
) -> None:
    answer = await client.post("/v1/jobs", json=body)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("query", ["limit=x", "limit=-1", "limit=99999", "status=done", "before=a"])
async def test_a_question_that_makes_no_sense_is_refused(
    client: httpx2.AsyncClient, query: str
) -> None:
    assert (await client.get(f"/v1/jobs?{query}")).status_code == 400
