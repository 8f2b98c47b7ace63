"""Reading a query: known words, repaired ones, and what else they may stand for; pure."""

import itertools
import math
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rapidfuzz import process
from rapidfuzz.distance import DamerauLevenshtein, JaroWinkler

from catalog import lexicon, text
from catalog.postings import Postings

REPAIR_FROM = 0.70
REPAIRED = 1.0
COMPLETED = 0.7
SPLIT = 0.9
GLUED = 0.35
MOST_REPAIRS = 4
MOST_COMPLETIONS = 12
# Scanning the vocabulary for one unknown word costs about a millisecond at ten thousand tools.
MOST_UNKNOWN = 8
MOST_WORDS = 60


_ADDRESS = re.compile(r"https?://\S+|www\.\S+")
_SUM = re.compile(r"\d\s*(?:[+*^\u00d7\u00f7]|\*\*)\s*\d")
_CONTRACTED = re.compile(r"(?<=\w)['\u2019](?:s|t|m|d|ll|ve|re)\b")
_PATH = re.compile(r"(?<![\w:])(?:~|\.{1,2})?/[\w.-]+(?:/[\w.-]+)+\.?(\w+)?")


def _plain(query: str) -> str:
    """Addresses, paths and sums say what kind of thing is meant; their own words only mislead."""
    query = _CONTRACTED.sub("", query)
    if not _SUM.search(query) and "/" not in query:
        return query
    query = _SUM.sub(r" calculate \g<0>", query, count=1)
    return _PATH.sub(_path_words, _ADDRESS.sub(" url ", query))


def _path_words(path: re.Match[str]) -> str:
    ending = path[0].rpartition("/")[2].partition(".")[2]
    return f" file {ending} " if ending else " path "


@dataclass(frozen=True, slots=True)
class Group:
    """One thing asked for: the terms that would answer it, each with a weight; the best one counts."""

    said: str
    terms: tuple[tuple[int, float], ...]
    weight: float
    mass: float


@dataclass(frozen=True, slots=True)
class Question:
    """A query as the index understands it."""

    text: str
    groups: tuple[Group, ...]
    asked: dict[str, float]
    pairs: frozenset[tuple[int, int]]
    actions: frozenset[str]
    unknown: tuple[str, ...]
    forms: dict[int, float]


class Reader:
    """Turns queries into questions over one vocabulary."""

    def __init__(self, held: Postings, words: lexicon.Lexicon) -> None:
        self._held = held
        self._words = words
        self._sorted = sorted(held.vocabulary)
        self._by_length: dict[int, list[str]] = {}
        for term in self._sorted:
            if term.isalpha():
                self._by_length.setdefault(len(term), []).append(term)
        self._scroll = "\n".join(self._sorted)

    def read(self, query: str) -> Question:
        plain = list(text.words(_plain(query)))[:MOST_WORDS]
        kept = [word for word in plain if word not in text.STOP_WORDS] or plain
        stems = [text.stem(word) for word in kept]
        unique = list(dict.fromkeys(stems))
        asked: dict[str, float] = {}
        groups: list[Group] = []
        unknown: list[str] = []
        said = dict(zip(reversed(stems), reversed(kept), strict=True))
        for term in unique:
            options = self._options(term, unknown, asked)
            if options:
                groups.append(self._group(said[term], options, 1.0))
            groups += self._spelt_out(said[term], term, asked)
        groups += self._phrases(plain, asked)
        groups += self._glued(stems)
        numbers = [self._held.vocabulary.get(term) for term in stems]
        pairs = frozenset(
            (first, second)
            for first, second in itertools.pairwise(numbers)
            if first is not None and second is not None
        )
        actions: frozenset[str] = frozenset()
        for term in stems[:4]:
            actions = self._words.actions.get(term, frozenset())
            if actions:
                break
        forms = self._forms(plain)
        return Question(" ".join(kept), tuple(groups), asked, pairs, actions, tuple(unknown), forms)

    def _forms(self, plain: Sequence[str]) -> dict[int, float]:
        """The words just as they were typed, each with its share of what was asked."""
        forms = self._held.forms
        found = [forms.numbers.get(word) for word in plain]
        lacking = math.log(1 + 2 * len(forms.said) + 1)
        shares = [lacking if number is None else forms.rarity[number] for number in found]
        whole = sum(shares) or 1.0
        asked: dict[int, float] = {}
        for number, share in zip(found, shares, strict=True):
            if number is not None:
                asked[number] = asked.get(number, 0.0) + share / whole
        return asked

    def _group(self, said: str, options: dict[int, float], weight: float) -> Group:
        ordered = tuple(sorted(options.items(), key=lambda pair: (-pair[1], pair[0])))
        return Group(said, ordered, weight, weight * max(self._held.rarity[ordered[0][0]], 0.1))

    def _options(self, term: str, unknown: list[str], asked: dict[str, float]) -> dict[int, float]:
        forms = {term: 1.0}
        for meant in self._words.readings.get(term, ()):
            if len(meant) == 1:
                forms[meant[0]] = lexicon.READ_AS
        for other in self._words.synonyms.get(term, ()):
            forms.setdefault(other, lexicon.SYNONYM)
        if term not in self._held.vocabulary:
            unknown.append(term)
            if (
                len(unknown) <= MOST_UNKNOWN
                and len(forms) == 1
                and term not in self._words.readings
            ):
                forms.update(self._repairs(term))
        options: dict[int, float] = {}
        for form, weight in forms.items():
            asked[form] = max(asked.get(form, 0.0), weight)
            number = self._held.number_of(form)
            if number is not None:
                options[number] = max(options.get(number, 0.0), weight)
        return options

    def _spelt_out(self, said: str, term: str, asked: dict[str, float]) -> Iterator[Group]:
        """What an abbreviation of several words stands for, word by word."""
        for meant in self._words.readings.get(term, ()):
            if len(meant) > 1:
                for other in meant:
                    number = self._held.number_of(other)
                    if number is not None:
                        asked[other] = max(asked.get(other, 0.0), lexicon.READ_AS)
                        yield self._group(said, {number: 1.0}, lexicon.SPELT_OUT)

    def _repairs(self, term: str) -> dict[str, float]:
        """The nearest words of the vocabulary to one that it lacks."""
        if len(term) < 3 or not term.isalpha():
            return dict.fromkeys(self._longer(term), COMPLETED)
        near: dict[str, float] = {}
        for length in range(max(len(term) - 2, 2), len(term) + 3):
            for word, alike, _ in process.extract(
                term,
                self._by_length.get(length, ()),
                scorer=DamerauLevenshtein.normalized_similarity,
                score_cutoff=REPAIR_FROM,
                limit=MOST_REPAIRS,
            ):
                near[word] = REPAIRED * alike * alike
        found = dict(sorted(near.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST_REPAIRS])
        for word in self._longer(term):
            found[word] = max(found.get(word, 0.0), COMPLETED)
        if not found:
            found = dict.fromkeys(self._split(term), SPLIT)
        if not found:
            found = {
                word: 0.5 * alike
                for word, alike, _ in process.extract(
                    term,
                    self._sorted,
                    scorer=JaroWinkler.normalized_similarity,
                    score_cutoff=0.88,
                    limit=MOST_REPAIRS,
                )
            }
        return found

    def _longer(self, term: str) -> list[str]:
        """Words that begin with this one."""
        if len(term) < 3:
            return []
        place = bisect_left(self._sorted, term)
        found: list[str] = []
        while place < len(self._sorted) and self._sorted[place].startswith(term):
            found.append(self._sorted[place])
            place += 1
            if len(found) == MOST_COMPLETIONS:
                break
        return found

    def _split(self, term: str) -> list[str]:
        """The parts of a glued word, where each is known."""
        for cut in range(len(term) - 3, 2, -1):
            left, right = text.stem(term[:cut]), text.stem(term[cut:])
            if left in self._held.vocabulary and right in self._held.vocabulary:
                return [left, right]
        return []

    def _phrases(self, plain: Sequence[str], asked: dict[str, float]) -> Iterator[Group]:
        stems = [text.stem(word) for word in plain]
        for size in range(2, self._words.longest_phrase + 1):
            for start in range(len(plain) - size + 1):
                meant = self._words.phrases.get(tuple(stems[start : start + size]))
                for term in meant or ():
                    number = self._held.number_of(term)
                    if number is not None:
                        asked[term] = max(asked.get(term, 0.0), lexicon.PHRASE)
                        yield self._group(
                            " ".join(plain[start : start + size]), {number: 1.0}, lexicon.PHRASE
                        )

    def _glued(self, stems: Sequence[str]) -> Iterator[Group]:
        for first, second in itertools.pairwise(stems):
            number = self._held.number_of(first + second)
            if number is not None:
                yield self._group("", {number: 1.0}, GLUED)
