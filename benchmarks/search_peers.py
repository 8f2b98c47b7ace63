"""Other ways to search the same catalog, each as its users would set it up."""

import math
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence

import httpx2
from rapidfuzz import fuzz, process

from catalog import fusion, lexicon
from catalog.index import Index
from catalog.postings import Entry

Search = Callable[[str, int], list[int]]
Engine = Callable[[Sequence[Entry]], Search]

_PARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[_\-./]")


def ours(entries: Sequence[Entry]) -> Search:
    index = Index(entries, lexicon.load())
    return lambda query, limit: [hit.tool for hit in index.search(query, limit)]


def ours_with_meaning(url: str, model: str) -> Engine:
    """The same with a ranking by meaning from an embeddings address fused in."""
    known: dict[str, list[float]] = {}

    def embed(texts: Sequence[str]) -> list[list[float]]:
        missing = [one for one in dict.fromkeys(texts) if one not in known]
        with httpx2.Client(timeout=120.0) as http:
            for start in range(0, len(missing), 64):
                batch = missing[start : start + 64]
                answer = http.post(url, json={"model": model, "input": batch})
                for text, row in zip(batch, answer.json()["data"], strict=True):
                    known[text] = row["embedding"]
        return [known[one] for one in texts]

    def engine(entries: Sequence[Entry]) -> Search:
        index = Index(entries, lexicon.load())
        vectors = fusion.Vectors(embed([_described(one) for one in entries]))

        def search(query: str, limit: int) -> list[int]:
            meaning = vectors.nearest(embed([query])[0])
            hits = fusion.fuse(query, index.search(query, 100), meaning)
            return [hit.tool for hit in hits[:limit]]

        return search

    return engine


def _described(entry: Entry) -> str:
    names = " ".join(name for name, _ in entry.parameters)
    name = re.sub(r"[_-]", " ", entry.name)
    return f"{entry.server}: {name}. {entry.title} {entry.description[:500]} {names}"[:700]


def ours_without_words(entries: Sequence[Entry]) -> Search:
    index = Index(entries, lexicon.EMPTY)
    return lambda query, limit: [hit.tool for hit in index.search(query, limit)]


def naive_rapidfuzz(entries: Sequence[Entry]) -> Search:
    """`WRatio` over name and description, as it is done first by everyone."""
    texts = [f"{one.name} {one.description}".lower() for one in entries]

    def search(query: str, limit: int) -> list[int]:
        found = process.extract(query.lower(), texts, scorer=fuzz.WRatio, limit=limit)
        return [place for _, _, place in found]

    return search


def plain_bm25(entries: Sequence[Entry]) -> Search:
    """Okapi, k1 1.5 and b 0.75, over lower-case words of everything."""
    documents = [Counter(re.findall(r"\w+", _all(one).lower())) for one in entries]
    average = sum(document.total() for document in documents) / (len(documents) or 1)
    held: dict[str, list[tuple[int, int]]] = {}
    for place, document in enumerate(documents):
        for word, count in document.items():
            held.setdefault(word, []).append((place, count))

    def search(query: str, limit: int) -> list[int]:
        scores: Counter[int] = Counter()
        for word in re.findall(r"\w+", query.lower()):
            having = held.get(word, [])
            rare = math.log(1 + (len(documents) - len(having) + 0.5) / (len(having) + 0.5))
            for place, count in having:
                length = 0.25 + 0.75 * documents[place].total() / average
                scores[place] += rare * count * 2.5 / (count + 1.5 * length)  # type: ignore[assignment]
        return [place for place, _ in scores.most_common(limit)]

    return search


def sqlite_fts5(entries: Sequence[Entry]) -> Search:
    """FTS5 with the porter tokenizer, names weighing four times a description."""
    database = sqlite3.connect(":memory:")
    database.execute("create virtual table t using fts5(n, s, d, p, tokenize='porter unicode61')")
    database.executemany(
        "insert into t values (?, ?, ?, ?)",
        [
            (
                _PARTS.sub(" ", one.name),
                _PARTS.sub(" ", one.server),
                one.description,
                " ".join(_PARTS.sub(" ", name) for name, _ in one.parameters),
            )
            for one in entries
        ],
    )

    def search(query: str, limit: int) -> list[int]:
        words = re.findall(r"\w+", query.lower())
        if not words:
            return []
        match = " OR ".join(f'"{word}"' for word in words)
        rows = database.execute(
            "select rowid from t where t match ? order by bm25(t, 4, 3, 1, 1) limit ?",
            (match, limit),
        )
        return [int(row[0]) - 1 for row in rows]

    return search


def fastmcp_transform(entries: Sequence[Entry]) -> Search:
    """The scorer inside fastmcp's BM25 search transform, given the text that the transform gives it."""
    from fastmcp.server.transforms.search import bm25  # noqa: PLC0415 (slow to import, wanted here only)

    index = bm25._BM25Index()
    index.build([_all(one) for one in entries])
    return index.query


def _all(entry: Entry) -> str:
    parts = [f"{entry.server}_{entry.name}", entry.description]
    for name, text in entry.parameters:
        parts += [name, text]
    return " ".join(part for part in parts if part)


ENGINES: dict[str, Engine] = {
    "naive rapidfuzz": naive_rapidfuzz,
    "plain BM25": plain_bm25,
    "SQLite FTS5": sqlite_fts5,
    "fastmcp transform": fastmcp_transform,
    "ours, no lexicon": ours_without_words,
    "ours": ours,
}
