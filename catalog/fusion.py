"""Joining the ranking by words with a ranking by meaning; pure."""

import heapq
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from catalog.index import Hit

# One or two words, or something that looks like an identifier, are better answered by their letters.
MEANING = 0.65
MEANING_OF_A_NAME = 0.4
_NAME_LIKE = re.compile(r"^\S+(?:\s\S+)?$|\w[_.:/]\w|[a-z][A-Z]")

SCANNED = 240
KEPT = 100


@dataclass(frozen=True, slots=True)
class Ranking:
    """Tools by how near their meaning is, with the cosine."""

    cosine: dict[int, float]


def fuse(
    query: str,
    hits: Sequence[Hit],
    meaning: Ranking,
    allow: Callable[[int], bool] | None = None,
) -> list[Hit]:
    """A linear mix of both scores, each relative to its best; exact names stay first."""
    exact = [hit for hit in hits if hit.why == "exact name"]
    share = MEANING_OF_A_NAME if _NAME_LIKE.search(query.strip()) else MEANING
    best_word = max((hit.score for hit in hits), default=0.0) or 1.0
    best_meaning = max(meaning.cosine.values(), default=0.0) or 1.0
    words = {hit.tool: hit for hit in hits}
    mixed = []
    for tool in {*words, *meaning.cosine}:
        if allow is not None and tool not in words and not allow(tool):
            continue
        hit = words.get(tool)
        by_words = hit.score / best_word if hit else 0.0
        by_meaning = meaning.cosine.get(tool, 0.0) / best_meaning
        score = (1 - share) * by_words + share * by_meaning
        mixed.append(Hit(tool, score, hit.why if hit and hit.why else "similar meaning"))
    mixed.sort(key=lambda hit: (-hit.score, hit.tool))
    named = {hit.tool for hit in exact}
    return [*exact, *(hit for hit in mixed if hit.tool not in named)]


class Vectors:
    """Unit vectors of every tool, searched without an array library.

    A first pass compares one sign bit a dimension over all tools (an XOR and a bit count each),
    a second computes the true cosine of the few hundred nearest: within a thousandth of the
    full scan's recall, at a fiftieth of its time.
    """

    def __init__(self, vectors: Sequence[Sequence[float] | None]) -> None:
        present = [vector for vector in vectors if vector]
        size = len(present[0]) if present else 0
        self._mean = [sum(column) / len(present) for column in zip(*present, strict=True)]
        self._vectors = [vector if vector and len(vector) == size else None for vector in vectors]
        self._signs = [
            (place, self._sign(vector)) for place, vector in enumerate(self._vectors) if vector
        ]

    def __len__(self) -> int:
        return len(self._signs)

    def nearest(self, query: Sequence[float]) -> Ranking:
        if len(query) != len(self._mean):
            return Ranking({})
        mine = self._sign(query)
        near = heapq.nsmallest(
            SCANNED, ((mine ^ sign).bit_count() * 1_000_000 + place for place, sign in self._signs)
        )
        cosine: dict[int, float] = {}
        for mixed in near:
            place = mixed % 1_000_000
            vector = self._vectors[place]
            if vector is not None:
                cosine[place] = sum(map(operator.mul, query, vector))
        kept = heapq.nlargest(KEPT, cosine.items(), key=lambda pair: (pair[1], -pair[0]))
        return Ranking(dict(kept))

    def _sign(self, vector: Sequence[float]) -> int:
        bits = 0
        for value, mean in zip(vector, self._mean, strict=True):
            bits = bits << 1 | (value > mean)
        return bits
