"""Reads what a user has in a client's configuration, and says what is wrong with it and why."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import yaml

from recipes.front_matter import McpShape, OpenAIShape
from recipes.loader import Recipe

MAX_TEXT = 64 * 1024
"""A configuration is a page; more than this is not one."""

_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])')
_REFERENCE = re.compile(r"\$\{.*\}|\{env:.*\}|\$\w+|%\w+%")
_SUBSTITUTED = "$(echo "
"""What clients write that fill their headers in as a shell would."""
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1", "[::1]"})


@dataclass(frozen=True, slots=True)
class Connection:
    """One MCP server as any client describes it: the record that all their formats share."""

    name: str
    url: str | None
    authorization: str | None = None
    """As written: a reference to a variable, or a literal."""
    bearer_env: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a pasted configuration; `error` means that it will not work."""

    level: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Target:
    """What a configuration should lead to."""

    base_url: str
    aliases: Sequence[str]
    requires_key: bool

    @property
    def mcp_url(self) -> str:
        """The address of the tools."""
        return f"{self.base_url}/mcp"


class Unreadable(Exception):
    """The text is not in the client's format."""


def tree(text: str, format_: str) -> Any:
    """The text as plain data; JSON may hold comments and trailing commas, as editors allow."""
    if len(text) > MAX_TEXT:
        raise Unreadable(f"it is longer than {MAX_TEXT // 1024} KiB; paste the gateway's part only")
    try:
        match format_:
            case "json":
                plain = _COMMENT.sub(lambda found: found[1] or "", text)
                return json.loads(_TRAILING_COMMA.sub(lambda found: found[1] or "", plain))
            case "toml":
                return tomllib.loads(text)
            case _:
                return _plain_yaml(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise Unreadable(f"it is not {format_.upper()}: {_one_line(error)}") from None


def _plain_yaml(text: str) -> Any:
    """Without anchors: a few lines of them can mean gigabytes."""
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
        raise ValueError("anchors and aliases are not read here")
    return yaml.safe_load(text)


def connections(shape: McpShape, data: Any) -> list[tuple[Connection, Mapping[str, Any]]]:
    """Every MCP server in a client's configuration, with its raw entry."""
    found = []
    for name, entry in _entries(_at(data, shape.at), shape.listed):
        found.append((_connection(shape, name, entry), entry))
    return found


def _entries(servers: Any, listed: bool) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if listed and isinstance(servers, list):
        for entry in servers:
            if isinstance(entry, dict):
                yield str(entry.get("name", "?")), entry
    elif not listed and isinstance(servers, dict):
        for name, entry in servers.items():
            if isinstance(entry, dict):
                yield str(name), entry


def _connection(shape: McpShape, name: str, entry: Mapping[str, Any]) -> Connection:
    url = _at(entry, shape.url)
    if shape.stdio:
        words = entry.get("args", [])
        url = next((str(word) for word in words if "://" in str(word)), None)
    headers = _at(entry, shape.headers) if shape.headers else None
    authorization = None
    if isinstance(headers, dict):
        lowered = {str(key).lower(): value for key, value in headers.items()}
        authorization = lowered.get("authorization")
    env = entry.get(shape.bearer_env) if shape.bearer_env else None
    return Connection(
        name,
        str(url) if url is not None else None,
        str(authorization) if authorization is not None else None,
        str(env) if env is not None else None,
    )


def check(recipe: Recipe, text: str, target: Target) -> list[Finding]:
    """Everything wrong with a pasted configuration of this client; empty means that it should work."""
    shape, provider = recipe.front.mcp, recipe.front.openai
    if shape is None and provider is None:
        return [
            Finding("note", "nothing_to_check", f"{recipe.front.title} has no file to check here")
        ]
    format_ = shape.format if shape is not None else provider.format if provider else "json"
    try:
        data = tree(text, format_)
    except Unreadable as error:
        return [Finding("error", "unreadable", str(error))]
    found: list[Finding] = []
    models = list(_providers(provider, data)) if provider is not None else []
    if shape is not None and not (models and _at(data, shape.at) is None):
        found += _check_servers(recipe, shape, data, target)
    for entry in models:
        found += _check_provider(recipe, provider, entry, target)
    return found


def _check_servers(recipe: Recipe, shape: McpShape, data: Any, target: Target) -> Iterator[Finding]:
    servers = connections(shape, data)
    if not servers:
        yield _no_servers(recipe, shape, data)
        return
    ours = [(one, entry) for one, entry in servers if _is_ours(one, entry, target)]
    if not ours:
        names = ", ".join(sorted(one.name for one, _ in servers))
        text = f"it has {names}, and none of them leads to {target.mcp_url}"
        yield Finding("error", "no_gateway", text)
    for one, entry in ours:
        yield from _check_entry(recipe, shape, one, entry, target)


def _no_servers(recipe: Recipe, shape: McpShape, data: Any) -> Finding:
    wanted = ".".join(shape.at)
    others = ("mcpServers", "servers", "mcp", "mcp_servers", "context_servers", "extensions")
    keys = list(data) if isinstance(data, dict) else []
    wrong = [key for key in keys if key in others and (key,) != shape.at]
    hint = f", not under `{wrong[0]}`" if wrong else ""
    kind = "a list" if shape.listed else "a map"
    return Finding(
        "error",
        "no_servers",
        f"{recipe.front.title} looks for its MCP servers under `{wanted}` ({kind}){hint}",
    )


def _is_ours(one: Connection, entry: Mapping[str, Any], target: Target) -> bool:
    if one.name in ("lmg", "local-model-gateway"):
        return True
    wanted = urlsplit(target.base_url)
    for value in entry.values():
        if isinstance(value, str) and "://" in value and _same_place(urlsplit(value), wanted):
            return True
    return one.url is not None and _same_place(urlsplit(one.url), wanted)


def _same_place(one: Any, other: Any) -> bool:
    try:
        same_port = one.port == other.port
    except ValueError:
        return False
    loopback = {one.hostname, other.hostname} <= _LOOPBACK
    return same_port and (loopback or one.hostname == other.hostname)


def _check_entry(
    recipe: Recipe, shape: McpShape, one: Connection, entry: Mapping[str, Any], target: Target
) -> Iterator[Finding]:
    title = recipe.front.title
    for key, why in shape.not_here.items():
        if key in entry:
            yield Finding("error", "wrong_key", f"`{key}` in {one.name}: {why}")
    if one.url is None:
        wanted = "an address in `args`" if shape.stdio else f"`{'.'.join(shape.url)}`"
        yield Finding("error", "no_address", f"{one.name} has no address; {title} wants {wanted}")
    else:
        yield from _check_url(one.name, one.url, target.base_url if shape.stdio else target.mcp_url)
    if shape.type is not None:
        key, value = shape.type
        if entry.get(key) != value:
            text = f"{title} wants `{key}: {value}` in {one.name}, it has {_quoted(entry.get(key))}"
            yield Finding("error", "wrong_type", text)
    if entry.get("disabled") is True or entry.get("enabled") is False:
        yield Finding("error", "disabled", f"{one.name} is switched off in this configuration")
    yield from _check_key(one, target)


def _check_url(name: str, url: str, wanted: str) -> Iterator[Finding]:
    if _REFERENCE.search(url):
        return
    given, right = urlsplit(url), urlsplit(wanted)
    if given.scheme not in ("http", "https"):
        yield Finding("error", "wrong_scheme", f"{name}: {_shown(url)} should begin with http://")
    elif given.scheme != right.scheme:
        text = f"{name} uses {given.scheme}, and this gateway answers {right.scheme}"
        yield Finding("error", "wrong_scheme", text)
    elif not _same_place(given, right):
        text = f"{name} leads to {_shown(url)}, and this gateway is at {wanted}"
        yield Finding("error", "wrong_address", text)
    elif given.path != right.path:
        if not right.path:
            text = f"{name} has {_shown(url)}; the bridge wants {wanted} alone"
            yield Finding("error", "wrong_path", text)
            return
        hint = "; `/v1` is for models" if given.path.startswith("/v1") else ""
        text = f"{name} asks for `{given.path or '/'}`; the path is `{right.path}`, without a slash at the end{hint}"
        yield Finding("error", "wrong_path", text)


def _check_key(one: Connection, target: Target) -> Iterator[Finding]:
    written = one.authorization
    if written is None and one.bearer_env is None:
        if target.requires_key:
            text = f"{one.name} sends no key, and this gateway asks for one"
            yield Finding("error", "no_key", text)
        return
    if written is None:
        return
    if not written.removeprefix(_SUBSTITUTED).startswith("Bearer "):
        text = f"{one.name}: the Authorization header must be `Bearer `, a space, and the key"
        yield Finding("error", "wrong_key_form", text)
    elif target.requires_key and not _REFERENCE.search(written):
        text = f"{one.name} has its key written in the file; better name a variable, see the recipe"
        yield Finding("note", "key_in_file", text)


def _providers(shape: OpenAIShape, data: Any) -> Iterator[Mapping[str, Any]]:
    """Every provider in the data; `*` in the path stands for any key or place."""
    places = [data]
    for part in shape.at:
        deeper: list[Any] = []
        for place in places:
            if part == "*" and isinstance(place, list):
                deeper += place
            elif part == "*" and isinstance(place, dict):
                deeper += place.values()
            elif isinstance(place, dict) and part in place:
                deeper.append(place[part])
        places = deeper
    for place in places:
        if isinstance(place, dict) and _at(place, shape.base_url) is not None:
            yield place


def _check_provider(
    recipe: Recipe, shape: OpenAIShape | None, entry: Mapping[str, Any], target: Target
) -> Iterator[Finding]:
    if shape is None:
        return
    url = str(_at(entry, shape.base_url))
    key = ".".join(shape.base_url)
    given, right = urlsplit(url), urlsplit(target.base_url)
    if _REFERENCE.search(url) or not _same_place(given, right):
        return  # somebody else's provider
    if given.path.rstrip("/") != "/v1":
        text = f"`{key}` is {_shown(url)}; it must end in `/v1`"
        yield Finding("error", "wrong_path", text)
    for name, value in shape.wants.items():
        if entry.get(name) != value:
            text = f"{recipe.front.title} wants `{name}: {value}` there, it has {_quoted(entry.get(name))}"
            yield Finding("error", "wrong_type", text)
    models = entry.get("models")
    named = list(models) if isinstance(models, dict) else [entry.get("model")]
    for model in named:
        if isinstance(model, str) and target.aliases and model not in target.aliases:
            text = f"model {_quoted(model)} is not one of this gateway's: {', '.join(target.aliases[:8])}"
            yield Finding("error", "unknown_model", text)


def _at(data: Any, path: Sequence[str]) -> Any:
    for part in path:
        if not isinstance(data, dict):
            return None
        data = data.get(part)
    return data


def _one_line(error: Exception) -> str:
    """Where and what, without the text itself: there may be a key in it."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem}, line {error.problem_mark.line + 1}"
    return " ".join(str(error).split())[:200]


def _quoted(value: object) -> str:
    return "nothing" if value is None else repr(value)[:80]


def _shown(url: str) -> str:
    """An address without what may be secret in it."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"[:120]
