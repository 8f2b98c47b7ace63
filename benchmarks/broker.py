"""What the broker costs: `python -m benchmarks.broker [--tools N]`, over an invented catalog of that size.

Prints each figure beside its limit and exits 1 if one is broken: search CPU, the event loop's longest
pause while searching, index build, snapshot load, tokens of eight hits and of the four tools, and that
neither searching nor describing starts or lists anything.
"""

import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
from mcp import Client

from benchmarks import search_sets
from broker.service import Broker
from broker.settings import ServerSettings
from catalog import lexicon, model
from catalog.library import Library
from catalog.model import Hints, ServerSnapshot, Tool
from catalog.store import SnapshotStore
from mcp_server import broker_tools
from mcp_server.server import GatewayServer

TOOLS = 10_000
PER_SERVER = 20
LIMITS = {
    "search p50 ms": 3.0,
    "search p99 ms": 25.0,
    "longest pause of the loop ms": 20.0,
    "index build s": 3.0,
    "snapshot load s": 0.5,
    "starts by searching and describing": 0,
    "tokens of eight hits, largest": 300,
    "tokens of the four tools": 400,
}

_VERBS = "get list create update delete search export import send read write move copy merge check convert plan"
_NOUNS = (
    "invoice customer order page file folder message channel event ticket branch commit image video chart table row "
    "report metric alert server pod bucket key secret user group role policy rule route station flight hotel recipe "
    "lesson course grade patient claim shipment parcel sensor device firmware camera door lamp thermostat budget"
)
_QUALITIES = "open closed recent archived shared draft public private daily monthly failed pending"
_FILLER = "the and of for with all each by given from its when only returns into under"
VERBS, NOUNS, QUALITIES, FILLER = (words.split() for words in (_VERBS, _NOUNS, _QUALITIES, _FILLER))
_SYLLABLES = (
    "ba ce di fo gu ha ke li mo nu pa re si to vu wa xe yo za bri cla dro flo gra plo ster tra"
)


def vocabulary(numbers: random.Random) -> tuple[list[str], list[float]]:
    """Words as unevenly used as those of real descriptions: a few often, thousands rarely."""
    known = [*NOUNS, *QUALITIES, *VERBS]
    rare = {
        "".join(numbers.choices(_SYLLABLES.split(), k=numbers.randint(2, 4))) for _ in range(9_000)
    }
    words = sorted({*known, *rare})
    numbers.shuffle(words)
    return words, [1 / (rank + 8) for rank in range(len(words))]


def invented(count: int) -> Iterator[ServerSnapshot]:
    """Servers of twenty tools with descriptions as long as real ones, from a fixed seed."""
    numbers = random.Random(20_260)
    words, weights = vocabulary(numbers)
    names = [f"{verb}_{one}_{noun}" for verb in VERBS for one in QUALITIES for noun in NOUNS]
    names += [f"{verb}_{word}" for verb in VERBS for word in words[-400:]]
    numbers.shuffle(names)
    waiting = iter(names)
    for number in range(-(-count // PER_SERVER)):
        server = f"{words[-number - 1]}-{numbers.choice(NOUNS)}"
        tools = tuple(
            _tool(server, next(waiting), numbers, words, weights) for _ in range(PER_SERVER)
        )
        yield ServerSnapshot(server, tools, title=server.replace("-", " "), listed_at=time.time())


def _tool(
    server: str,
    name: str,
    numbers: random.Random,
    words: Sequence[str],
    weights: Sequence[float],
) -> Tool:
    def some(count: int) -> str:
        said = numbers.choices(words, weights, k=count)
        return " ".join(f"{numbers.choice(FILLER)} {word}" for word in said)

    description = some(numbers.randint(5, 25)).capitalize() + "."
    schema = {
        "type": "object",
        "properties": {
            f"{numbers.choices(words, weights)[0]}_id": {"type": "string", "description": some(5)}
            for _ in range(numbers.randint(1, 5))
        },
    }
    schemas = (json.dumps(schema, separators=(",", ":")), None)
    digest = model.digest(name, "", description, schemas, Hints())
    return Tool(server, name, "", description, *schemas, Hints(), digest, time.time())


def queries() -> list[str]:
    """Ours, and what an agent would write about the invented tools: typing errors too."""
    numbers = random.Random(1)
    mixed = [query.text for query in search_sets.own().queries]
    for _ in range(200):
        words = [numbers.choice(VERBS), numbers.choice(QUALITIES), numbers.choice(NOUNS)]
        if numbers.random() < 0.3:
            words[2] = words[2][:2] + words[2][3:]
        mixed.append(" ".join(words + numbers.choices(FILLER + NOUNS, k=numbers.randint(0, 8))))
    return mixed


def search_cost(library: Library, texts: Sequence[str]) -> list[float]:
    spent = []
    for text in texts:
        began = time.thread_time()
        library.search(text, 8)
        spent.append((time.thread_time() - began) * 1000)
    return sorted(spent)


async def served(folder: Path, names: Sequence[str], texts: Sequence[str]) -> dict[str, float]:
    """The same through the four tools, with a watch on the event loop."""
    servers = {name: ServerSettings(command="never-started") for name in names}
    figures: dict[str, float] = {}
    async with Broker(servers, folder, list_unknown=False) as broker:
        surface = GatewayServer("bench", version="1")
        broker_tools.register(surface, broker)
        async with Client(surface) as client:
            listed = [_wire(tool) for tool in (await client.list_tools()).tools]
            figures["tokens of the four tools"] = len(json.dumps(listed, separators=(",", ":"))) / 4
            pauses: list[float] = []
            sizes = [0]
            async with anyio.create_task_group() as group:
                group.start_soon(_watch, pauses)
                for text in texts:
                    found = await client.call_tool("search_tools", {"query": text})
                    sizes.append(sum(len(one.text) for one in found.content if one.type == "text"))
                    hits = (found.structured_content or {}).get("results", [])
                    if hits:
                        await client.call_tool("describe_tool", {"tool_ids": [hits[0]["tool_id"]]})
                group.cancel_scope.cancel()
        figures["longest pause of the loop ms"] = max(pauses, default=0.0)
        figures["tokens of eight hits, largest"] = max(sizes) / 4
        rows = broker.status()["servers"]
        figures["starts by searching and describing"] = sum(row["starts"] for row in rows)
    return figures


def _wire(tool: Any) -> Any:  # Any: an SDK model and its JSON
    return tool.model_dump(mode="json", by_alias=True, exclude_none=True)


async def _watch(pauses: list[float]) -> None:
    """How long the loop's own thread worked without letting others in."""
    while True:
        began = time.thread_time()
        await anyio.lowlevel.checkpoint()
        pauses.append((time.thread_time() - began) * 1000)


def main(arguments: Sequence[str]) -> int:
    count = int(arguments[arguments.index("--tools") + 1]) if "--tools" in arguments else TOOLS
    texts = queries()
    with tempfile.TemporaryDirectory() as state:
        store = SnapshotStore(Path(state) / "broker" / "snapshot")
        names = []
        for snapshot in invented(count):
            store.save(snapshot)
            names.append(snapshot.server)
        began = time.process_time()
        loaded = store.load()
        figures = {"snapshot load s": time.process_time() - began}
        words = lexicon.load()
        began = time.process_time()
        library = Library(loaded, words)
        figures["index build s"] = time.process_time() - began
        search_cost(library, texts[:20])
        spent = search_cost(library, texts)
        figures["search p50 ms"] = spent[len(spent) // 2]
        figures["search p99 ms"] = spent[int(len(spent) * 0.99)]
        figures |= anyio.run(served, Path(state), names, texts)
    return report(library, figures)


def report(library: Library, figures: dict[str, float]) -> int:
    schemas = (
        sum(len(one.name) + len(one.description) + len(one.input_schema) for one in library.tools)
        / 4
    )
    saved = 100 * (1 - figures["tokens of the four tools"] / schemas)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(library.tools)} tools of {len(library.snapshot.servers)} servers")
    broken = 0
    for name, limit in LIMITS.items():
        verdict = "ok" if figures[name] <= limit else "BROKEN"
        broken += verdict != "ok"
        print(f"  {name:38} {figures[name]:9.2f}   limit {limit:<8} {verdict}")
    print(f"  {'all schemas, tokens':38} {schemas:9.0f}   saved {saved:.2f} %")
    print(f"  {'peak memory of this process, MiB':38} {memory:9.0f}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
