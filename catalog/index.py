"""Finding the right tool: postings find candidates, rapidfuzz repairs words and reranks; pure and deterministic."""

import heapq
import itertools
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz, process

from catalog import lexicon, postings, reading, text

CANDIDATES = 200
CARRIED = 600
COMMON_SHARE = 25
COMMON_LEAST = 200
RERANKED = 40
NAME_COVERAGE = 0.43
QUERY_COVERAGE = 1.2
FUZZY = 0.5
ACTION_MATCH = 0.06
ACTION_CLASH = 0.1
ADJACENT = 0.4
SAME_FORM = 0.25
FRAGMENT = 0.3
SHORTEST_FRAGMENT = 4
LONGEST_FRAGMENT = 40
MOST_FRAGMENTS = 60
ALIKE_FROM = 70


@dataclass(frozen=True, slots=True)
class Hit:
    """One tool that answers a query, by its position in the entries the index was built of."""

    tool: int
    score: float
    why: str


class Index:
    """An immutable index; `search` may run in any thread."""

    def __init__(self, entries: Sequence[postings.Entry], words: lexicon.Lexicon) -> None:
        self._postings = postings.build(entries)
        self._words = words
        self._reader = reading.Reader(self._postings, words)
        self._exact: dict[str, list[int]] = {}
        for tool, names in enumerate(self._postings.names):
            for form in {names.glued, names.glued_full}:
                self._exact.setdefault(form, []).append(tool)
        self._actions = [_action(names.name, words) for names in self._postings.names]
        self._scroll = "\n".join(names.glued_full for names in self._postings.names)
        self._starts = list(
            itertools.accumulate(
                (len(names.glued_full) + 1 for names in self._postings.names), initial=0
            )
        )

    def __len__(self) -> int:
        return len(self._postings.names)

    def search(
        self, query: str, limit: int = 8, allow: Callable[[int], bool] | None = None
    ) -> list[Hit]:
        question = self._reader.read(query)
        scores = self._score(question.groups)
        self._add_fragments(query, scores)
        exact = self._named(query)
        if allow is not None:
            scores = {tool: score for tool, score in scores.items() if allow(tool)}
            exact = [tool for tool in exact if allow(tool)]
        best = heapq.nlargest(CANDIDATES, scores, key=scores.__getitem__)
        ranked = self._rerank(question, self._covered(question, best, scores))
        place = {tool: score for score, tool in ranked}
        exact.sort(key=lambda tool: (-place.get(tool, 0.0), tool))
        ordered = [*exact, *(tool for _, tool in ranked if tool not in set(exact))][:limit]
        return [
            Hit(
                tool,
                place.get(tool, 0.0),
                "exact name" if tool in exact else self._why(question, tool),
            )
            for tool in ordered
        ]

    def _score(self, groups: Sequence[reading.Group]) -> dict[int, float]:
        """What each tool gets for the words it answers; the rarest word first.

        A word that many tools answer cannot bring up a tool that the rarer words left far behind,
        so from there on only the best so far are carried along.
        """
        scores: dict[int, float] = {}
        common = max(COMMON_LEAST, len(self) // COMMON_SHARE)
        closed = False
        for group in sorted(groups, key=lambda group: -group.mass):
            if not closed and len(scores) > CARRIED:
                shared = max(len(self._postings.tools[number]) for number, _ in group.terms)
                closed = shared > common
                if closed:
                    best = heapq.nlargest(CARRIED, scores, key=scores.__getitem__)
                    scores = {tool: scores[tool] for tool in best}
            if closed:
                self._add_to(scores, group)
            elif scores:
                get = scores.get
                for tool, score in self._answered(group).items():
                    scores[tool] = get(tool, 0.0) + score
            else:
                scores = self._answered(group)
        return scores

    def _answered(self, group: reading.Group) -> dict[int, float]:
        """Every tool that answers the group, by the best of its terms."""
        held = self._postings
        number, weight = group.terms[0]
        impacts = map((weight * group.weight).__mul__, held.impacts[number])
        answered = dict(zip(held.tools[number], impacts, strict=True))
        for number, weight in group.terms[1:]:
            weight *= group.weight
            known = answered.get
            for tool, impact in zip(held.tools[number], held.impacts[number], strict=True):
                score = weight * impact
                if score > known(tool, 0.0):
                    answered[tool] = score
        return answered

    def _add_to(self, scores: dict[int, float], group: reading.Group) -> None:
        """The same for the tools that are carried along only."""
        held = self._postings
        best: dict[int, float] = {}
        for number, weight in group.terms:
            impacts = dict(zip(held.tools[number], held.impacts[number], strict=True))
            for tool in scores.keys() & impacts.keys():
                score = weight * group.weight * impacts[tool]
                if score > best.get(tool, 0.0):
                    best[tool] = score
        for tool, score in best.items():
            scores[tool] += score

    def _covered(
        self, question: reading.Question, best: Sequence[int], scores: dict[int, float]
    ) -> list[tuple[float, int]]:
        """Weigh each candidate by how much of the query it answers and how much of its name was asked for."""
        whole = sum(group.mass for group in question.groups) or 1.0
        met = dict.fromkeys(best, 0.0)
        for group in question.groups:
            waiting = set(best)
            for number, weight in group.terms:
                for tool in waiting.intersection(self._postings.tools[number]):
                    met[tool] += group.mass * weight
                    waiting.discard(tool)
        covered: list[tuple[float, int]] = []
        asked = question.asked
        for tool in best:
            name = self._postings.names[tool].name
            wanted = sum([asked.get(term, 0.0) for term in name]) / (len(name) or 1)
            factor = (1 + NAME_COVERAGE * wanted) * (1 + QUERY_COVERAGE * met[tool] / whole)
            covered.append((scores[tool] * factor, tool))
        covered.sort(key=lambda pair: (-pair[0], pair[1]))
        return covered

    def _rerank(
        self, question: reading.Question, covered: list[tuple[float, int]]
    ) -> list[tuple[float, int]]:
        if not covered:
            return []
        top = covered[0][0]
        head: list[tuple[float, int]] = []
        for score, tool in covered[:RERANKED]:
            names = self._postings.names[tool]
            alike = 0.6 * fuzz.token_sort_ratio(
                question.text, names.name_text
            ) + 0.4 * fuzz.token_set_ratio(question.text, names.full_text)
            score += FUZZY * top * alike / 100
            score *= self._agreement(question, tool)
            head.append((score, tool))
        head.sort(key=lambda pair: (-pair[0], pair[1]))
        return head + covered[RERANKED:]

    def _agreement(self, question: reading.Question, tool: int) -> float:
        """More where the tool's verb is the one asked for and words stand together as they did in the query."""
        factor = 1.0 + SAME_FORM * self._postings.forms.agreement(question.forms, tool)
        mine = self._actions[tool]
        if question.actions and mine:
            factor += ACTION_MATCH if mine & question.actions else -ACTION_CLASH
        if question.pairs:
            sequence = self._postings.sequences[tool]
            neighbours = set(itertools.pairwise(sequence))
            together = sum(pair in neighbours for pair in question.pairs)
            factor += ADJACENT * together / len(question.pairs)
        return factor

    def _named(self, query: str) -> list[int]:
        """The tools that the query names exactly, however it is spelt or qualified."""
        glued = text.glue(query)
        named = list(self._exact.get(glued, ()))
        if glued.startswith("mcp"):
            named += self._exact.get(glued.removeprefix("mcp"), ())
        return list(dict.fromkeys(named))

    def _add_fragments(self, query: str, scores: dict[int, float]) -> None:
        """Lift tools whose glued name holds the glued query; with no candidates at all, the most alike names."""
        glued = text.glue(query)
        if not SHORTEST_FRAGMENT <= len(glued) <= LONGEST_FRAGMENT:
            return
        top = max(scores.values(), default=1.0)
        holding = self._holding(glued)
        for tool in holding:
            scores[tool] = scores.get(tool, 0.0) + FRAGMENT * top
        if not scores:
            near = process.extract(
                glued,
                self._scroll.split("\n"),
                scorer=fuzz.partial_ratio,
                score_cutoff=ALIKE_FROM,
                limit=RERANKED,
            )
            scores.update({tool: alike / 100 for _, alike, tool in near})

    def _holding(self, glued: str) -> list[int]:
        found: list[int] = []
        place = self._scroll.find(glued)
        while place >= 0 and len(found) <= MOST_FRAGMENTS:
            tool = bisect_right(self._starts, place) - 1
            found.append(tool)
            place = self._scroll.find(glued, self._starts[tool + 1])
        return found if len(found) <= MOST_FRAGMENTS else []

    def _why(self, question: reading.Question, tool: int) -> str:
        """The words of the query that this tool answers, without its verbs, which many tools answer."""
        met: list[str] = []
        for group in question.groups:
            if not group.said or text.stem(group.said) in self._words.actions:
                continue
            for number, _ in group.terms:
                if self._postings.holds(number, tool):
                    met.append(group.said)
                    break
        return " ".join(dict.fromkeys(met))


def _action(name: Sequence[str], words: lexicon.Lexicon) -> frozenset[str]:
    """The kind of the first verb in a tool's name."""
    for term in name:
        kinds = words.actions.get(term)
        if kinds:
            return kinds
    return frozenset()
