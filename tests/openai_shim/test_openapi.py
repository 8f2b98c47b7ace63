"""The OpenAPI file says what the routes do: each route is in it, and a fuzzer that reads it finds nothing."""

import os
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml
from anyio import to_thread
from starlette.routing import Route

from openai_shim import openai_routes
from runtimes import upstream
from tests.clients import install
from tests.conformance.install import CannotInstall
from tests.openai_shim import harness

SPEC = Path(__file__).parents[2] / "docs" / "openapi.yaml"


def described() -> set[tuple[str, str]]:
    spec: dict[str, Any] = yaml.safe_load(SPEC.read_text(encoding="utf-8"))
    verbs = {"get", "post", "delete", "put", "patch"}
    return {
        (verb.upper(), path)
        for path, operations in spec["paths"].items()
        for verb in operations
        if verb in verbs
    }


async def test_the_file_and_the_routes_name_the_same(tmp_path: Path) -> None:
    async with harness.gateway(tmp_path) as gateway:
        made = openai_routes.routes(gateway.coordinator, upstream.Upstream())
    served = {
        (method, route.path.replace(":path", ""))
        for route in made
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }

    assert served == described()


def _leave_time(spec: dict[str, Any]) -> None:
    """A budget of nothing is used up at once, and 504 is the right answer to it: not what is looked for here."""
    parameters = spec["components"]["parameters"]
    body = spec["components"]["schemas"]["Sampling"]["properties"]
    for budget in (
        parameters["MaxQueueWait"]["schema"],
        parameters["RunTimeout"]["schema"],
        body["max_queue_wait_s"],
        body["run_timeout_s"],
    ):
        budget.update(minimum=60, maximum=600)


def installed() -> Path:
    try:
        return install.python("schemathesis")
    except CannotInstall as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"schemathesis cannot be installed here: {error}")


@pytest.mark.timeout(180)
async def test_a_fuzzer_that_reads_the_file_finds_no_contradiction(tmp_path: Path) -> None:
    python = await to_thread.run_sync(installed)
    ours = tmp_path / "openapi.yaml"
    spec: dict[str, Any] = yaml.safe_load(SPEC.read_text(encoding="utf-8"))
    _leave_time(spec)
    # Names that are not there are refused before anything else could go wrong.
    spec["components"]["schemas"]["Alias"] = {"enum": ["tiny"]}
    ours.write_text(yaml.safe_dump(spec), encoding="utf-8")
    async with harness.gateway(tmp_path, {"tiny": {"tokens": 1}}) as gateway:
        with anyio.fail_after(150):
            done = await anyio.run_process(
                [
                    str(python),
                    "-m",
                    "schemathesis.cli",
                    "run",
                    str(ours),
                    f"--url={gateway.url}",
                    "--checks=not_a_server_error,status_code_conformance,content_type_conformance,"
                    "response_schema_conformance",
                    "--max-examples=25",
                    "--seed=1",
                    "--request-timeout=10",
                    "--no-color",
                ],
                cwd=tmp_path,
                check=False,
            )
        await gateway.until_idle()

    assert done.returncode == 0, done.stdout.decode()[-6000:]
