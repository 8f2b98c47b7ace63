"""Sections that users paste in, from wherever they had them."""

import json
from typing import Any

import pydantic
import pytest

from broker.settings import BrokerSettings, ServerSettings


def read(section: dict[str, Any]) -> ServerSettings:
    return ServerSettings.model_validate_json(json.dumps(section))


@pytest.mark.parametrize(
    ("section", "kind", "reached"),
    [
        ({"command": "npx", "args": ["-y", "x"], "type": "stdio"}, "stdio", "npx"),
        ({"type": "local", "command": ["uvx", "x"]}, "stdio", "uvx"),
        ({"url": "http://localhost:1/mcp", "type": "http"}, "http", "http://localhost:1/mcp"),
        ({"httpUrl": "https://x.test/mcp"}, "http", "https://x.test/mcp"),
        ({"serverUrl": "https://x.test/mcp"}, "http", "https://x.test/mcp"),
        ({"uri": "https://x.test/mcp", "type": "streamable_http"}, "http", "https://x.test/mcp"),
        ({"type": "streamableHttp", "url": "https://x.test"}, "http", "https://x.test"),
        ({"type": "sse", "url": "https://x.test/sse"}, "sse", "https://x.test/sse"),
        ({"type": "remote", "url": "https://x.test"}, "http", "https://x.test"),
    ],
)
def test_every_clients_spelling_of_a_server_is_taken(
    section: dict[str, Any], kind: str, reached: str
) -> None:
    server = read(section)
    assert (server.kind, server.command or server.url) == (kind, reached)


def test_a_command_written_as_one_list_is_parted() -> None:
    assert read({"command": ["uvx", "a"], "args": ["b"]}).args == ["a", "b"]


def test_a_grant_of_another_client_means_nothing_here() -> None:
    server = read({"command": "x", "autoApprove": ["delete_all"], "disabled": True})
    assert server.tools == {}
    assert not server.enabled


@pytest.mark.parametrize(("given", "seconds"), [(60_000, 60.0), (60, 60.0)])
def test_a_timeout_in_milliseconds_is_known_by_its_size(given: int, seconds: float) -> None:
    assert read({"command": "x", "timeout": given}).call_timeout == seconds


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({}, "either `command`"),
        ({"command": "x", "url": "http://x.test"}, "either `command`"),
        ({"url": "ftp://x.test"}, "must begin with http"),
        ({"command": "x", "type": "sse"}, "needs `url`"),
        ({"command": "x", "comand": "y"}, "Extra inputs"),  # codespell:ignore
        ({"command": "x", "idle_close": "soon"}, "write it like 30s"),
    ],
)
def test_a_section_that_cannot_work_says_why(section: dict[str, Any], said: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=said):
        read(section)


def test_secrets_are_known_and_not_shown() -> None:
    server = ServerSettings.model_validate(
        {
            "url": "http://x.test",
            "bearer": pydantic.SecretStr("bearer-secret"),
            "headers": {"X-Key": pydantic.SecretStr("header-secret"), "X-Mode": "a"},
        }
    )
    assert server.secrets() == {"bearer-secret", "header-secret"}
    assert "header-secret" not in repr(server)


def test_sizes_and_durations_are_read_as_people_write_them() -> None:
    text = json.dumps({"result_limit": "64KiB", "keep_results": "2d"})
    settings = BrokerSettings.model_validate_json(text)
    assert (settings.result_limit, settings.keep_results) == (65_536, 172_800.0)
