"""What the gateway adds to a request: the same load, in one run, direct, through nginx and through us.

    make bench-proxy            (or: python -m benchmarks.proxy [--quick])

Everything the gateway does is on: guard, queue, database rows, telemetry. CPU is read from the
proxy's own process, so that what else runs on the machine disturbs it least. Quote ratios.
"""

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

Figures = dict[str, Any]

NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log stderr error;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream engine {{ server 127.0.0.1:{engine}; keepalive 64; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_request_buffering off;
    }}
  }}
}}
"""


@dataclass(frozen=True)
class System:
    """What is measured."""

    name: str
    port: int
    process: psutil.Process | None

    def cpu_s(self) -> float:
        """CPU seconds of the proxy so far, its children included."""
        if self.process is None:
            return 0.0
        total = 0.0
        for one in [self.process, *self.process.children(recursive=True)]:
            times = one.cpu_times()
            total += times.user + times.system
        return total


@contextlib.contextmanager
def child(*argv: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A program of ours that says where it listens."""
    with subprocess.Popen(
        [sys.executable, "-m", *argv], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            yield process, int(line.rsplit(":", 1)[1])
        finally:
            process.kill()


@contextlib.contextmanager
def nginx(engine: int, folder: Path) -> Iterator[System | None]:
    """A plain reverse proxy in front of the same engine, if nginx is installed."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        yield None
        return
    port = _free_port()
    settings = folder / "nginx.conf"
    settings.write_text(NGINX.format(folder=folder, engine=engine, port=port))
    with subprocess.Popen([program, "-c", str(settings), "-p", str(folder)]) as process:
        try:
            _until_open(port)
            yield System("nginx", port, psutil.Process(process.pid))
        finally:
            process.terminate()


def _free_port() -> int:
    import socket  # noqa: PLC0415 - for this line only

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until_open(port: int) -> None:
    import socket  # noqa: PLC0415 - as above

    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise SystemExit(f"nothing listens on port {port}")


def load(system: System, mode: str, concurrency: int, seconds: float, chunks: int = 0) -> Figures:
    """One run against one system."""
    before = system.cpu_s()
    argv = [str(system.port), mode, str(concurrency), str(seconds), str(chunks)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load", *argv], capture_output=True, check=True, text=True
    )
    figures: Figures = json.loads(done.stdout)
    figures["cpu_s"] = system.cpu_s() - before
    if figures["errors"]:
        print(f"  {system.name}: {figures['errors']} errors", file=sys.stderr)
    return figures


def interleaved(
    systems: list[System], rounds: int, mode: str, concurrency: int, seconds: float, chunks: int = 0
) -> dict[str, Figures]:
    """Each system in turn, several times; the median round of each, by its own rate."""
    seen: dict[str, list[Figures]] = {system.name: [] for system in systems}
    for _ in range(rounds):
        for system in systems:
            seen[system.name].append(load(system, mode, concurrency, seconds, chunks))
    return {
        name: sorted(runs, key=lambda run: float(run["per_s"]))[len(runs) // 2]
        for name, runs in seen.items()
    }


def whole(systems: list[System], rounds: int, seconds: float) -> None:
    """Requests that are not streamed."""
    print("\nNot streamed, 400-byte prompt")
    print(f"{'':10}{'c':>4}{'req/s':>9}{'x direct':>9}{'p50 +ms':>9}{'p99 +ms':>9}{'CPU ms':>9}")
    for concurrency in (1, 8, 32):
        runs = interleaved(systems, rounds, "whole", concurrency, seconds)
        direct = runs["direct"]
        for name, run in runs.items():
            cpu = 1000 * run["cpu_s"] / max(1, run["requests"])
            print(
                f"{name:10}{concurrency:4}{run['per_s']:9.0f}{run['per_s'] / direct['per_s']:9.3f}"
                f"{run['p50_ms'] - direct['p50_ms']:9.2f}{run['p99_ms'] - direct['p99_ms']:9.2f}"
                f"{cpu:9.3f}"
            )


def streams(systems: list[System], rounds: int, seconds: float) -> None:
    """Chunks of streams: in a burst, and 5 ms apart."""
    print("\nStreamed, 8 at once")
    print(f"{'':10}{'chunks/s':>10}{'x direct':>9}{'CPU s/100k paced':>18}{'first +ms':>11}")
    burst = interleaved(systems, rounds, "burst", 8, seconds, 5000)
    paced = interleaved(systems, rounds, "paced", 8, seconds * 2, 200)
    for name, run in burst.items():
        slow = paced[name]
        cpu = 100_000 * slow["cpu_s"] / max(1, slow["chunks"])
        first = slow["first_p50_ms"] - paced["direct"]["first_p50_ms"]
        share = run["chunks_per_s"] / burst["direct"]["chunks_per_s"]
        print(f"{name:10}{run['chunks_per_s']:10.0f}{share:9.3f}{cpu:18.2f}{first:11.2f}")


async def waiting(system: System, count: int) -> None:
    """Memory of streams that wait in the queue, and how long /health takes beside them."""
    assert system.process is not None
    before = system.process.memory_info().rss
    body = json.dumps(
        {"model": "stub", "messages": [{"role": "user", "content": "hang"}], "stream": True}
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{system.port}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode()
    writers = []
    for _ in range(count):
        _, writer = await asyncio.open_connection("127.0.0.1", system.port)
        writer.write(head + body)
        writers.append(writer)
    await asyncio.sleep(3)
    after = system.process.memory_info().rss
    waits = sorted([await _health(system.port) for _ in range(50)])
    print(f"\n{count} queued streams: {(after - before) / count / 1024:.1f} KiB each, RSS", end=" ")
    print(f"{after / 2**20:.0f} MiB; /health p50 {waits[25]:.1f} ms, longest {waits[-1]:.1f} ms")
    for writer in writers:
        writer.close()


async def _health(port: int) -> float:
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /v1/models HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return (time.perf_counter() - began) * 1000


def main() -> None:
    """All of it."""
    quick = "--quick" in sys.argv
    rounds, seconds = (1, 1.5) if quick else (3, 4.0)
    folder = Path(tempfile.mkdtemp(prefix="lmg-bench-"))
    with (
        child("benchmarks.stub_engine", "0") as (_, engine),
        nginx(engine, folder) as plain,
    ):
        began = time.perf_counter()
        with child("benchmarks.proxy_gateway", str(engine), str(folder / "a")) as (process, port):
            started_s = time.perf_counter() - began
            ours = psutil.Process(process.pid)
            gateway = System("gateway", port, ours)
            print(
                f"Start to listening {started_s:.2f} s, RSS {ours.memory_info().rss / 2**20:.0f} MiB"
            )
            systems = [System("direct", engine, None), *([plain] if plain else []), gateway]
            for system in systems:
                load(system, "whole", 4, 0.5)  # warm
            whole(systems, rounds, seconds)
            streams(systems, rounds, seconds)
        with child("benchmarks.proxy_gateway", str(engine), str(folder / "b"), "1") as (
            process,
            port,
        ):
            queued = System("gateway", port, psutil.Process(process.pid))
            asyncio.run(waiting(queued, 500 if quick else 2000))
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
