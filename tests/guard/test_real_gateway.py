"""The same battery against the whole gateway: every route it really has is behind the guard."""

import json
from pathlib import Path

import anyio

from local_model_gateway import announcement
from tests.cli import stub
from tests.guard import app, battery

CONFIG = "server: {port: 0, max_body: 2MiB, max_mcp_body: 1MiB, body_timeout: 1s}\n"


def wrong(case: battery.Case, answer: app.Answer) -> str | None:
    """What a client could complain about."""
    refused_by_application = case.reaches and 400 <= answer.status < 500
    if answer.status not in case.statuses and not refused_by_application:
        return f"{answer.status} {answer.body[:120]!r}, expected {case.statuses}"
    if answer.status >= 400 and case.code is not None and answer.error["code"] != case.code:
        return f"code {answer.error['code']}, expected {case.code}"
    if b"Traceback" in answer.body or b"/home/" in answer.body or b"/root/" in answer.body:
        return "the body leaks"
    return None


async def test_no_route_of_the_whole_gateway_is_reached_by_a_bad_request(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(CONFIG)
    file.chmod(0o600)
    complaints = []
    command = ["start", "--json", "--config", str(file)]
    async with stub.child(stub.shell(tmp_path), *command) as (process, lines):
        with anyio.fail_after(stub.LIMIT_S):
            greeting = json.loads(await anext(lines))
        port = int(greeting["endpoints"]["openai"].split(":")[2].split("/")[0])
        served = app.Served(app.Application(), port)
        for case in battery.cases():
            answer = await served.ask(case.sent)
            if complaint := wrong(case, answer):
                complaints.append(f"{case.name}: {complaint}")
        health = await served.ask(battery.get(b"/health"))
        status = await served.ask(battery.get(b"/status"))
        process.terminate()
        with anyio.fail_after(stub.LIMIT_S):
            assert await process.wait() == 0
    assert not complaints, "\n".join(complaints)
    assert health.status == 200
    picture = json.loads(status.body)
    assert (picture["running"], picture["queue"]) == ([], [])
    assert announcement.read(tmp_path / "state" / "local-model-gateway") is None
