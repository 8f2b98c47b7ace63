"""Runs a real client as a child process: a home of its own, no way to the outside, and a limit."""

import contextlib
import os
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import psutil
import pytest

from recipes import loader, render
from recipes.front_matter import Kind
from tests.agents import install as agents
from tests.conformance import install
from tests.mcp_server import harness
from tests.support.gateway import ROOT

CLIENTS = loader.every(Kind.CLIENT)  # read before any loop runs
LIMIT_S = 150.0
KEY = "any-text"
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
    node = install.CACHE / "conformance" / "node" / "node_modules" / ".bin"
    settings = {
        "PATH": f"{node}:{os.environ['PATH']}",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "LMG_API_KEY": KEY,
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


@asynccontextmanager
async def gateway(folder: Path) -> AsyncGenerator[harness.Gateway]:
    """A gateway whose one model calls tools."""
    command = [sys.executable, "-m", "tests.agents.engine", "--port", "{port}"]
    runtime = {"cmd": command, "env": {"PYTHONPATH": str(ROOT)}, "context": 65536}
    async with harness.gateway(folder, {"tiny": runtime}) as here:
        yield here


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


def recipe(id_: str, here: harness.Gateway) -> render.Rendered:
    """A client's recipe for this gateway, as a user would get it."""
    values = render.Values(here.url, "tiny", 65536)
    return render.render(CLIENTS[id_], values)
