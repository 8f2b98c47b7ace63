"""What the durable queue costs, alone and with a long history: `python -m benchmarks.store [ROWS]`.

Prints, on the machine that it runs on: commits a second one after another and together, the cost of a
written-behind request, and submits, reads and counts on a database of ROWS finished rows (one million
unless said) while the pruner runs and while it does not.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

from coordinator import changes, settings, store
from coordinator.state import WorkState
from tests.coordinator.store import history, making

SUBMIT_P99_GOAL_MS = 50.0
STATUS_GOAL_MS = 100.0


def percentiles(name: str, samples_s: list[float]) -> float:
    """Print p50, p99 and the worst in milliseconds; returns p99."""
    ordered = sorted(samples_s)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    print(
        f"  {name:<44} p50 {statistics.median(ordered) * 1e3:8.2f}  p99 {p99 * 1e3:8.2f}"
        f"  max {ordered[-1] * 1e3:8.2f} ms  n {len(ordered)}"
    )
    return p99 * 1e3


async def timed(call: Callable[[], Awaitable[object]]) -> float:
    """How long one call took."""
    began = time.perf_counter()
    await call()
    return time.perf_counter() - began


def enqueued(body: bytes | None = b'{"messages": []}') -> changes.Enqueued:
    """A new job."""
    return changes.Enqueued(making.job(), body, "hash")


async def measure_commits(store_: store.Store) -> None:
    """Acknowledged jobs, in sequence and at once."""
    print("commits that are on the disk (synchronous=FULL)")
    one_by_one = [await timed(lambda: store_.commit(enqueued())) for _ in range(300)]
    percentiles("one after another", one_by_one)
    for width in (8, 32, 128):
        samples: list[float] = []

        async def client(samples: list[float] = samples) -> None:
            mine = [await timed(lambda: store_.commit(enqueued())) for _ in range(20)]
            samples.extend(mine)

        began = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            for _ in range(width):
                tasks.start_soon(client)
        rate = len(samples) / (time.perf_counter() - began)
        percentiles(f"{width} clients, {rate:,.0f} commits/s", samples)


async def measure_notes(store_: store.Store) -> None:
    """Interactive requests, whole lives, written behind the answer."""
    print("written-behind lives (admitted, granted, ended, learned)")
    for lives_a_second in (200, 1000):
        began_cpu, began = time.process_time(), time.perf_counter()
        inside = 0.0
        for n in range(lives_a_second):
            late = began + n / lives_a_second - time.perf_counter()
            if late > 0.001:
                await anyio.sleep(late)
            one = making.item()
            moves = making.lived(one)
            taught = changes.Learned("r", time.time(), run_s=0.1)
            noted = time.perf_counter()
            for change in (*moves, taught):
                store_.note(change)
            inside += time.perf_counter() - noted
        await store_.commit(changes.Setting("benchmark", "done"))
        cpu_ms = (time.process_time() - began_cpu) / lives_a_second * 1e3
        print(
            f"  {lives_a_second:>5}/s: {cpu_ms:.3f} ms CPU a life, all threads and the benchmark itself;"
            f" {inside / lives_a_second * 1e6:.1f} µs of it in note()"
        )


async def measure_traffic(store_: store.Store, stop: anyio.Event | None, label: str) -> list[float]:
    """Submits and status-like reads, one after another, for a while or until `stop`."""
    submits: list[float] = []
    statuses: list[float] = []
    items: list[float] = []
    counts: list[float] = []
    owner = "owner-3"

    async def status() -> None:
        store_.counts()
        await store_.items(None, {WorkState.QUEUED, WorkState.RUNNING}, 100)
        await store_.items(None, {WorkState.FAILED}, 20)

    while len(submits) < 300 if stop is None else not stop.is_set():
        submits.append(await timed(lambda: store_.commit(enqueued())))
        statuses.append(await timed(status))
        items.append(await timed(lambda: store_.items(owner, None, 50)))
        began = time.perf_counter()
        store_.counts()
        counts.append(time.perf_counter() - began)
        await anyio.sleep(0.005)
    print(label)
    goals = [percentiles("submit", submits), percentiles("status-like read", statuses)]
    percentiles("list of one owner", items)
    percentiles("counts()", counts)
    return goals


async def measure_history(state_dir: Path, ended: int) -> bool:
    """The same with a long past."""
    began = time.perf_counter()
    await anyio.to_thread.run_sync(history.write, state_dir, ended, 40)
    size = (state_dir / "queue.db").stat().st_size / 2**20
    print(
        f"\n{ended:,} finished rows, {size:,.0f} MiB, made in {time.perf_counter() - began:.0f} s"
    )

    keep = settings.CoordinatorSettings(history_s=history.AGE_S * 0.9)
    began = time.perf_counter()
    async with store.Store.open(state_dir, keep) as store_:
        opened = time.perf_counter()
        recovered = await store_.take_over()
        making.start_at(recovered.next_seq)
        print(
            f"open with check {opened - began:.2f} s, take over {time.perf_counter() - opened:.3f} s"
        )
        calm = await measure_traffic(store_, None, "nothing else going on")
        ended_pruning = anyio.Event()

        async def prune() -> None:
            dropped = await store_.prune()
            ended_pruning.set()
            print(f"pruned {dropped:,} rows in {time.perf_counter() - started:.0f} s")

        started = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(prune)
            busy = await measure_traffic(store_, ended_pruning, "while the pruner runs")
        wal = state_dir / "queue.db-wal"
        print(f"WAL {wal.stat().st_size / 2**20:.1f} MiB")
    worst = [max(pair) for pair in zip(calm, busy, strict=True)]
    good = worst[0] < SUBMIT_P99_GOAL_MS and worst[1] < STATUS_GOAL_MS
    print(
        f"submit p99 {worst[0]:.1f} ms (goal {SUBMIT_P99_GOAL_MS:.0f}), status p99 {worst[1]:.1f} ms"
        f" (goal {STATUS_GOAL_MS:.0f}): {'met' if good else 'MISSED'}"
    )
    return good


async def main(ended: int, folder: Path) -> bool:
    """All of it."""
    empty, long = folder / "empty", folder / "long"
    async with making.owned_store(empty) as store_:
        await measure_commits(store_)
        await measure_notes(store_)
    long.mkdir()
    return await measure_history(long, ended)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("rows", nargs="?", type=int, default=1_000_000)
    parser.add_argument(
        "--folder", help="where the databases are made; a temporary one unless said"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as temporary:
        sys.exit(0 if anyio.run(main, given.rows, Path(temporary)) else 1)
