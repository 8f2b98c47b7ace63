"""What one MCP call costs, beside a bare Starlette route of the same process: `python -m benchmarks.mcp [--json]`.

CPU of the server per call is the figure that holds on a busy machine; times do not. Everything goes
over real sockets with keep-alive, through the guard, with the queue and the broker behind it.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2

ROOT = Path(__file__).parents[1]
GOAL = 4.0
"""Modern, one client, relative to the bare route."""
VERSION = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
ACCEPT = {"accept": "application/json, text/event-stream"}
TOOL = "list_servers"
"""Reads nothing but memory, so that what is measured is the way in and out."""
IDLE_SESSIONS = 200

Ask = Callable[[httpx2.AsyncClient, int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Cell:
    """One measurement."""

    what: str
    clients: int
    calls: int
    cpu_us: float
    p50_ms: float
    p99_ms: float
    calls_per_s: float


@asynccontextmanager
async def served() -> AsyncGenerator[str]:
    """The server in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.mcp_server_process", folder]
        async with await anyio.open_process(command, cwd=ROOT, stderr=None) as process:
            if process.stdin is None or process.stdout is None:
                raise RuntimeError("the server has no pipes")
            with anyio.fail_after(60):
                url = (await process.stdout.receive()).decode().strip()
            try:
                yield url
            finally:
                await process.stdin.aclose()
                with anyio.move_on_after(20, shield=True):
                    await process.wait()


def client(url: str) -> httpx2.AsyncClient:
    """One connection that is kept."""
    limits = httpx2.Limits(max_connections=1, max_keepalive_connections=1)
    return httpx2.AsyncClient(base_url=url, timeout=60, limits=limits, trust_env=False)


async def ask_bare(http: httpx2.AsyncClient, number: int) -> None:
    """The same body, to the bare route."""
    answer = await http.post("/bare", json=_call(number, META))
    answer.raise_for_status()


async def ask_modern(http: httpx2.AsyncClient, number: int) -> None:
    """The stateless era."""
    head = {"mcp-protocol-version": VERSION, "mcp-method": "tools/call", "mcp-name": TOOL}
    answer = await http.post("/mcp", json=_call(number, META), headers=ACCEPT | head)
    answer.raise_for_status()


def ask_legacy(session: str) -> Ask:
    """The era of sessions; its answers are event streams."""

    async def ask(http: httpx2.AsyncClient, number: int) -> None:
        head = {"mcp-protocol-version": "2025-11-25", "mcp-session-id": session}
        answer = await http.post("/mcp", json=_call(number, None), headers=ACCEPT | head)
        answer.raise_for_status()

    return ask


def _call(number: int, meta: Any) -> dict[str, Any]:
    params: dict[str, Any] = {"name": TOOL, "arguments": {}}
    if meta is not None:
        params["_meta"] = meta
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


async def open_session(http: httpx2.AsyncClient) -> str:
    """A session that has said hello."""
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "bench", "version": "1"},
    }
    message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    answer = await http.post("/mcp", json=message, headers=ACCEPT)
    answer.raise_for_status()
    session: str = answer.headers["mcp-session-id"]
    told = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    await http.post("/mcp", json=told, headers=ACCEPT | {"mcp-session-id": session})
    return session


async def cost(url: str) -> dict[str, Any]:
    """What the server has used so far."""
    async with client(url) as http:
        read: dict[str, Any] = (await http.get("/cost")).json()
    return read


async def measure(url: str, what: str, clients: int, calls: int) -> Cell:
    """So many calls in all, over so many connections at once."""
    times: list[float] = []

    async def work(share: int) -> None:
        async with client(url) as http:
            ask: Ask = ask_bare if what == "bare" else ask_modern
            if what == "legacy":
                ask = ask_legacy(await open_session(http))
            for number in range(1, share + 1):
                began = time.perf_counter()
                await ask(http, number)
                times.append(time.perf_counter() - began)

    before, began = await cost(url), time.perf_counter()
    async with anyio.create_task_group() as group:
        for _ in range(clients):
            group.start_soon(work, calls // clients)
    took, after = time.perf_counter() - began, await cost(url)
    cpu_s = after["cpu_s"] - before["cpu_s"]
    ordered = sorted(times)
    return Cell(
        what,
        clients,
        len(ordered),
        cpu_s / len(ordered) * 1e6,
        statistics.median(ordered) * 1e3,
        ordered[int(len(ordered) * 0.99)] * 1e3,
        len(ordered) / took,
    )


async def best(url: str, what: str, clients: int, calls: int, repeats: int) -> Cell:
    """The repeat that cost least: what others on the machine did is in all the rest."""
    cells = [await measure(url, what, clients, calls) for _ in range(repeats)]
    return min(cells, key=lambda cell: cell.cpu_us)


async def idle_sessions(url: str) -> float:
    """KiB that one session costs that nobody uses."""
    before = (await cost(url))["rss_bytes"]
    async with client(url) as http:
        for _ in range(IDLE_SESSIONS):
            await open_session(http)
    after = (await cost(url))["rss_bytes"]
    return float(after - before) / IDLE_SESSIONS / 1024


async def run(calls: int, repeats: int) -> dict[str, Any]:
    """All cells, in one run of one server."""
    async with served() as url:
        for what in ("bare", "modern", "legacy"):
            await measure(url, what, 1, 100)  # warm
        cells = [
            await best(url, what, clients, calls, repeats)
            for clients in (1, 32)
            for what in ("bare", "modern", "legacy")
        ]
        session_kib = await idle_sessions(url)
        rss = (await cost(url))["rss_bytes"] / 2**20
    by = {(cell.what, cell.clients): cell for cell in cells}
    ratios = {
        f"{what}_{clients}": by[what, clients].cpu_us / by["bare", clients].cpu_us
        for what in ("modern", "legacy")
        for clients in (1, 32)
    }
    return {
        "cells": [asdict(cell) for cell in cells],
        "cpu_relative_to_bare": ratios,
        "idle_session_kib": session_kib,
        "rss_mib": rss,
        "goal": GOAL,
        "met": ratios["modern_1"] <= GOAL,
    }


def main() -> int:
    """Print the table; exit 1 where the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=800)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = anyio.run(run, given.calls, given.repeats)
    if given.json:
        print(json.dumps(found))
    else:
        _print(found)
    return 0 if found["met"] else 1


def _print(found: dict[str, Any]) -> None:
    print(f"{'':8} {'clients':>7} {'CPU us':>8} {'p50 ms':>8} {'p99 ms':>8} {'calls/s':>8}")
    for cell in found["cells"]:
        print(
            f"{cell['what']:8} {cell['clients']:7} {cell['cpu_us']:8.0f} {cell['p50_ms']:8.2f}"
            f" {cell['p99_ms']:8.2f} {cell['calls_per_s']:8.0f}"
        )
    for name, ratio in found["cpu_relative_to_bare"].items():
        print(f"{name}: {ratio:.2f} x the bare route")
    print(f"idle session: {found['idle_session_kib']:.0f} KiB; server: {found['rss_mib']:.0f} MiB")
    print(f"goal, modern with one client: {found['goal']} x, {'met' if found['met'] else 'missed'}")


if __name__ == "__main__":
    sys.exit(main())
