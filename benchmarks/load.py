"""A client that costs little: raw HTTP/1.1, one connection a worker, latencies kept.

    python -m benchmarks.load PORT MODE CONCURRENCY SECONDS [CHUNKS]

MODE is `whole`, `paced` or `burst`. Prints one JSON object.
"""

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field

LIST = b"data: "


@dataclass
class Tally:
    """What all workers saw."""

    requests: int = 0
    chunks: int = 0
    errors: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)

    def shown(self) -> dict[str, float]:
        """The figures."""
        waits = sorted(self.latencies)
        first = sorted(self.first)
        return {
            "requests": self.requests,
            "errors": self.errors,
            "chunks": self.chunks,
            "seconds": self.seconds,
            "per_s": self.requests / self.seconds,
            "chunks_per_s": self.chunks / self.seconds,
            "p50_ms": _at(waits, 0.50),
            "p99_ms": _at(waits, 0.99),
            "first_p50_ms": _at(first, 0.50),
        }


def _at(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))] * 1000 if values else 0.0


def request(port: int, prompt: str, streamed: bool) -> bytes:
    """The bytes of one chat request, about 400 of them in the body."""
    text = prompt if prompt != "whole" else "word " * 50
    messages = [{"role": "user", "content": text}]
    body = json.dumps({"model": "stub", "messages": messages, "stream": streamed}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def worker(port: int, raw: bytes, until: float, tally: Tally) -> None:
    """Ask, read, ask again."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    while time.perf_counter() < until:
        began = time.perf_counter()
        writer.write(raw)
        head = await reader.readuntil(b"\r\n\r\n")
        tally.errors += not head.startswith(b"HTTP/1.1 200")
        lower = head.lower()
        if b"chunked" in lower:
            await _chunked(reader, began, tally)
        else:
            size = int(lower.split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(size)
        tally.requests += 1
        tally.latencies.append(time.perf_counter() - began)
    writer.close()


async def _chunked(reader: asyncio.StreamReader, began: float, tally: Tally) -> None:
    """Until the last chunk; blocks are counted as they come, not taken apart."""
    tail = b""
    first = True
    while not tail.endswith(b"\r\n0\r\n\r\n"):
        block = await reader.read(1 << 18)
        if not block:
            tally.errors += 1
            return
        if first:
            tally.first.append(time.perf_counter() - began)
            first = False
        tally.chunks += block.count(LIST)
        tail = (tail + block)[-16:]


async def main(port: int, mode: str, concurrency: int, seconds: float, chunks: int) -> None:
    """Run and print."""
    raw = request(port, mode if mode == "whole" else f"{mode}:{chunks}", mode != "whole")
    tally = Tally()
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(worker(port, raw, began + seconds, tally))
    tally.seconds = time.perf_counter() - began
    print(json.dumps(tally.shown()))


if __name__ == "__main__":
    PORT, MODE, CONCURRENCY, SECONDS = sys.argv[1:5]
    CHUNKS = int(sys.argv[5]) if len(sys.argv) > 5 else 0
    asyncio.run(main(int(PORT), MODE, int(CONCURRENCY), float(SECONDS), CHUNKS))
