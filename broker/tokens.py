"""Where OAuth tokens are kept: one file that only its owner may read."""

import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, SupportsFloat

import anyio

Row = dict[str, Any]  # Any: what the OAuth client stores is its own


class TokenFile:
    """The key-value store that fastmcp's OAuth client asks for, over one JSON file with mode 0600."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = anyio.Lock()

    async def get(self, key: str, *, collection: str | None = None) -> Row | None:
        return (await self.ttl(key, collection=collection))[0]

    async def ttl(
        self, key: str, *, collection: str | None = None
    ) -> tuple[Row | None, float | None]:
        rows = await anyio.to_thread.run_sync(self._read)
        row = rows.get(_name(key, collection))
        if row is None:
            return None, None
        expires = row.get("expires")
        left = None if expires is None else expires - time.time()
        if left is not None and left <= 0:
            return None, None
        return row["value"], left

    async def put(
        self,
        key: str,
        value: Mapping[str, Any],
        *,
        collection: str | None = None,
        ttl: SupportsFloat | None = None,
    ) -> None:
        expires = None if ttl is None else time.time() + float(ttl)
        async with self._lock:
            await anyio.to_thread.run_sync(
                self._change, _name(key, collection), {"value": dict(value), "expires": expires}
            )

    async def delete(self, key: str, *, collection: str | None = None) -> bool:
        async with self._lock:
            return await anyio.to_thread.run_sync(self._change, _name(key, collection), None)

    async def get_many(
        self, keys: Sequence[str], *, collection: str | None = None
    ) -> list[Row | None]:
        return [await self.get(key, collection=collection) for key in keys]

    async def ttl_many(
        self, keys: Sequence[str], *, collection: str | None = None
    ) -> list[tuple[Row | None, float | None]]:
        return [await self.ttl(key, collection=collection) for key in keys]

    async def put_many(
        self,
        keys: Sequence[str],
        values: Sequence[Mapping[str, Any]],
        *,
        collection: str | None = None,
        ttl: SupportsFloat | None = None,
    ) -> None:
        for key, value in zip(keys, values, strict=True):
            await self.put(key, value, collection=collection, ttl=ttl)

    async def delete_many(self, keys: Sequence[str], *, collection: str | None = None) -> int:
        return sum([await self.delete(key, collection=collection) for key in keys])

    def _read(self) -> dict[str, Row]:
        try:
            rows = json.loads(self._path.read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return rows if isinstance(rows, dict) else {}

    def _change(self, name: str, row: Row | None) -> bool:
        rows = self._read()
        known = rows.pop(name, None) is not None
        if row is not None:
            rows[name] = row
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # mkstemp makes the file 0600 from its first moment.
        handle, part = tempfile.mkstemp(dir=self._path.parent, prefix=".tokens")
        with os.fdopen(handle, "w") as file:
            json.dump(rows, file)
            file.flush()
            os.fsync(file.fileno())
        Path(part).replace(self._path)
        return known


def _name(key: str, collection: str | None) -> str:
    return f"{collection or ''}\n{key}"
