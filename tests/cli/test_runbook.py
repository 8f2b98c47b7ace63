"""The agents' runbook is executed block by block, with nothing but what it says; only the install is stood in for.

`python -m tests.runbook.follow` does the same from a clean checkout, the install included.
"""

import sys
from pathlib import Path

import pytest
from anyio import to_thread

from tests.runbook import follow, page

BOOK = page.read(page.PAGE.read_text(encoding="utf-8"))


def test_the_runbook_has_its_steps_in_order() -> None:
    text = "".join(block.script for block in BOOK.blocks)
    order = [
        "python3 -c",
        "pip install",
        "lmg doctor",
        "lmg init --dry-run",
        "lmg up --yes",
        "lmg run tiny",
        "lmg status",
        "lmg connect cursor --dry-run",
        "lmg connect cursor --yes",
        "lmg service install --dry-run",
        "lmg disconnect cursor",
        "lmg down",
        "rm -rf .venv",
    ]
    places = [text.index(step) for step in order]
    assert places == sorted(places)


def test_what_changes_something_is_marked_and_shows_what_it_led_to() -> None:
    for block in BOOK.blocks:
        assert block.expected, block.name
        changes = any(
            word in block.script
            for word in ("install", "--yes", "lmg down", "disconnect", "rm ", "uninstall")
        )
        only_shown = "--dry-run" in block.script
        marked = bool({"ask", "undo"} & block.marks)
        assert marked or not changes or only_shown, block.name


@pytest.mark.timeout(300)
async def test_following_the_runbook_leads_to_an_answer_and_back(tmp_path: Path) -> None:
    where = follow.place(tmp_path / "a place")
    program = where.checkout / ".venv" / "bin" / "lmg"
    program.parent.mkdir(parents=True)
    program.write_text(
        f'#!/bin/sh\nPYTHONPATH="{follow.ROOT}" exec "{sys.executable}" -m local_model_gateway "$@"\n'
    )
    program.chmod(0o755)

    await to_thread.run_sync(lambda: follow.follow(BOOK, where, leave_out="install"))

    assert not program.exists()
    assert not (where.home / ".cursor" / "mcp.json").exists()
