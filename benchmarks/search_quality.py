"""How often the right tool is first, or among the first five: `python -m benchmarks.search_quality [SET.json ...]`.

`--tune` looks at the tuning half of the queries, `--report` at the other; without either, at all of them.
`--embedding URL MODEL` adds a ranking by meaning. `--misses` names the queries whose tool was not among the first five, and `--kinds` parts the figures by kind.
"""

import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks import search_peers, search_sets
from benchmarks.search_sets import Query, SearchSet


def recall(found: Sequence[int], query: Query, depth: int) -> float:
    """The share of what was needed that is among the first."""
    first = set(found[:depth])
    return sum(bool(first & need) for need in query.needs) / len(query.needs)


def measure(
    engine: search_peers.Search, queries: Iterable[Query]
) -> list[tuple[Query, float, float, float]]:
    rows = []
    for query in queries:
        began = time.thread_time()
        found = engine(query.text, 5)
        spent = (time.thread_time() - began) * 1000
        rows.append((query, recall(found, query, 1), recall(found, query, 5), spent))
    return rows


def _chosen(given: SearchSet, options: Sequence[str]) -> list[Query]:
    if "--tune" in options:
        return [query for query in given.queries if query.for_tuning]
    if "--report" in options:
        return [query for query in given.queries if not query.for_tuning]
    return list(given.queries)


def _line(name: str, rows: Sequence[tuple[Query, float, float, float]]) -> str:
    spent = sorted(row[3] for row in rows)
    p50, p99 = spent[len(spent) // 2], spent[min(len(spent) - 1, int(len(spent) * 0.99))]
    first = sum(row[1] for row in rows) / len(rows)
    five = sum(row[2] for row in rows) / len(rows)
    return f"{name:20} {len(rows):5} {first:7.3f} {five:7.3f} {p50:8.2f} {p99:8.2f}"


def main(arguments: Sequence[str]) -> None:
    arguments, engines = _engines(list(arguments))
    options = [one for one in arguments if one.startswith("--")]
    files = [Path(one) for one in arguments if not one.startswith("--")]
    sets = [search_sets.from_file(path) for path in files] or [search_sets.own()]
    for given in sets:
        queries = _chosen(given, options)
        print(f"\n{given.name}: {len(given.entries)} tools, {len(queries)} queries")
        print(f"{'':20} {'n':>5} {'@1':>7} {'@5':>7} {'p50 ms':>8} {'p99 ms':>8}")
        for name, engine in engines.items():
            rows = measure(engine(given.entries), queries)
            print(_line(name, rows))
            if name == "ours":
                _details(rows, options)


def _engines(arguments: list[str]) -> tuple[list[str], dict[str, search_peers.Engine]]:
    engines = dict(search_peers.ENGINES)
    if "--embedding" in arguments:
        place = arguments.index("--embedding")
        _, url, model = arguments[place : place + 3]
        del arguments[place : place + 3]
        engines["ours, with meaning"] = search_peers.ours_with_meaning(url, model)
    return arguments, engines


def _details(rows: Sequence[tuple[Query, float, float, float]], options: Sequence[str]) -> None:
    if "--kinds" in options:
        for kind in dict.fromkeys(row[0].kind for row in rows):
            print(_line(f"  {kind}", [row for row in rows if row[0].kind == kind]))
    if "--misses" in options:
        for query, _, five, _ in rows:
            if five < 1:
                print(f"  missed [{query.kind}] {query.text[:100]}")


if __name__ == "__main__":
    main(sys.argv[1:])
