"""Downstream servers that run elsewhere, over both HTTP transports."""

import socket
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import anyio
import pytest

from broker import errors
from tests.broker.conftest import SERVERS, Opened


@pytest.fixture(params=["http", "sse"])
def remote(request: pytest.FixtureRequest, ledger: Path) -> Generator[dict[str, Any]]:
    """The counter, listening on a port of its own; its section without credentials."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    child = subprocess.Popen(
        [sys.executable, str(SERVERS / "counter.py"), str(ledger), f"--{request.param}", str(port)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stderr is not None
    for line in child.stderr:
        if "running on" in line:
            break
    path = "mcp" if request.param == "http" else "sse"
    yield {"url": f"http://127.0.0.1:{port}/{path}", "transport": request.param}
    child.kill()
    child.wait()
    child.stderr.close()


async def test_a_remote_server_is_listed_and_called_with_its_own_credentials(
    opened: Opened, remote: dict[str, Any]
) -> None:
    section = {**remote, "bearer": "secret-of-the-server", "headers": {"x-team": "blue"}}
    async with opened({"far": section}) as broker:
        await broker.refresh("far")
        outcome = await broker.call("far:get_headers", {})
        assert isinstance(outcome.structured, dict)
        assert outcome.structured["authorization"] == "Bearer secret-of-the-server"
        assert outcome.structured["x-team"] == "blue"
        with anyio.fail_after(30):
            await broker.downstream("far").close()


async def test_a_remote_server_that_is_not_there_is_said_to_be_away(
    opened: Opened, remote: dict[str, Any]
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = probe.getsockname()[1]
    section = {**remote, "url": f"http://127.0.0.1:{closed}/mcp", "start_timeout": 10.0}
    async with opened({"far": section}) as broker:
        with anyio.fail_after(30), pytest.raises(errors.ServerUnavailable):
            await broker.refresh("far")
