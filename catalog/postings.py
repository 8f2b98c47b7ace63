"""Field-weighted BM25 postings over tools: built once, then only read; pure."""

from __future__ import annotations

import itertools
import math
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from catalog import text


@dataclass(frozen=True, slots=True)
class Entry:
    """What the index knows of one tool."""

    server: str
    name: str
    title: str = ""
    description: str = ""
    parameters: tuple[tuple[str, str], ...] = ()
    server_text: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """How much a field says, and how much its length takes away."""

    weight: float
    length_penalty: float
    most_terms: int = 200


# Found on the tuning half of the open query sets; docs/tool-search.md has the table.
NAME = Field(1.3, 0.75)
SERVER = Field(1.8, 0.45)
PARAMETER = Field(0.9, 0.5)
DESCRIPTION = Field(1.0, 0.3)
PARAMETER_TEXT = Field(0.15, 0.45)
SERVER_TEXT = Field(0.2, 0.5)
FIELDS = (NAME, SERVER, PARAMETER, DESCRIPTION, PARAMETER_TEXT, SERVER_TEXT)
SATURATION = 1.2


@dataclass(frozen=True, slots=True)
class Names:
    """The identifiers of one tool in the forms that a query is compared with."""

    name: tuple[str, ...]
    server: tuple[str, ...]
    name_text: str
    full_text: str
    glued: str
    glued_full: str


@dataclass(frozen=True, slots=True)
class Forms:
    """Which unstemmed words each tool says: `list` and `lists` lead to the same tools, but not equally."""

    numbers: dict[str, int]
    rarity: list[float]
    said: list[array[int]]
    lengths: array[float]

    def agreement(self, asked: dict[int, float], tool: int) -> float:
        """How much of what was asked this tool says in the very same form; short tools say it more."""
        same = sum([asked[number] for number in asked.keys() & set(self.said[tool])])
        return same * 2.5 / (1 + 1.5 * self.lengths[tool])


def _forms(spoken: list[list[str]]) -> Forms:
    numbers: dict[str, int] = {}
    counts: list[int] = []
    said: list[array[int]] = []
    total = len(spoken)
    average = sum(map(len, spoken)) / total if total else 1.0
    for words in spoken:
        mine = array("i")
        for word in dict.fromkeys(words):
            number = numbers.setdefault(word, len(numbers))
            if number == len(counts):
                counts.append(0)
            counts[number] += 1
            mine.append(number)
        said.append(mine)
    rarity = [math.log(1 + (total - count + 0.5) / (count + 0.5)) for count in counts]
    lengths = array("f", [0.25 + 0.75 * len(words) / (average or 1.0) for words in spoken])
    return Forms(numbers, rarity, said, lengths)


@dataclass(frozen=True, slots=True)
class Postings:
    """Which tools hold a term, and how much it counts in each."""

    vocabulary: dict[str, int]
    tools: list[array[int]]
    impacts: list[array[float]]
    rarity: list[float]
    names: list[Names]
    sequences: list[array[int]]
    forms: Forms

    def number_of(self, term: str) -> int | None:
        return self.vocabulary.get(term)

    def holds(self, number: int, tool: int) -> bool:
        held = self.tools[number]
        place = bisect_left(held, tool)
        return place < len(held) and held[place] == tool


def names_of(entry: Entry) -> Names:
    name = tuple(text.words(entry.name))
    server = tuple(text.words(entry.server))
    return Names(
        tuple(text.stem(word) for word in name),
        tuple(text.stem(word) for word in server),
        " ".join(name),
        " ".join((*server, *name)),
        text.glue(entry.name),
        text.glue(entry.server + entry.name),
    )


def _pairs(terms: Sequence[str]) -> list[str]:
    """Neighbours glued, so that `filesystem` finds file_system and back."""
    return [first + second for first, second in itertools.pairwise(terms)]


def _terms_of(entry: Entry, server_terms: tuple[list[str], list[str]]) -> tuple[list[str], ...]:
    name = text.terms(entry.name)
    description = text.terms(entry.description)
    if entry.title:
        description = text.terms(entry.title) + description
    parameters: list[str] = []
    explained: list[str] = []
    for parameter, meaning in entry.parameters:
        parameters += text.terms(parameter)
        if meaning:
            explained += text.terms(meaning)
    return (name, server_terms[0], parameters, description, explained, server_terms[1])


def build(entries: Iterable[Entry]) -> Postings:
    """Read every tool once for its terms, then weigh them by the average field lengths."""
    names: list[Names] = []
    counted: list[tuple[Counter[str], ...]] = []
    glued: list[list[str]] = []
    lengths = [0] * len(FIELDS)
    sequences: list[list[str]] = []
    spoken: list[list[str]] = []
    per_server: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
    for entry in entries:
        key = (entry.server, entry.server_text)
        if key not in per_server:
            per_server[key] = (text.terms(entry.server), text.terms(entry.server_text))
        fields = _terms_of(entry, per_server[key])
        names.append(names_of(entry))
        said = f"{entry.server} {entry.name} {entry.title} {entry.description}"
        spoken.append(list(text.words(said)))
        glued.append(_pairs(fields[0]) + _pairs(fields[1]))
        sequences.append([*fields[1], *fields[0], *fields[3][:60]])
        counted.append(
            tuple(
                Counter(terms[: field.most_terms])
                for field, terms in zip(FIELDS, fields, strict=True)
            )
        )
        for position, (field, terms) in enumerate(zip(FIELDS, fields, strict=True)):
            lengths[position] += min(len(terms), field.most_terms)
    return _weigh(names, counted, glued, sequences, lengths, _forms(spoken))


def _weigh(
    names: list[Names],
    counted: list[tuple[Counter[str], ...]],
    glued: list[list[str]],
    sequences: list[list[str]],
    lengths: list[int],
    forms: Forms,
) -> Postings:
    total = len(counted)
    averages = [max(length / total, 1.0) if total else 1.0 for length in lengths]
    vocabulary: dict[str, int] = {}
    tools: list[array[int]] = []
    weights: list[array[float]] = []
    for tool, fields in enumerate(counted):
        for term, weight in _weighted(fields, glued[tool], averages).items():
            number = vocabulary.setdefault(term, len(vocabulary))
            if number == len(tools):
                tools.append(array("i"))
                weights.append(array("f"))
            tools[number].append(tool)
            weights[number].append(weight)
    rarity = [math.log(1 + (total - len(held) + 0.5) / (len(held) + 0.5)) for held in tools]
    impacts = [
        array("f", [rare * weight * (SATURATION + 1) / (SATURATION + weight) for weight in held])
        for rare, held in zip(rarity, weights, strict=True)
    ]
    numbered = [
        array("i", [vocabulary[term] for term in terms if term in vocabulary])
        for terms in sequences
    ]
    return Postings(vocabulary, tools, impacts, rarity, names, numbered, forms)


def _weighted(
    fields: tuple[Counter[str], ...], glued: list[str], averages: list[float]
) -> dict[str, float]:
    weighted: dict[str, float] = {}
    for field, counts, average in zip(FIELDS, fields, averages, strict=True):
        if not counts:
            continue
        penalty = field.length_penalty
        scale = field.weight / (1 - penalty + penalty * counts.total() / average)
        for term, count in counts.items():
            weighted[term] = weighted.get(term, 0.0) + scale * count
    for term in glued:
        weighted.setdefault(term, NAME.weight)
    return weighted
