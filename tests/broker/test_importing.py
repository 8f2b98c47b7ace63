"""Taking over what a user's clients have, without a single secret."""

import json
from pathlib import Path

import yaml

from broker import importing
from broker.settings import ServerSettings

SECRET = "ghp_0123456789abcdefghijABCDEFGHIJ"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def found(home: Path) -> importing.Imported:
    return importing.read(importing.CLIENTS, home, home / "project")


def test_servers_of_several_clients_become_one_section(tmp_path: Path) -> None:
    write(
        tmp_path / ".claude.json",
        json.dumps(
            {
                "mcpServers": {"files": {"command": "npx", "args": ["files", "/data"]}},
                "projects": {"/work": {"mcpServers": {"notes": {"url": "https://n.test/mcp"}}}},
            }
        ),
    )
    write(
        tmp_path / ".codex/config.toml", '[mcp_servers.clock]\ncommand = "uvx"\nargs = ["clock"]\n'
    )
    write(
        tmp_path / ".config/opencode/opencode.json",
        '{"mcp": {"pages": {"type": "local", "command": ["npx", "pages"], "environment": {"A": "b"}}}}',
    )
    write(
        tmp_path / "project/.vscode/mcp.json",
        '{\n // mine\n "servers": {"graph": {"type": "sse", "url": "http://g.test/sse"},}\n}',
    )
    servers = found(tmp_path).servers
    assert servers == {
        "files": {"command": "npx", "args": ["files", "/data"]},
        "notes": {"url": "https://n.test/mcp"},
        "clock": {"command": "uvx", "args": ["clock"]},
        "pages": {"command": "npx", "args": ["pages"], "env": {"A": "b"}},
        "graph": {"url": "http://g.test/sse", "transport": "sse"},
    }


def test_no_secret_is_taken_over_wherever_it_stood(tmp_path: Path) -> None:
    write(
        tmp_path / ".cursor/mcp.json",
        json.dumps(
            {
                "mcpServers": {
                    "hub": {
                        "command": "hub",
                        "args": ["--token", "plain-looking", "--region=eu", f"--with={SECRET}"],
                        "env": {"GITHUB_TOKEN": SECRET, "MODE": "fast", "NOTE": SECRET},
                    },
                    "far": {
                        "url": "https://far.test/mcp",
                        "headers": {"Authorization": f"Bearer {SECRET}", "X-Api-Key": "abc"},
                    },
                }
            }
        ),
    )
    imported = found(tmp_path)
    text = importing.as_yaml(imported.servers)
    assert SECRET not in text
    assert "plain-looking" not in text
    assert imported.servers["hub"]["env"] == {
        "GITHUB_TOKEN": "${env:GITHUB_TOKEN}",
        "MODE": "fast",
        "NOTE": "${env:NOTE}",
    }
    assert imported.servers["hub"]["args"][:3] == ["--token", "${env:HUB_TOKEN}", "--region=eu"]
    assert imported.servers["far"]["headers"]["Authorization"] == "Bearer ${env:FAR_AUTHORIZATION}"
    assert "HUB_TOKEN" in imported.variables["hub"]


def test_references_of_other_clients_become_ours(tmp_path: Path) -> None:
    write(
        tmp_path / ".codex/config.toml",
        '[mcp_servers.far]\nurl = "https://far.test/mcp"\nbearer_token_env_var = "FAR"\n',
    )
    write(
        tmp_path / ".cursor/mcp.json",
        json.dumps({"mcpServers": {"near": {"command": "n", "env": {"K": "${env:NEAR}"}}}}),
    )
    servers = found(tmp_path).servers
    assert servers["far"]["headers"] == {"Authorization": "Bearer ${env:FAR}"}
    assert servers["near"]["env"] == {"K": "${env:NEAR}"}


def test_what_is_written_can_be_read_as_our_configuration(tmp_path: Path) -> None:
    write(
        tmp_path / ".config/goose/config.yaml",
        "extensions:\n  tool box: {type: stdio, cmd: uvx, args: [box], enabled: false}\n",
    )
    sections = yaml.safe_load(importing.as_yaml(found(tmp_path).servers))["mcp_servers"]
    server = ServerSettings.model_validate_json(json.dumps(sections["tool-box"]))
    assert (server.command, server.args, server.enabled) == ("uvx", ["box"], False)


def test_our_own_entry_and_broken_files_are_left_out(tmp_path: Path) -> None:
    write(
        tmp_path / ".cursor/mcp.json",
        json.dumps(
            {
                "mcpServers": {
                    "local-model-gateway": {"url": "http://127.0.0.1:8787/mcp"},
                    "empty": {},
                }
            }
        ),
    )
    write(tmp_path / ".gemini/settings.json", "{ not json")
    imported = found(tmp_path)
    assert imported.servers == {}
    assert len(imported.skipped) == 2
