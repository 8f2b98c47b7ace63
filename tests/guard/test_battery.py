"""Every bad request gets one clean answer within its time, and none reaches the application unasked."""

import anyio
import pytest

from tests.guard import app, battery

CASES = list(battery.cases())
# Small limits, so that a case need not be megabytes; the defaults are the configuration's business.
SMALL = {"max_body": 2 * 1024 * 1024, "max_mcp_body": 1024 * 1024, "body_timeout": 1.0}


def test_the_battery_has_no_two_cases_of_one_name() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.requirement("guard-is-outermost")
async def test_every_bad_request_is_answered_cleanly() -> None:
    wrong: list[str] = []
    async with app.served(**SMALL) as served:
        for case in CASES:
            served.app.reached.clear()
            try:
                answer = await served.ask(case.sent)
            except TimeoutError:
                wrong.append(f"{case.name}: no answer")
                continue
            if complaint := _complaint(case, answer, served.app.reached):
                wrong.append(f"{case.name}: {complaint}")
        answer = await served.ask(battery.get(b"/health"))
    assert not wrong, "\n".join(wrong)
    assert answer.status == 200


def _complaint(case: battery.Case, answer: app.Answer, reached: list[str]) -> str | None:
    if answer.status not in case.statuses:
        return f"{answer.status} {answer.body[:200]!r}, expected {case.statuses}"
    if reached and not case.reaches:
        return f"reached the application at {reached}"
    if not answer.whole and answer.status:
        return "the answer was cut"
    if answer.status < 400:
        return None
    return _misshapen(case, answer)


def _misshapen(case: battery.Case, answer: app.Answer) -> str | None:
    if answer.headers["content-type"] != "application/json":
        return f"answered as {answer.headers['content-type']}"
    error = answer.error
    if case.code is not None and error["code"] != case.code:
        return f"code {error['code']}, expected {case.code}"
    if error["src"] != "gateway" or set(error) != {"message", "type", "code", "param", "src"}:
        return f"another shape: {error}"
    return None


@pytest.mark.parametrize(
    "host", [b"127.0.0.1:{port}", b"localhost:{port}", b"LOCALHOST:{port}", b"[::1]:{port}"]
)
async def test_the_names_of_this_machine_are_answered(host: bytes) -> None:
    async with app.served() as served:
        answer = await served.ask(battery.get(host=b"Host: " + host + b"\r\n"))
    assert answer.status == 200


@pytest.mark.parametrize(
    "more",
    [
        b"Origin: http://127.0.0.1:{port}\r\n",
        b"Origin: http://localhost:{port}\r\n",
        b"Sec-Fetch-Site: same-origin\r\n",
        b"Sec-Fetch-Site: none\r\n",
    ],
)
async def test_our_own_pages_are_answered_and_get_no_cors_headers(more: bytes) -> None:
    async with app.served() as served:
        answer = await served.ask(battery.get(more=more))
    assert answer.status == 200
    assert not any(name.startswith("access-control") for name in answer.headers)


@pytest.mark.parametrize(
    "kind",
    [
        b"application/json",
        b"application/json; charset=utf-8",
        b'application/json;charset="UTF-8"',
        b"APPLICATION/JSON",
        b"application/vnd.api+json",
    ],
)
async def test_json_in_all_its_spellings_is_taken(kind: bytes) -> None:
    async with app.served() as served:
        answer = await served.ask(battery.post(more=b"Content-Type: " + kind + b"\r\n"))
    assert answer.status == 200


async def test_a_post_without_a_body_needs_no_media_type() -> None:
    async with app.served() as served:
        answer = await served.ask(battery.post(b"", path=b"/echo", more=b""))
    assert answer.status == 200


async def test_many_bad_requests_leave_room_for_good_ones() -> None:
    async with app.served(**SMALL) as served, anyio.create_task_group() as tasks:
        for case in CASES[::7]:
            tasks.start_soon(served.ask, case.sent)
        with anyio.fail_after(app.LIMIT_S):
            assert (await served.ask(battery.get(b"/health"))).status == 200
