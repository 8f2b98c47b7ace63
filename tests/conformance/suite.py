"""Runs the official suite against an address and reads what it says."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
import yaml

from tests.conformance import install

ROOT = Path(__file__).parents[2]
LIMIT_S = 240.0
_LINE = re.compile(r"^[✓✗] (?P<name>[\w-]+): (?P<passed>\d+) passed, (?P<failed>\d+) failed")


@dataclass(frozen=True, slots=True)
class Suite:
    """The installed suite."""

    node: Path
    entry: Path

    def required(self, revision: str) -> list[str]:
        """What a server must pass in this revision; the list is the suite's own."""
        file = self.entry.parents[1] / "requirements" / f"{revision}.yaml"
        return list(yaml.safe_load(file.read_text())["server"])

    async def revision(self, url: str, revision: str) -> "Outcome":
        """Every scenario of a revision."""
        return await self._run(url, "--requirements", revision)

    async def scenario(self, url: str, name: str) -> "Outcome":
        """One scenario."""
        return await self._run(url, "--scenario", name)

    async def _run(self, url: str, *what: str) -> "Outcome":
        command = [str(self.node), str(self.entry), "server", "--url", url, *what]
        with anyio.fail_after(LIMIT_S):
            done = await anyio.run_process(command, check=False)
        return Outcome((done.stdout + done.stderr).decode())


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the suite printed."""

    text: str

    def passed(self) -> set[str]:
        """Scenarios with at least one check that passed and none that failed."""
        found = [_LINE.match(line) for line in self.text.splitlines()]
        return {
            one["name"] for one in found if one and int(one["passed"]) and not int(one["failed"])
        }


def installed() -> Suite:
    """Installed on first use; skips where it cannot be."""
    try:
        return Suite(install.node(), install.suite())
    except install.CannotInstall as error:
        pytest.skip(f"the conformance suite is not installed: {error}")


@asynccontextmanager
async def fixture_app(folder: Path, python: str) -> AsyncGenerator[str]:
    """The address of our app factory with the suite's fixtures, in a process of its own."""
    command = [python, "-m", "tests.conformance.fixture_app", str(folder)]
    async with await anyio.open_process(command, cwd=ROOT, stderr=None) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with anyio.fail_after(60):
            url = (await process.stdout.receive()).decode().strip()
        try:
            yield url
        finally:
            await process.stdin.aclose()
            with anyio.move_on_after(20, shield=True):
                await process.wait()
