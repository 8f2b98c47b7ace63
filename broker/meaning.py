"""An optional ranking by meaning, from any OpenAI-style embeddings address; words alone when it is slow or gone."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import tempfile
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import httpx2

from broker.settings import EmbeddingSettings
from catalog.fusion import Ranking, Vectors
from catalog.model import Tool

logger = logging.getLogger(__name__)

BATCH = 32
TEXT_LIMIT = 700
# Tools are embedded one batch at a time with pauses: nobody waits for it, and it shares its model with others.
PAUSE_S = 0.05
LOOK_AGAIN_S = 15.0
BATCH_TIMEOUT_S = 60.0
# After a failure the address is left alone for a while, so that no search waits out the timeout in vain.
REST_S = 30.0


def text_of(tool: Tool) -> str:
    """What is embedded of a tool."""
    name = tool.name.replace("_", " ").replace("-", " ")
    names = " ".join(parameter.name for parameter in tool.parameters())
    return f"{tool.server}: {name}. {tool.title} {tool.description[:500]} {names}"[:TEXT_LIMIT]


def key_of(tool: Tool) -> str:
    return hashlib.sha256(text_of(tool).encode()).hexdigest()[:32]


class Cache:
    """Vectors on disk by content hash, one file a model; called in a worker thread."""

    def __init__(self, folder: Path, model: str) -> None:
        name = hashlib.sha256(model.encode()).hexdigest()[:16]
        self._path = folder / f"{name}.vectors"
        self._model = model

    def load(self) -> dict[str, array[float]]:
        try:
            head, _, body = self._path.read_bytes().partition(b"\n")
            facts = json.loads(head)
            if facts["model"] != self._model:
                return {}
            size, values = facts["size"], array("f")
            values.frombytes(body)
            return {
                key: values[place * size : (place + 1) * size]
                for place, key in enumerate(facts["keys"])
            }
        except (FileNotFoundError, ValueError, KeyError):
            return {}

    def save(self, vectors: dict[str, array[float]]) -> None:
        size = len(next(iter(vectors.values()), ()))
        head = json.dumps({"model": self._model, "size": size, "keys": list(vectors)})
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=self._path.parent, delete=False) as file:
            file.write(head.encode() + b"\n")
            for vector in vectors.values():
                file.write(vector.tobytes())
        Path(file.name).replace(self._path)


class Meaning:
    """Keeps every tool's vector, and ranks by a query's."""

    def __init__(self, settings: EmbeddingSettings, folder: Path) -> None:
        self._settings = settings
        self._cache = Cache(folder, settings.model)
        self._known: dict[str, array[float]] = {}
        self._vectors: Vectors | None = None
        self._tools: tuple[Tool, ...] = ()
        self._rests_until = 0.0
        self._http: httpx2.AsyncClient | None = None
        self.ready = anyio.Event()

    async def rank(self, query: str) -> Ranking | None:
        """None when there is nothing to rank by, or not in time."""
        vectors = self._vectors
        if vectors is None or not len(vectors) or anyio.current_time() < self._rests_until:
            return None
        with anyio.move_on_after(self._settings.query_timeout):
            try:
                embedded = await self._embed([query])
            except (httpx2.HTTPError, ValueError, KeyError, OSError) as error:
                self._rests_until = anyio.current_time() + REST_S
                logger.info("searching by words alone: %s", error)
                return None
            return await anyio.to_thread.run_sync(vectors.nearest, embedded[0])
        return None

    async def keep_up(self, tools: Callable[[], tuple[Tool, ...]]) -> None:
        """Embed what is new, for as long as the broker lives."""
        self._known = await anyio.to_thread.run_sync(self._cache.load)
        # Made in a thread: a client reads certificates from the disk when it is made.
        self._http = await anyio.to_thread.run_sync(self._client)
        async with self._http:
            while True:
                if tools() is not self._tools:
                    try:
                        await self._catch_up(tools())
                    except (httpx2.HTTPError, ValueError, KeyError, OSError) as error:
                        logger.info("tools are not embedded for now: %s", error)
                await anyio.sleep(LOOK_AGAIN_S)

    def _client(self) -> httpx2.AsyncClient:
        key = self._settings.api_key
        headers = {} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"}
        return httpx2.AsyncClient(timeout=BATCH_TIMEOUT_S, headers=headers)

    async def _catch_up(self, tools: tuple[Tool, ...]) -> None:
        keys = await anyio.to_thread.run_sync(lambda: [key_of(tool) for tool in tools])
        missing = {
            key: tool for key, tool in zip(keys, tools, strict=True) if key not in self._known
        }
        waiting = list(missing.items())
        for start in range(0, len(waiting), BATCH):
            batch = waiting[start : start + BATCH]
            with anyio.fail_after(BATCH_TIMEOUT_S):
                vectors = await self._embed([text_of(tool) for _, tool in batch])
            for (key, _), vector in zip(batch, vectors, strict=True):
                self._known[key] = vector
            await anyio.sleep(PAUSE_S)
        if waiting:
            kept = {key: self._known[key] for key in keys}
            await anyio.to_thread.run_sync(self._cache.save, kept)
        known = [self._known.get(key) for key in keys]
        self._vectors = await anyio.to_thread.run_sync(Vectors, known)
        self._tools = tools
        self.ready.set()

    async def _embed(self, texts: Sequence[str]) -> list[array[float]]:
        if self._http is None:
            raise OSError("not started")
        answer = await self._http.post(
            self._settings.url, json={"model": self._settings.model, "input": list(texts)}
        )
        answer.raise_for_status()
        rows: list[dict[str, Any]] = answer.json()["data"]
        ordered = sorted(rows, key=lambda row: row["index"])
        if len(ordered) != len(texts):
            raise ValueError(f"{len(ordered)} vectors for {len(texts)} texts")
        return [_unit(row["embedding"]) for row in ordered]


def _unit(vector: Sequence[float]) -> array[float]:
    length = math.sqrt(math.fsum(value * value for value in vector)) or 1.0
    return array("f", [value / length for value in vector])


def open_meaning(settings: EmbeddingSettings | None, folder: Path) -> Meaning | None:
    return None if settings is None else Meaning(settings, folder)
