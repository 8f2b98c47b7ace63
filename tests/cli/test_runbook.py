"""The agents' runbook is executed block by block, with nothing but what it says."""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import anyio

from tests.cli import stub

PAGE = Path(__file__).parent.parent.parent / "docs" / "agent-install.md"
_BLOCK = re.compile(
    r"^```sh( install)?\n(.*?)^```\n((?:<!-- expect: .*? -->\n)*)", re.MULTILINE | re.DOTALL
)
_EXPECTED = re.compile(r"<!-- expect: (\S+) = (.*?) -->")


@dataclass(frozen=True, slots=True)
class Block:
    """One block of shell, and what its JSON must hold."""

    script: str
    installs: bool
    expected: tuple[tuple[str, str], ...]


def blocks() -> list[Block]:
    return [
        Block(script, bool(installs), tuple(_EXPECTED.findall(expected)))
        for installs, script, expected in _BLOCK.findall(PAGE.read_text())
    ]


BLOCKS = blocks()


def test_the_runbook_has_its_steps_in_order() -> None:
    text = "".join(block.script for block in BLOCKS)
    order = ["doctor", "init --dry-run", "up --yes", "run tiny", "status", "connect", "down"]
    places = [text.index(f"lmg {verb}") for verb in order]
    assert places == sorted(places)


async def test_following_the_runbook_leads_to_an_answer_and_back(tmp_path: Path) -> None:
    shell = stub.shell(tmp_path)
    program = tmp_path / "bin" / "lmg"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m local_model_gateway "$@"\n')
    program.chmod(0o755)
    config = tmp_path / "any-port.yaml"
    config.write_text("server: {port: 0}\n")
    config.chmod(0o600)
    path = f"{program.parent}:{shell.env['PATH']}"
    env = {**shell.env, "PATH": path, "LMG_CONFIG": str(config)}
    ran: list[str] = []
    try:
        for block in BLOCKS:
            if block.installs:
                continue  # needs a package index; what it installs is what runs here
            with anyio.fail_after(stub.LIMIT_S):
                done = await anyio.run_process(
                    ["bash", "-e", "-c", block.script], check=False, cwd=tmp_path, env=env
                )
            said = done.stdout.decode()
            assert done.returncode == 0, (block.script, said, done.stderr.decode())
            for key, value in block.expected:
                assert str(json.loads(said)[key]) == value, (block.script, said)
            ran.append(block.script)
    finally:
        if not any("lmg down" in script for script in ran):
            await shell.lmg("down", "--drain", "0s", "--config", str(config))
    assert len(ran) == len(BLOCKS) - 1
