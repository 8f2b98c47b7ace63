"""Real MCP servers from the registries, at exact versions, each where it cannot meet our own packages.

`python -m tests.broker.real_servers` installs them; the session fixture does the same. The folder is
kept between runs, and a changed version below makes a new one.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "mcp-servers"
INSTALL_TIMEOUT_S = 600

NPM = {
    "@modelcontextprotocol/server-everything": "2026.8.31",
    "@modelcontextprotocol/server-filesystem": "2026.8.31",
    "@modelcontextprotocol/server-memory": "2026.8.31",
}
PYPI = {"mcp-server-git": "2026.10.19", "mcp-server-time": "2026.10.19"}


@dataclass(frozen=True, slots=True)
class RealServers:
    """The command of each server."""

    everything: list[str]
    filesystem: list[str]
    memory: list[str]
    git: list[str]
    time: list[str]


class CannotInstall(Exception):
    """A registry or a tool that installs from it is missing."""


def installed() -> RealServers:
    """The servers, installed if they are not yet; safe to call from several processes at once."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        node = _npm()
        python = {name: _pypi(name, version) for name, version in PYPI.items()}
    return RealServers(
        everything=[*node("server-everything"), "stdio"],
        filesystem=node("server-filesystem"),
        memory=node("server-memory"),
        git=[str(python["mcp-server-git"])],
        time=[str(python["mcp-server-time"])],
    )


def _npm() -> Callable[[str], list[str]]:
    wanted = json.dumps(NPM, sort_keys=True)
    folder = CACHE / "npm"
    marker = folder / ".installed"
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise CannotInstall("node and npm are needed for three of the servers")
    if not marker.exists() or marker.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "package.json").write_text(json.dumps({"private": True, "dependencies": NPM}))
        _run(npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", cwd=folder)
        marker.write_text(wanted)

    def command(name: str) -> list[str]:
        package = folder / "node_modules" / "@modelcontextprotocol" / name
        programs = json.loads((package / "package.json").read_text())["bin"]
        program = programs if isinstance(programs, str) else next(iter(programs.values()))
        return [node, str(package / program)]

    return command


def _pypi(name: str, version: str) -> Path:
    folder = CACHE / f"{name}-{version}"
    program = folder / "bin" / name
    marker = folder / ".installed"
    if not marker.exists():
        shutil.rmtree(folder, ignore_errors=True)
        _run(sys.executable, "-m", "venv", str(folder), cwd=CACHE)
        python = str(folder / "bin" / "python")
        uv = shutil.which("uv")
        pip = [uv, "pip", "install", "--python", python] if uv else [python, "-m", "pip", "install"]
        _run(*pip, "--quiet", f"{name}=={version}", cwd=CACHE)
        marker.write_text(version)
    return program


def _run(*command: str, cwd: Path) -> None:
    try:
        subprocess.run(
            command,
            cwd=cwd,
            check=True,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
            env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        )
    except FileNotFoundError as error:
        raise CannotInstall(f"{command[0]} is not installed") from error
    except subprocess.CalledProcessError as error:
        raise CannotInstall(f"{' '.join(command)}: {error.stderr[-2000:]}") from error


if __name__ == "__main__":
    print(installed())
