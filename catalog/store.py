"""The snapshot on disk: one JSON file a server, each replaced whole."""

import contextlib
import hashlib
import json
import os
import re
import tempfile
from dataclasses import asdict
from pathlib import Path

from catalog.errors import BadServerName
from catalog.model import Hints, ServerSnapshot, Snapshot, Tool
from catalog.names import usable

FORMAT = 1
_PLAIN = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


def file_name(server: str) -> str:
    """One file a server, also where `Hub` and `hub` would be the same file."""
    if _PLAIN.fullmatch(server):
        return f"{server}.json"
    digest = hashlib.sha256(server.encode()).hexdigest()[:10]
    readable = re.sub(r"[^A-Za-z0-9]+", "-", server).strip("-")[:40]
    return f"{readable or 'server'}-{digest}.json"


class SnapshotStore:
    """Reads and writes server snapshots in one folder; safe against a crash in mid-write."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.unreadable: dict[str, str] = {}

    def load(self) -> Snapshot:
        """Every readable server; what could not be read is in `unreadable`, and will be listed anew."""
        servers: dict[str, ServerSnapshot] = {}
        self.unreadable = {}
        if not self._folder.is_dir():
            return Snapshot()
        for path in sorted(self._folder.glob("*.json")):
            try:
                snapshot = _decoded(json.loads(path.read_bytes()))
            except (OSError, ValueError, KeyError, TypeError) as error:
                self.unreadable[path.stem] = f"{path.name} could not be read: {error}"
            else:
                servers[snapshot.server] = snapshot
        return Snapshot(servers)

    def stamp(self) -> tuple[tuple[str, int, int], ...]:
        """Changes whenever another process wrote a file here."""
        if not self._folder.is_dir():
            return ()
        found = []
        for path in sorted(self._folder.glob("*.json")):
            with contextlib.suppress(FileNotFoundError):
                facts = path.stat()
                found.append((path.name, facts.st_mtime_ns, facts.st_size))
        return tuple(found)

    def save(self, snapshot: ServerSnapshot) -> None:
        """On return the new file is on the disk; a reader sees the old one or the new one, never a part."""
        path = self._path(snapshot.server)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=self._folder, prefix=".", suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(_encoded(snapshot), file, ensure_ascii=False)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def forget(self, server: str) -> None:
        self._path(server).unlink(missing_ok=True)

    def _path(self, server: str) -> Path:
        if not usable(server):
            raise BadServerName(server)
        return self._folder / file_name(server)


def _encoded(snapshot: ServerSnapshot) -> dict[str, object]:
    return {
        "format": FORMAT,
        "server": snapshot.server,
        "title": snapshot.title,
        "instructions": snapshot.instructions,
        "version": snapshot.version,
        "listed_at": snapshot.listed_at,
        "ttl_s": snapshot.ttl_s,
        "stale": snapshot.stale,
        "error": snapshot.error,
        "tools": [_encoded_tool(tool) for tool in snapshot.tools],
        "pending": [_encoded_tool(tool) for tool in snapshot.pending.values()],
    }


def _encoded_tool(tool: Tool) -> dict[str, object]:
    return {
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "input_schema": tool.input_schema,
        "output_schema": tool.output_schema,
        "hints": {key: value for key, value in asdict(tool.hints).items() if value is not None},
        "digest": tool.digest,
        "seen_at": tool.seen_at,
    }


def _decoded(data: dict[str, object]) -> ServerSnapshot:
    if data["format"] != FORMAT:
        raise ValueError(f"format {data['format']} is not {FORMAT}")
    server = str(data["server"])
    tools, pending = data["tools"], data["pending"]
    if not isinstance(tools, list) or not isinstance(pending, list):
        raise TypeError("tools are not a list")
    ttl, listed = data["ttl_s"], data["listed_at"]
    return ServerSnapshot(
        server=server,
        tools=tuple(_decoded_tool(server, tool) for tool in tools),
        pending={tool["name"]: _decoded_tool(server, tool) for tool in pending},
        title=str(data["title"]),
        instructions=str(data["instructions"]),
        version=str(data["version"]),
        listed_at=float(listed) if isinstance(listed, int | float) else 0.0,
        ttl_s=float(ttl) if isinstance(ttl, int | float) else None,
        stale=bool(data["stale"]),
        error=str(data["error"]),
    )


def _decoded_tool(server: str, data: dict[str, object]) -> Tool:
    hints, seen = data["hints"], data["seen_at"]
    return Tool(
        server=server,
        name=str(data["name"]),
        title=str(data["title"]),
        description=str(data["description"]),
        input_schema=str(data["input_schema"]),
        output_schema=None if data["output_schema"] is None else str(data["output_schema"]),
        hints=Hints(**hints) if isinstance(hints, dict) else Hints(),
        digest=str(data["digest"]),
        seen_at=float(seen) if isinstance(seen, int | float) else 0.0,
    )
