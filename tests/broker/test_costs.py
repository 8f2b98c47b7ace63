"""What a search may cost in tokens and in processes, over a few hundred invented tools."""

from pathlib import Path

import anyio

from benchmarks import broker as bench
from catalog.store import SnapshotStore


async def test_searching_stays_within_its_budget_and_starts_nothing(tmp_path: Path) -> None:
    def prepare() -> list[str]:
        store = SnapshotStore(tmp_path / "broker" / "snapshot")
        names = []
        for snapshot in bench.invented(400):
            store.save(snapshot)
            names.append(snapshot.server)
        return names

    names = await anyio.to_thread.run_sync(prepare)
    texts = await anyio.to_thread.run_sync(bench.queries)
    figures = await bench.served(tmp_path, names, texts[::3])
    for name in (
        "tokens of eight hits, largest",
        "tokens of the four tools",
        "starts by searching and describing",
    ):
        assert figures[name] <= bench.LIMITS[name], name
