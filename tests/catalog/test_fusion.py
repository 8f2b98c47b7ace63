"""Ranking by meaning, and joining it with the ranking by words."""

import math
import random

from catalog import fusion
from catalog.fusion import Ranking, Vectors
from catalog.index import Hit


def unit(numbers: random.Random, size: int) -> list[float]:
    vector = [numbers.gauss(0, 1) for _ in range(size)]
    length = math.hypot(*vector)
    return [value / length for value in vector]


def test_the_scan_by_signs_finds_what_the_full_scan_finds() -> None:
    numbers = random.Random(7)
    vectors = [unit(numbers, 64) for _ in range(1_500)]
    found = Vectors(vectors)
    for _ in range(20):
        query = vectors[numbers.randrange(len(vectors))]
        query = [value + numbers.gauss(0, 0.05) for value in query]
        full = max(
            range(len(vectors)), key=lambda place: sum(map(float.__mul__, query, vectors[place]))
        )
        assert next(iter(found.nearest(query).cosine)) == full


def test_tools_without_a_vector_and_queries_of_another_size_are_no_error() -> None:
    vectors = Vectors([[1.0, 0.0], None, [0.0, 1.0]])
    assert set(vectors.nearest([1.0, 0.0]).cosine) == {0, 2}
    assert vectors.nearest([1.0]).cosine == {}
    assert Vectors([None]).nearest([]).cosine == {}


def test_both_rankings_count_and_an_exact_name_stays_first() -> None:
    hits = [Hit(4, 9.0, "exact name"), Hit(1, 10.0, "words"), Hit(2, 5.0, "words")]
    joined = fusion.fuse("something said in words", hits, Ranking({3: 0.9, 2: 0.9, 1: 0.1}))
    assert [hit.tool for hit in joined] == [4, 2, 3, 1]
    assert joined[2].why == "similar meaning"


def test_a_filter_holds_for_what_only_the_meaning_found() -> None:
    joined = fusion.fuse(
        "words", [Hit(1, 1.0, "")], Ranking({1: 0.5, 2: 0.9}), lambda tool: tool != 2
    )
    assert [hit.tool for hit in joined] == [1]
