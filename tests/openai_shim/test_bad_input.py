"""The battery of bad input: clean refusals, no 5xx, no hang, nothing told that is nobody's business."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from tests.openai_shim import bad_input, harness

CASES = list(bad_input.cases())
LEAK = re.compile(
    r"Traceback|File \"|/home/|/root/|/work/|/usr/|site-packages|\.py\b|0x[0-9a-f]{6}"
)


@pytest.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[harness.Gateway]:
    folder: Path = tmp_path_factory.mktemp("bad")
    async with harness.gateway(folder) as made:
        yield made


def test_the_battery_is_large_and_names_each_case_once() -> None:
    names = [case.name for case in CASES]

    assert len(names) >= 300
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("path", bad_input.GOOD)
async def test_every_bad_input_is_refused_cleanly(gateway: harness.Gateway, path: str) -> None:
    wrong: list[str] = []
    mine = [case for case in CASES if f"{path} " in f"{case.name} " or case.path.startswith(path)]
    async with gateway.client() as client:
        for case in mine:
            headers = {"content-type": "application/json", **case.headers}
            with anyio.fail_after(5):
                answer = await client.request(
                    case.method, case.path, content=case.body, headers=headers
                )
            problem = judge(case, answer.status_code, answer.text)
            if problem:
                wrong.append(f"{case.name}: {problem}")

    assert wrong == []
    assert len(mine) > 90
    assert gateway.engine_events("begin") == []


def judge(case: bad_input.Case, status: int, text: str) -> str | None:
    """What is wrong with this answer, if anything."""
    if status not in case.statuses:
        return f"{status}, not {sorted(case.statuses)}: {text[:200]}"
    if not text.startswith('{"error"') or '"code"' not in text:
        return f"no clean body: {text[:200]}"
    if LEAK.search(text):
        return f"it tells too much: {text[:300]}"
    return None


@pytest.mark.parametrize("path", bad_input.GOOD)
async def test_what_the_battery_starts_from_is_good(gateway: harness.Gateway, path: str) -> None:
    async with gateway.client() as client:
        answer = await client.post(path, json=bad_input.GOOD[path])
        if path == bad_input.JOBS:
            await client.get(f"/v1/jobs/{answer.json()['id']}?wait=30")

    assert answer.status_code in {200, 202}
