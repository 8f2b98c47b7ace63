"""Installs what the conformance tests drive: a Node that is new enough, and the official suite. Pinned, once."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

CACHE = Path(__file__).parents[2] / ".cache"
NODE = {"node": "22.23.3"}
SUITE = {"@modelcontextprotocol/conformance": "0.2.0-alpha.12"}
INSTALL_LIMIT_S = 900.0


class CannotInstall(Exception):
    """The registry or npm is not there; tests that need the package skip and say so."""


def npm_folder(folder: Path, packages: Mapping[str, str]) -> Path:
    """A folder of its own with exactly these packages; does nothing when they are there already."""
    npm = shutil.which("npm")
    if npm is None:
        raise CannotInstall("npm is not on PATH")
    specs = [f"{name}@{version}" for name, version in packages.items()]

    def install() -> None:
        (folder / "package.json").write_text('{"private": true}', encoding="utf-8")
        _run([npm, "install", "--no-audit", "--no-fund", "--no-update-notifier", *specs], folder)

    _once(folder, specs, install)
    return folder


def python_folder(folder: Path, requirements: Sequence[str]) -> Path:
    """A virtual environment of its own with exactly these packages; returns its interpreter."""
    uv = shutil.which("uv")
    python = str(folder / "venv" / "bin" / "python")

    def install() -> None:
        if uv is None:
            _run([sys.executable, "-m", "venv", str(folder / "venv")], folder)
            _run([python, "-m", "pip", "install", "--quiet", *requirements], folder)
        else:
            _run([uv, "venv", "--python", sys.executable, str(folder / "venv")], folder)
            _run([uv, "pip", "install", "--python", python, *requirements], folder)

    _once(folder, requirements, install)
    return folder / "venv" / "bin" / "python"


def _once(folder: Path, wanted: Sequence[str], install: Callable[[], None]) -> None:
    """Install into an emptied folder unless its stamp already says exactly this."""
    stamp = folder / "installed.json"
    digest = hashlib.sha256(json.dumps(list(wanted)).encode()).hexdigest()
    if stamp.exists() and json.loads(stamp.read_text(encoding="utf-8")).get("digest") == digest:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    install()
    stamp.write_text(json.dumps({"digest": digest, "packages": list(wanted)}), encoding="utf-8")


def _run(command: Sequence[str], cwd: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=INSTALL_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise CannotInstall(f"{command[0]} took longer than {INSTALL_LIMIT_S:.0f} s") from error
    if done.returncode != 0:
        raise CannotInstall(f"{' '.join(command)} failed: {done.stderr[-600:]}")


def node() -> Path:
    """A Node new enough for the suite and for the coding agents."""
    return npm_folder(CACHE / "conformance" / "node", NODE) / "node_modules" / ".bin" / "node"


def suite() -> Path:
    """The entry point of the conformance suite."""
    folder = npm_folder(CACHE / "conformance" / "suite", SUITE)
    package = folder / "node_modules" / "@modelcontextprotocol" / "conformance"
    return package / "dist" / "index.js"


def report(name: str, install: Callable[[], Path]) -> None:
    """Install one thing; what cannot be installed is told, and its tests skip."""
    try:
        print(name, install())
    except CannotInstall as error:
        print(f"{name} is not installed, its tests will skip: {error}", file=sys.stderr)


if __name__ == "__main__":
    report("node", node)
    report("conformance", suite)
