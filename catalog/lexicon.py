"""Synonyms, abbreviations and everyday phrases: read from data, looked up by stem."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from catalog import text

SYNONYM = 0.35
READ_AS = 0.85
SPELT_OUT = 0.6
PHRASE = 0.6


@dataclass(frozen=True, slots=True)
class Lexicon:
    """What else a word, or a run of words, may stand for."""

    synonyms: Mapping[str, tuple[str, ...]]
    readings: Mapping[str, tuple[tuple[str, ...], ...]]
    phrases: Mapping[tuple[str, ...], tuple[str, ...]]
    longest_phrase: int
    actions: Mapping[str, frozenset[str]]


EMPTY = Lexicon({}, {}, {}, 0, {})


def parse(lines: Iterable[str]) -> Lexicon:
    """Read the lines of a lexicon file; the file's head explains its forms."""
    synonyms: dict[str, dict[str, None]] = {}
    readings: dict[str, list[tuple[str, ...]]] = {}
    phrases: dict[tuple[str, ...], dict[str, None]] = {}
    actions: dict[str, set[str]] = {}
    for raw in lines:
        line = raw.partition("#")[0].strip()
        if line.startswith("!"):
            name, _, members = line[1:].partition(":")
            for member in members.split():
                actions.setdefault(text.stem(member), set()).add(name.strip())
        elif ">>" in line:
            _kinds(line, synonyms)
        elif ">" in line:
            _one_way(line, readings, phrases)
        elif line:
            _both_ways(line, synonyms)
    return Lexicon(
        {word: tuple(others) for word, others in synonyms.items()},
        {word: tuple(forms) for word, forms in readings.items()},
        {phrase: tuple(meant) for phrase, meant in phrases.items()},
        max((len(phrase) for phrase in phrases), default=0),
        {word: frozenset(names) for word, names in actions.items()},
    )


def _both_ways(line: str, synonyms: dict[str, dict[str, None]]) -> None:
    group = [text.stem(word) for word in line.split()]
    for word in group:
        others = synonyms.setdefault(word, {})
        others.update(dict.fromkeys(other for other in group if other != word))


def _kinds(line: str, synonyms: dict[str, dict[str, None]]) -> None:
    left, _, right = line.partition(">>")
    meant = dict.fromkeys(text.stem(word) for word in right.split())
    for word in left.replace(",", " ").split():
        synonyms.setdefault(text.stem(word), {}).update(meant)


def _one_way(
    line: str,
    readings: dict[str, list[tuple[str, ...]]],
    phrases: dict[tuple[str, ...], dict[str, None]],
) -> None:
    left, _, right = line.partition(">")
    meant = tuple(text.stem(word) for word in right.split())
    for form in left.split(","):
        said = tuple(text.stem(word) for word in form.split())
        if len(said) == 1:
            readings.setdefault(said[0], []).append(meant)
        elif said:
            phrases.setdefault(said, {}).update(dict.fromkeys(meant))


@lru_cache(maxsize=1)
def load() -> Lexicon:
    """The lexicon that comes with the package."""
    data = resources.files("catalog") / "data" / "lexicon.txt"
    return parse(data.read_text("utf-8").splitlines())
