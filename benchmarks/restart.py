"""How soon a gateway is ready again: after nothing, and after kill -9 with a resident engine and queued jobs."""

import statistics
import tempfile
import time
from pathlib import Path

import anyio

from tests.support.gateway import Gateway, fake, gateway

ROUNDS = 10
JOBS = 50


async def main() -> None:
    """Print one line a case."""
    folder = Path(tempfile.mkdtemp(prefix="lmg-restart-"))
    runtimes = {name: fake(name, folder) for name in ("a", "b")}
    async with gateway({"runtimes": runtimes}, folder) as here:
        show("first start, nothing there", [await started(here)])
        await here.stop()
        cold = []
        for _ in range(ROUNDS):
            cold.append(await started(here))
            await here.stop()
        show("start, stopped well before", cold)
        await here.start()
        async with here.client() as client:
            await client.post("/admin/queue/pause", headers={"x-lmg-request": "1"}, json={})
            for number in range(JOBS):
                body = {"model": "a", "messages": [{"role": "user", "content": f"{number}"}]}
                await client.post("/v1/jobs", json=body)
            await client.post("/admin/queue/resume", headers={"x-lmg-request": "1"}, json={})
        killed = []
        for _ in range(ROUNDS):
            await here.kill()
            killed.append(await started(here))
        show(f"start after kill -9, engine resident, up to {JOBS} jobs queued", killed)


async def started(here: Gateway) -> float:
    """Seconds from the spawn to a 200 of /ready."""
    begun = time.perf_counter()
    await here.start()
    return time.perf_counter() - begun


def show(case: str, seconds: list[float]) -> None:
    """Median and worst."""
    print(f"{case:62} median {statistics.median(seconds):.2f} s  worst {max(seconds):.2f} s")


if __name__ == "__main__":
    anyio.run(main)
