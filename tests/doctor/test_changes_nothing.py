"""The doctor only looks: not a file, a process or a listening socket is another one afterwards."""

import contextlib
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest
from anyio import to_thread

from tests.cli import pseudo_terminal, stub
from tests.doctor import cases
from tests.support import gateway as support

QUIET_LOOKS = 5
STATE = "state/local-model-gateway"
LAST = ("mcp-state.key", "broker/snapshot/tools.json")
"""What a gateway of this home writes last of all."""
WAYS: Mapping[str, tuple[str, ...]] = {
    "plain": (),
    "json": ("--json",),
    "plan": ("--fix-plan",),
    "strict": ("--strict", "--json"),
    "quick": ("--quick", "--json"),
    "all": ("--quick", "--strict", "--fix-plan", "--json"),
}


def mine(home: Path) -> dict[tuple[int, float], list[int]]:
    """Processes of this home, and where they listen; those that only wait to be collected have ended."""
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("HOME") == str(home):
                ports = [
                    one.laddr.port
                    for one in process.net_connections("tcp")
                    if one.status == psutil.CONN_LISTEN and one.laddr
                ]
                found[process.pid, process.create_time()] = sorted(ports)
    return found


async def picture(home: cases.Home) -> tuple[Any, Any]:
    """All files with mode, time and content; all processes with their sockets."""
    return (
        await cases.tree_of(home.folder),
        await to_thread.run_sync(mine, home.folder),
    )


async def at_rest(home: cases.Home) -> tuple[Any, Any]:
    """A gateway that has just started makes a key and lists its tool servers; after that it only waits."""
    seen, same = await picture(home), 0
    with anyio.fail_after(stub.LIMIT_S):
        while seen[1] and not {f"{STATE}/{name}" for name in LAST} <= set(seen[0]):
            await anyio.sleep(0.1)
            seen = await picture(home)
        while same < QUIET_LOOKS:
            await anyio.sleep(0.2)
            now = await picture(home)
            seen, same = now, same + 1 if now == seen else 0
    return seen


def difference(before: tuple[Any, Any], after: tuple[Any, Any]) -> list[Any]:
    """What is new, gone or another, by its name."""
    return [
        key
        for one, other in zip(before, after, strict=True)
        for key in {**one, **other}
        if one.get(key) != other.get(key)
    ]


@contextlib.asynccontextmanager
async def furnished(tmp_path: Path, *, started: bool) -> AsyncGenerator[cases.Home]:
    """A home in which nearly every check has something to look at, and to be tempted by."""
    home = cases.home(tmp_path)
    (home.folder / ".codex").mkdir()
    (home.folder / ".codex" / "config.toml").write_text("x = 'http://localhost:11434/v1'")
    (home.folder / "key").write_text("k" * 40)
    (home.folder / "key").chmod(0o644)
    script = home.folder / "llama-server"
    script.write_text("#!/bin/sh\necho version: 1\n")
    script.chmod(0o755)
    model = str(home.folder / "x.gguf")
    llama = {"engine": "llama-server", "model": model, "executable": str(script)}
    home.write(
        server={"port": 0, "keys": {"me": "${file:key}"}},
        runtimes={"m": support.fake("m", tmp_path), "gone": llama},
        mcp_servers={"tools": {"command": "no-such-program"}},
        state_dir=str(home.state),
    )
    if started:
        up = await home.lmg("up", "--json")
        assert up.code == 0, up
    try:
        yield home
    finally:
        if started:
            await home.lmg("down", "--drain", "0s")


@pytest.mark.parametrize("started", [False, True], ids=["no gateway", "a gateway"])
async def test_looking_changes_nothing_at_all(tmp_path: Path, started: bool) -> None:
    async with furnished(tmp_path, started=started) as home:
        before = await at_rest(home)
        assert bool(before[1]) is started
        for words in WAYS.values():
            ran = await home.lmg("doctor", *words)
            assert ran.code == 1, ran
            assert difference(before, await picture(home)) == [], words
        shown = await pseudo_terminal.lmg(home.shell, "doctor", "--config", str(home.config))
        assert "KEY-FILE-OPEN" in shown.out
        assert difference(before, await picture(home)) == []


async def test_on_a_machine_with_nothing_it_leaves_nothing(tmp_path: Path) -> None:
    shell = stub.shell(tmp_path)
    before = await cases.tree_of(tmp_path)
    for words in WAYS.values():
        await shell.lmg("doctor", *words)
    assert await cases.tree_of(tmp_path) == before
