"""The ground every test stands on: no blocking calls on the loop, no network but loopback."""

import ipaddress
import socket
from collections.abc import Generator
from typing import Any

import blockbuster
import pytest

OURS = [
    "local_model_gateway",
    "mcp_server",
    "openai_shim",
    "broker",
    "catalog",
    "coordinator",
    "runtimes",
    "recipes",
]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The gateway runs under uvicorn, so asyncio is the backend that counts."""
    return "asyncio"


@pytest.fixture(autouse=True)
def no_blocking_calls() -> Generator[None]:
    """A blocking call of our own code on the event loop fails the test that caused it."""
    with blockbuster.blockbuster_ctx(scanned_modules=OURS):
        yield


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in a test reaches another machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:  # Any: what socket itself takes
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            host = address[0]
            if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
                raise PermissionError(f"a test tried to reach {host}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
