"""Downstream servers that a user's clients already have: read only, names and commands, never a secret."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydantic
import yaml

from broker.ring import MARK, Redactor
from broker.settings import ServerSettings
from catalog.names import usable

Json = dict[str, Any]  # Any: a client's own file

_SECRET_NAME = re.compile(r"(?i)key|token|secret|pass|auth|cred|cookie|session|private|dsn")
_REFERENCE = re.compile(r"^\$\{[A-Za-z_][\w:]*\}$|^\$[A-Za-z_]\w*$")
_INPUT = re.compile(r"\$\{input:[^}]*\}")
OURS = "local-model-gateway"


@dataclass(frozen=True, slots=True)
class Client:
    """Where a client keeps its servers: files under the home or the project, and the key inside them."""

    name: str
    files: tuple[str, ...]
    keys: tuple[str, ...]


CLIENTS = (
    Client("claude-code", ("~/.claude.json", ".mcp.json"), ("mcpServers",)),
    Client(
        "claude-desktop",
        (
            "~/Library/Application Support/Claude/claude_desktop_config.json",
            "~/.config/Claude/claude_desktop_config.json",
        ),
        ("mcpServers",),
    ),
    Client("codex", ("~/.codex/config.toml",), ("mcp_servers",)),
    Client("cursor", ("~/.cursor/mcp.json", ".cursor/mcp.json"), ("mcpServers",)),
    Client("gemini-cli", ("~/.gemini/settings.json", ".gemini/settings.json"), ("mcpServers",)),
    Client("qwen-code", ("~/.qwen/settings.json",), ("mcpServers",)),
    Client("opencode", ("~/.config/opencode/opencode.json", "opencode.json"), ("mcp",)),
    Client("vscode", (".vscode/mcp.json", "~/.config/Code/User/mcp.json"), ("servers",)),
    Client("windsurf", ("~/.codeium/windsurf/mcp_config.json",), ("mcpServers",)),
    Client("cline", ("~/.cline/data/settings/cline_mcp_settings.json",), ("mcpServers",)),
    Client("lm-studio", ("~/.lmstudio/mcp.json",), ("mcpServers",)),
    Client("zed", ("~/.config/zed/settings.json",), ("context_servers",)),
    Client("hermes", ("~/.hermes/config.yaml",), ("mcp_servers",)),
    Client("goose", ("~/.config/goose/config.yaml",), ("extensions",)),
)


@dataclass(slots=True)
class Imported:
    """What was found: sections for our configuration, and what the user has to do."""

    servers: dict[str, Json] = field(default_factory=dict)
    found_in: dict[str, str] = field(default_factory=dict)
    variables: dict[str, list[str]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def read(clients: Sequence[Client], home: Path, project: Path) -> Imported:
    """Everything that these clients' files hold; a file that cannot be read is named in `skipped`."""
    imported = Imported()
    for client in clients:
        for file in client.files:
            path = home / file[2:] if file.startswith("~/") else project / file
            if not path.is_file():
                continue
            try:
                data = _parsed(path)
            except (ValueError, yaml.YAMLError, OSError) as error:
                imported.skipped[str(path)] = f"cannot be read: {str(error).splitlines()[0]}"
                continue
            for name, section in _sections(data, client.keys):
                _take(imported, name, section, client.name)
    return imported


def _parsed(path: Path) -> Json:
    text = path.read_text("utf-8")
    match path.suffix:
        case ".toml":
            data: object = tomllib.loads(text)
        case ".yaml" | ".yml":
            data = yaml.safe_load(text)
        case _:
            data = json.loads(_without_comments(text))
    return data if isinstance(data, dict) else {}


def _without_comments(text: str) -> str:
    """Some clients' JSON has comment lines and trailing commas."""
    try:
        json.loads(text)
    except ValueError:
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("//")]
        return re.sub(r",(\s*[}\]])", r"\1", "\n".join(lines))
    return text


def _sections(data: Json, keys: Sequence[str]) -> Iterator[tuple[str, Json]]:
    for key in keys:
        held = data.get(key)
        if isinstance(held, dict):
            for name, section in held.items():
                if isinstance(section, dict):
                    yield str(name), section
    projects = data.get("projects")
    if isinstance(projects, dict):
        for project in projects.values():
            if isinstance(project, dict):
                yield from _sections({key: project.get(key) for key in keys}, keys)


def _take(imported: Imported, name: str, section: Json, client: str) -> None:
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[:64]
    if not usable(plain):
        imported.skipped[name] = "its name cannot be used"
        return
    if plain == OURS or plain in imported.servers:
        return
    kept, variables = _converted(plain, section)
    try:
        ServerSettings.model_validate(kept)
    except pydantic.ValidationError as error:
        imported.skipped[name] = f"{client}: {error.errors()[0]['msg']}"
        return
    imported.servers[plain] = kept
    imported.found_in[plain] = client
    if variables:
        imported.variables[plain] = variables


def _converted(name: str, section: Json) -> tuple[Json, list[str]]:
    """The section in our words, its secrets turned into references to variables."""
    variables: list[str] = []
    command, args = _command(section)
    kept: Json = {}
    if command:
        kept["command"] = command
        if args:
            kept["args"] = _args(name, args, variables)
        env = section.get("env") or section.get("environment") or section.get("envs") or {}
        if env:
            kept["env"] = {
                key: _value(name, key, str(value), variables) for key, value in env.items()
            }
        if section.get("cwd"):
            kept["cwd"] = str(section["cwd"])
    url = next(
        (section[key] for key in ("url", "httpUrl", "serverUrl", "uri") if section.get(key)), None
    )
    if url and not command:
        kept["url"] = str(url)
        if "sse" in {section.get("type"), section.get("transport")}:
            kept["transport"] = "sse"
        kept.update(_headers(name, section, variables))
    if section.get("disabled") or section.get("enabled") is False:
        kept["enabled"] = False
    return kept, variables


def _command(section: Json) -> tuple[str | None, list[str]]:
    """A program and its arguments: as two keys, as one list, or nested, as clients have it."""
    given: Any = section.get("command", section.get("cmd"))  # Any: text, a list or an object
    args: list[object] = section.get("args") or []
    if isinstance(given, dict):
        given, args = given.get("path"), given.get("args") or []
    if isinstance(given, list) and given:
        given, args = given[0], [*given[1:], *args]
    return (str(given) if given else None), [str(one) for one in args]


def _headers(name: str, section: Json, variables: list[str]) -> Json:
    given = section.get("headers") or section.get("http_headers") or {}
    headers = {key: _header(name, key, str(value), variables) for key, value in given.items()}
    for key, variable in (section.get("env_http_headers") or {}).items():
        headers[key] = _reference(str(variable), variables)
    if section.get("bearer_token_env_var"):
        reference = _reference(str(section["bearer_token_env_var"]), variables)
        headers["Authorization"] = f"Bearer {reference}"
    return {"headers": headers} if headers else {}


def _header(name: str, key: str, value: str, variables: list[str]) -> str:
    scheme, _, rest = value.partition(" ")
    if rest and scheme.lower() in {"bearer", "basic", "token"}:
        return f"{scheme} {_value(name, key, rest, variables, secret=True)}"
    return _value(name, key, value, variables)


def _args(name: str, args: Sequence[str], variables: list[str]) -> list[str]:
    redact = Redactor()
    kept: list[str] = []
    for place, arg in enumerate(args):
        before = args[place - 1] if place else ""
        flag, equals, value = arg.partition("=")
        if before.startswith("-") and _SECRET_NAME.search(before) and not arg.startswith("-"):
            kept.append(_value(name, before.lstrip("-"), arg, variables, secret=True))
        elif equals and flag.startswith("-") and _SECRET_NAME.search(flag):
            kept.append(f"{flag}={_value(name, flag.lstrip('-'), value, variables, secret=True)}")
        elif MARK in redact(arg):
            kept.append(_value(name, f"arg{place}", arg, variables, secret=True))
        else:
            kept.append(arg)
    return kept


def _value(server: str, key: str, value: str, variables: list[str], *, secret: bool = False) -> str:
    """A plain value as it is; a secret, or a reference in another client's words, as our reference."""
    if _REFERENCE.match(value):
        return _reference(re.sub(r"[${}]|env:", "", value), variables)
    secret = secret or bool(_SECRET_NAME.search(key)) or MARK in Redactor()(value)
    if not secret and not _INPUT.search(value):
        return value
    if re.fullmatch(r"[A-Z][A-Z0-9_]{2,}", key):
        return _reference(key, variables)
    return _reference(re.sub(r"\W+", "_", f"{server}_{key}").upper(), variables)


def _reference(variable: str, variables: list[str]) -> str:
    if variable not in variables:
        variables.append(variable)
    return f"${{env:{variable}}}"


def as_yaml(servers: Mapping[str, Json]) -> str:
    """A section that can be pasted into the configuration."""
    text: str = yaml.safe_dump(
        {"mcp_servers": dict(servers)}, sort_keys=False, allow_unicode=True, width=120
    )
    return text
