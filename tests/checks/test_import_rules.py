"""The import rules hold, and the check would notice if one did not."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = [
    "local_model_gateway",
    "mcp_server",
    "openai_shim",
    "broker",
    "catalog",
    "coordinator",
    "runtimes",
    "recipes",
]

# What may never be, each in a contract of its own.
PLANTED = [
    ("layers", "runtimes/planted.py", "import coordinator.work"),
    ("layers", "recipes/planted.py", "import broker.errors"),
    ("layers", "coordinator/planted.py", "import openai_shim.options"),
    ("layers", "openai_shim/planted.py", "import mcp_server"),
    ("layers", "mcp_server/planted.py", "import local_model_gateway.app"),
    ("layers", "coordinator/planted.py", "import catalog"),
    ("layers", "runtimes/planted.py", "import recipes"),
    ("pure", "coordinator/plan.py", "import time"),
    ("pure", "coordinator/state.py", "import logging"),
    ("pure", "runtimes/state.py", "import sqlite3"),
    ("pure", "catalog/index.py", "import anyio"),
    ("pure", "broker/policy.py", "import logging"),
    ("broker-apart", "broker/planted.py", "import coordinator.work"),
    ("broker-apart", "catalog/planted.py", "import runtimes.base"),
]


def lint(tree: Path, contract: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command as run; run()",
            "--no-cache",
            "--contract",
            contract,
        ],
        cwd=tree,
        env={"PYTHONPATH": str(tree), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=50,
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("tree")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("*.pyc"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    return tree


@pytest.mark.requirement("layers-hold")
@pytest.mark.parametrize(("contract", "file", "line"), PLANTED)
def test_a_planted_violation_is_caught(copy: Path, contract: str, file: str, line: str) -> None:
    path = copy / file
    before = path.read_text() if path.exists() else None
    path.write_text(f"{before or ''}\n{line}\n")
    try:
        found = lint(copy, contract)
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_text(before)
    assert found.returncode == 1, found.stdout + found.stderr
    assert "BROKEN" in found.stdout


@pytest.mark.requirement("layers-hold")
def test_the_tree_as_it_is_keeps_every_contract(copy: Path) -> None:
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]:
        found = lint(copy, contract["id"])
        assert found.returncode == 0, found.stdout + found.stderr
