"""The official suite: both revisions and Tasks on our app factory, what needs no fixtures on the real gateway."""

import sys
from pathlib import Path

import pytest

from tests.conformance import suite as suites
from tests.support.gateway import fake, gateway

pytestmark = pytest.mark.timeout(300)

TASKS = [
    "tasks-lifecycle",
    "tasks-capability-negotiation",
    "tasks-wire-fields",
    "tasks-request-state-removal",
    "tasks-mrtr-input",
    "tasks-request-headers",
    "tasks-dispatch-and-envelope",
    "tasks-required-task-error",
    "tasks-mrtr-composition",
]
"""All but `tasks-status-notifications`, in which the suite checks nothing yet."""
REAL = ["dns-rebinding-protection", "caching", "http-header-validation", "server-session-lifecycle"]


@pytest.fixture(scope="module")
def suite() -> suites.Suite:
    return suites.installed()


@pytest.mark.parametrize(("revision", "count"), [("2025-11-25", 30), ("2026-07-28", 37)])
async def test_every_required_scenario_of_a_revision_passes(
    suite: suites.Suite, tmp_path: Path, revision: str, count: int
) -> None:
    required = suite.required(revision)
    assert len(required) == count
    async with suites.fixture_app(tmp_path, sys.executable) as url:
        outcome = await suite.revision(url, revision)
    missing = [name for name in required if name not in outcome.passed()]
    assert not missing, outcome.text[-6000:]
    if revision == "2026-07-28":
        assert not [name for name in TASKS if name not in outcome.passed()], outcome.text[-6000:]


async def test_the_real_gateway_passes_what_needs_no_fixtures(
    suite: suites.Suite, tmp_path: Path
) -> None:
    async with gateway({"runtimes": {"a": fake("a", tmp_path)}}, tmp_path) as here:
        await here.start()
        outcomes = {name: await suite.scenario(f"{here.url}/mcp", name) for name in REAL}
    for name, outcome in outcomes.items():
        assert _nothing_failed(outcome), f"{name}:\n{outcome.text[-4000:]}"


def _nothing_failed(outcome: suites.Outcome) -> bool:
    return "FAILURE" not in outcome.text and "passed" in outcome.text.lower()
