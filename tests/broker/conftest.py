"""Brokers over small servers, each a child process of its own."""

import json
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.service import Broker
from broker.settings import BrokerSettings, ServerSettings

SERVERS = Path(__file__).parent / "servers"
Opened = Callable[..., AbstractAsyncContextManager[Broker]]


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Where the counter writes what it did."""
    return tmp_path / "ledger.txt"


@pytest.fixture
def counter(ledger: Path) -> dict[str, Any]:
    """The counter's section of the configuration."""
    return {"command": sys.executable, "args": [str(SERVERS / "counter.py"), str(ledger)]}


@pytest.fixture
def raw(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Writes the raw server's knobs; its section of the configuration."""

    def section(name: str = "raw", **knobs: Any) -> dict[str, Any]:
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(knobs))
        return {"command": sys.executable, "args": [str(SERVERS / "raw.py"), str(path)]}

    return section


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    """Opens a broker over some sections; the state directory stays the same within a test."""

    @asynccontextmanager
    async def open_broker(
        sections: dict[str, dict[str, Any]], **settings: Any
    ) -> AsyncGenerator[Broker]:
        servers = {name: ServerSettings.model_validate(one) for name, one in sections.items()}
        options = BrokerSettings.model_validate_json(json.dumps(settings))
        async with Broker(servers, tmp_path / "state", options, list_unknown=False) as broker:
            yield broker

    return open_broker
