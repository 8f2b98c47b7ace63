"""Catalogs and queries to measure search on: our own, and any that a file brings."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.postings import Entry

DATA = Path(__file__).parent / "data"
TUNE_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked, and for each need the tools that meet it, by position."""

    text: str
    kind: str
    needs: tuple[frozenset[int], ...]

    @property
    def for_tuning(self) -> bool:
        """Which half it falls into, by its own hash; weights are never looked for on the other."""
        return hashlib.sha256(self.text.encode()).digest()[0] < 256 * TUNE_SHARE


@dataclass(frozen=True, slots=True)
class SearchSet:
    """One catalog with its queries."""

    name: str
    entries: Sequence[Entry]
    queries: Sequence[Query]


def _rows(path: Path) -> list[list[str]]:
    lines = path.read_text("utf-8").splitlines()
    told = [line.partition("#")[0] for line in lines]
    return [[part.strip() for part in line.split("|")] for line in told if line.strip()]


def own() -> SearchSet:
    """The set that comes with the project; every word of it is ours."""
    entries = [
        Entry(
            server,
            name,
            "",
            text,
            tuple((one.strip(), "") for one in given.split(",") if one.strip()),
        )
        for server, name, text, given in _rows(DATA / "search_tools.txt")
    ]
    places = {f"{one.server}:{one.name}": place for place, one in enumerate(entries)}
    queries = [
        Query(text, kind, (frozenset(places[one.strip()] for one in right.split(",")),))
        for kind, text, right in _rows(DATA / "search_queries.txt")
    ]
    return SearchSet("own", entries, queries)


def from_file(path: Path) -> SearchSet:
    """A set as JSON: `tools` (server, name, description, parameters, about) and `queries` (text, kind, needs)."""
    data: dict[str, Any] = json.loads(path.read_text("utf-8"))  # Any: JSON
    entries = [
        Entry(
            tool["server"],
            tool["name"],
            tool.get("title", ""),
            tool["description"],
            tuple((name, text) for name, text in tool["parameters"]),
            tool.get("about", ""),
        )
        for tool in data["tools"]
    ]
    queries = [
        Query(one["text"], one.get("kind", ""), tuple(frozenset(need) for need in one["needs"]))
        for one in data["queries"]
    ]
    return SearchSet(data["name"], entries, queries)
