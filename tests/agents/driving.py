"""Runs a real client as a child process: a home of its own, no way to the outside, and a limit.

Clients are set up by `lmg connect` alone, and without a key: the gateway asks for none.
"""

import contextlib
import json
import os
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from recipes import loader, render
from recipes.front_matter import CommandStep, FileStep, Kind, MergeStep
from tests.agents import install as agents
from tests.conformance import install
from tests.support import gateway as whole

CLIENTS = loader.every(Kind.CLIENT)  # read before any loop runs
LIMIT_S = 150.0
NOWHERE = "http://127.0.0.1:9"
"""A proxy that nobody runs: what tries to leave this machine fails at once."""
QUIET = {
    "NO_COLOR": "1",
    "CI": "1",
    "DO_NOT_TRACK": "1",
    "OTEL_SDK_DISABLED": "true",
    "HTTP_PROXY": NOWHERE,
    "HTTPS_PROXY": NOWHERE,
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
    "NPM_CONFIG_OFFLINE": "true",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "FASTMCP_CHECK_FOR_UPDATES": "off",
    "FASTMCP_SHOW_SERVER_BANNER": "false",
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
    "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
}


@dataclass(frozen=True, slots=True)
class Ran:
    """How a client ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def all(self) -> str:
        """Everything it said."""
        return f"{self.out}\n{self.err}"


async def run(
    command: Sequence[str | Path], home: Path, env: Mapping[str, str] | None = None
) -> Ran:
    """One client from start to end."""
    home.mkdir(parents=True, exist_ok=True)
    settings = {
        "PATH": path_with_node(),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TMPDIR": str(home),
        **QUIET,
        **(env or {}),
    }
    try:
        with anyio.fail_after(LIMIT_S):
            done = await anyio.run_process(
                [str(word) for word in command], cwd=home, env=settings, check=False, stdin=-3
            )
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(_end_what_stayed, str(home))
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


def _end_what_stayed(home: str) -> None:
    """Some clients leave a helper of their own behind; it knows no other home than this one."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("HOME") == home:
                process.kill()
                process.wait(10)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A whole gateway, as its users start it."""

    url: str

    @property
    def mcp_url(self) -> str:
        """Where its tools are."""
        return f"{self.url}/mcp"


@asynccontextmanager
async def gateway(folder: Path) -> AsyncGenerator[Gateway]:
    """A gateway whose one model calls tools."""
    runtime = {
        "engine": "llama-server",
        "model": "tiny",
        "cmd": [sys.executable, "-m", "tests.agents.engine", "--port", "{port}"],
        "env": {"PYTHONPATH": str(whole.ROOT)},
        "memory": "1GiB",
        "context": 65536,
        "upstream_model": "tiny",
    }
    async with whole.gateway({"runtimes": {"tiny": runtime}}, folder) as here:
        await here.start()
        yield Gateway(here.url)


async def lmg(here: Gateway, home: Path, program: Path, *words: str) -> Ran:
    """Our own command line, as it is typed where this client is on the PATH."""
    env = {"PATH": f"{program.parent}:{path_with_node()}", "LMG_URL": here.url}
    return await run([sys.executable, "-m", "local_model_gateway", *words], home, env)


@asynccontextmanager
async def connected(
    client: str,
    here: Gateway,
    home: Path,
    program: Path,
    files: Mapping[str, str] | None = None,
    *,
    rewrites: bool = False,
) -> AsyncGenerator[dict[str, Any]]:
    """The client set up by `lmg connect` beside what its user has there; taken back at the end, byte for byte.

    `files` are the user's, by their path in the home. A client that `rewrites` its file whenever it
    runs loses our part of it, and nothing else.
    """
    theirs = {home / name: text for name, text in (files or {}).items()}
    for path, text in theirs.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    before = _contents(client, home)
    first = await lmg(here, home, program, "connect", client, "--yes", "--json")
    assert first.code == 0, first.all
    told: dict[str, Any] = json.loads(first.out)
    assert told["done"] is True
    assert told["not_verified"] == []
    left = _contents(client, home)
    again = await lmg(here, home, program, "connect", client, "--yes", "--json")
    assert json.loads(again.out)["done"] is True
    assert _contents(client, home) == left != before
    yield told
    undone = await lmg(here, home, program, "disconnect", client, "--json")
    assert undone.code == 0, undone.all
    after = _contents(client, home)
    if not rewrites:
        assert (after, json.loads(undone.out)["notes"]) == (before, [])
    for path, content in after.items():
        assert here.mcp_url.encode() not in (content or b""), path


def _contents(client: str, home: Path) -> dict[Path, bytes | None]:
    """The files that the recipe writes."""
    steps = render.render(CLIENTS[client], render.Values("http://127.0.0.1:1", "m")).steps
    named = [
        step.path if isinstance(step, FileStep | MergeStep) else step.changes
        for step in steps
        if isinstance(step, FileStep | MergeStep | CommandStep)
    ]
    paths = [home / name.removeprefix("~/") for name in named if name is not None]
    return {path: path.read_bytes() if path.exists() else None for path in paths}


def path_with_node() -> str:
    """Where programs are found, with a Node that is new enough for the clients."""
    node = install.CACHE / "conformance" / "node" / "node_modules" / ".bin"
    return f"{node}:{os.environ['PATH']}"


def python(name: str) -> Path:
    """A Python client's interpreter; skips where it cannot be installed."""
    try:
        return agents.python(name)
    except install.CannotInstall as error:
        pytest.skip(f"{name} is not installed: {error}")


def program(name: str, command: str) -> Path:
    """A client from npm; skips where it cannot be installed."""
    try:
        install.node()
        return agents.program(name, command)
    except install.CannotInstall as error:
        pytest.skip(f"{name} is not installed: {error}")


def recipe(id_: str, here: Gateway) -> render.Rendered:
    """A client's recipe for this gateway, as a user would get it."""
    values = render.Values(here.url, "tiny", 65536, with_key=False)
    return render.render(CLIENTS[id_], values)
