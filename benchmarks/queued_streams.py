"""Two thousand clients whose streams wait in line: the gateway's memory, and how soon /health answers beside them."""

import json
import statistics
import tempfile
import time
from pathlib import Path

import anyio
import anyio.abc
import psutil

from tests.support.gateway import Gateway, fake, gateway

CLIENTS = 2000
ASKED = 300


async def main() -> None:
    """Print memory before and with the clients, and the latencies of /health."""
    folder = Path(tempfile.mkdtemp(prefix="lmg-streams-"))
    queue = {"max_queue": CLIENTS + 10, "max_queue_per_client": CLIENTS + 10}
    config = {"runtimes": {"a": fake("a", folder)}, "queue": queue}
    async with gateway(config, folder) as here, anyio.create_task_group() as clients:
        await here.start()
        assert here.process is not None
        process = psutil.Process(here.process.pid)
        before = process.memory_info().rss
        for _ in range(CLIENTS):
            clients.start_soon(wait_in_line, here)
        await everybody_waits(here)
        rss = process.memory_info().rss
        print(
            f"RSS {before / 2**20:.0f} MiB before, {rss / 2**20:.0f} MiB with {CLIENTS} waiting"
            f" streams: {(rss - before) / CLIENTS / 1024:.0f} KiB each"
        )
        seconds = sorted([await health(here) for _ in range(ASKED)])
        print(
            f"/health beside them: median {statistics.median(seconds) * 1000:.1f} ms,"
            f" p99 {seconds[int(ASKED * 0.99)] * 1000:.1f} ms, worst {seconds[-1] * 1000:.1f} ms"
        )
        clients.cancel_scope.cancel()


async def wait_in_line(here: Gateway) -> None:
    """One client: its request, and then it reads what comes."""
    body = {
        "model": "a",
        "stream": True,
        "messages": [{"role": "user", "content": "[[tokens:100000]] [[delay-ms:100]]"}],
    }
    content = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{here.port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    async with await anyio.connect_tcp("127.0.0.1", here.port) as wire:
        await wire.send(head.encode() + content)
        async for _ in wire:
            pass


async def everybody_waits(here: Gateway) -> None:
    """Until all but the one that runs are in the queue."""
    with anyio.fail_after(120):
        async with here.client() as client:
            while len((await client.get("/status")).json()["queue"]) < CLIENTS - 1:  # noqa: ASYNC110
                await anyio.sleep(0.5)


async def health(here: Gateway) -> float:
    """Seconds of one GET on a connection of its own."""
    begun = time.perf_counter()
    async with await anyio.connect_tcp("127.0.0.1", here.port) as wire:
        request = (
            f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{here.port}\r\nConnection: close\r\n\r\n"
        )
        await wire.send(request.encode())
        async for _ in wire:
            pass
    return time.perf_counter() - begun


if __name__ == "__main__":
    anyio.run(main)
