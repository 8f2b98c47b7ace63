"""The snapshot with its index: find tools, resolve ids, say what was probably meant."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz, process

from catalog import fusion, lexicon, text
from catalog.errors import UnknownServer, UnknownTool
from catalog.index import Index
from catalog.model import SEPARATOR, Snapshot, Tool
from catalog.postings import Entry

NEAREST = 3
ALIKE_FROM = 55
FUSED = 100


@dataclass(frozen=True, slots=True)
class Match:
    """One tool that was found."""

    tool: Tool
    score: float
    why: str


class Library:
    """Immutable; building one reads every tool once, so build it in a worker thread."""

    def __init__(self, snapshot: Snapshot, words: lexicon.Lexicon | None = None) -> None:
        self.snapshot = snapshot
        self.tools: tuple[Tool, ...] = tuple(snapshot.tools())
        about = {
            name: " ".join(filter(None, (server.title, server.instructions[:300])))
            for name, server in snapshot.servers.items()
        }
        self._index = Index(
            [_entry(tool, about.get(tool.server, "")) for tool in self.tools],
            words or lexicon.load(),
        )
        self._by_id = {tool.tool_id: place for place, tool in enumerate(self.tools)}
        self._forms: dict[str, list[int]] = {}
        for place, tool in enumerate(self.tools):
            for form in _forms(tool):
                self._forms.setdefault(form, []).append(place)

    def search(
        self,
        query: str,
        limit: int,
        allow: Callable[[Tool], bool] | None = None,
        meaning: fusion.Ranking | None = None,
    ) -> list[Match]:
        """The best tools first; with `meaning`, an embedding's ranking is fused in."""
        allowed = None if allow is None else lambda place: allow(self.tools[place])
        hits = self._index.search(query, FUSED if meaning else limit, allowed)
        if meaning:
            hits = fusion.fuse(query, hits, meaning, allowed)[:limit]
        return [Match(self.tools[hit.tool], hit.score, hit.why) for hit in hits]

    def resolve(self, tool_id: str) -> Tool:
        """The one tool meant by `server:tool`, `server.tool`, `mcp__server__tool` or a name of its own.

        `UnknownTool` names the nearest ones otherwise.
        """
        place = self._by_id.get(tool_id)
        if place is not None:
            return self.tools[place]
        places = self._forms.get(tool_id, [])
        if len(places) == 1:
            return self.tools[places[0]]
        if places:
            raise UnknownTool(tool_id, [self.tools[one].tool_id for one in places[:NEAREST]])
        raise UnknownTool(tool_id, self.nearest(tool_id))

    def nearest(self, tool_id: str) -> list[str]:
        """Ids of tools with names most like this one."""
        found = process.extract(
            text.fold(tool_id),
            [tool.tool_id.lower() for tool in self.tools],
            scorer=fuzz.ratio,
            score_cutoff=ALIKE_FROM,
            limit=NEAREST,
        )
        return [self.tools[place].tool_id for _, _, place in found]

    def server(self, name: str, known: Iterable[str] = ()) -> str:
        """The server of this name in any case; `UnknownServer` names the nearest otherwise."""
        names = {*self.snapshot.servers, *known}
        if name in names:
            return name
        same = [one for one in names if one.lower() == name.lower()]
        if len(same) == 1:
            return same[0]
        raise UnknownServer(name, similar(name, sorted(names)))


def similar(name: str, names: Sequence[str]) -> list[str]:
    """The few of these names that are most like this one."""
    found = process.extract(
        name, names, scorer=fuzz.ratio, processor=str.lower, score_cutoff=ALIKE_FROM, limit=NEAREST
    )
    return [one for one, _, _ in found]


def _entry(tool: Tool, about: str) -> Entry:
    parameters = tuple((one.name, one.description) for one in tool.parameters())
    return Entry(tool.server, tool.name, tool.title, tool.description, parameters, about)


def _forms(tool: Tool) -> set[str]:
    server, name = tool.server, tool.name
    return {
        f"{server}.{name}",
        f"{server}/{name}",
        f"{server}__{name}",
        f"mcp__{server}__{name}",
        name,
        tool.tool_id.lower().replace(SEPARATOR, ".")
        if tool.tool_id.lower() != tool.tool_id
        else "",
    } - {""}
