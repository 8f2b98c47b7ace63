"""Large results: kept as a file, answered by their beginning and a link."""

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from broker.child import SPILLED
from broker.errors import NoSuchSpill

if TYPE_CHECKING:
    import mcp_types

PAGE = 32 * 1024
PREVIEW = 2_000
MOST_KEPT_BYTES = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class Spill:
    """A result that was too large to answer."""

    id: str
    size_bytes: int

    @property
    def pages(self) -> int:
        return max(1, -(-self.size_bytes // PAGE))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call brought; `spill` says where the rest is."""

    content: list[Any]  # Any: content blocks of the SDK, relayed as they are
    structured: object
    is_error: bool
    size_bytes: int
    spill: Spill | None = None


class Spills:
    """The folder of kept results; ids cannot be guessed, and are the only way to one."""

    def __init__(self, folder: Path, keep_s: float) -> None:
        self._folder, self._keep_s = folder, keep_s

    def new_path(self) -> Path:
        return self._folder / f"{secrets.token_hex(16)}.part"

    def take(self, name: str, size: int) -> Spill:
        """Give a file that a transport wrote its final name."""
        part = self._folder / Path(name).name
        spill = Spill(part.stem, size)
        part.replace(part.with_suffix(".json"))
        return spill

    def keep(self, text: str) -> Spill:
        path = self._folder / f"{secrets.token_hex(16)}.json"
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        data = text.encode()
        path.touch(mode=0o600)
        path.write_bytes(data)
        return Spill(path.stem, len(data))

    def read(self, spill_id: str, page: int = 1) -> str:
        """One page of a kept result, as text; pages count from 1."""
        if not spill_id.isalnum():
            raise NoSuchSpill(spill_id)
        path = self._folder / f"{spill_id}.json"
        try:
            with path.open("rb") as file:
                file.seek((max(page, 1) - 1) * PAGE)
                return file.read(PAGE).decode("utf-8", "replace")
        except FileNotFoundError:
            raise NoSuchSpill(spill_id) from None

    def sweep(self, now: float | None = None) -> None:
        """Remove what is old, what a crash left half written, and the oldest while it is too much."""
        now = time.time() if now is None else now
        if not self._folder.is_dir():
            return
        kept = sorted(
            ((path.stat().st_mtime, path.stat().st_size, path) for path in self._folder.iterdir()),
            reverse=True,
        )
        total = 0
        for changed, size, path in kept:
            total += size
            old = changed < now - self._keep_s
            left = path.suffix == ".part" and changed < now - 3600
            if old or left or total > MOST_KEPT_BYTES:
                path.unlink(missing_ok=True)


async def outcome(result: "mcp_types.CallToolResult", spills: Spills, limit: int) -> Outcome:
    """The result as it is answered: whole, or its beginning where it is larger than the limit."""
    import mcp_types  # noqa: PLC0415 (loaded by now)

    left = already_spilled(result)
    if left is not None:
        spill = await anyio.to_thread.run_sync(spills.take, str(left["name"]), int(left["bytes"]))
        shown = readable(result)
        is_error = False
    else:
        whole = text_of(result)
        if len(whole) <= limit:
            content = list(result.content)
            return Outcome(content, result.structured_content, bool(result.is_error), len(whole))
        spill = await anyio.to_thread.run_sync(spills.keep, whole)
        shown, is_error = readable(result), bool(result.is_error)
    text = mcp_types.TextContent(type="text", text=preview(shown, spill))
    return Outcome([text], None, is_error, spill.size_bytes, spill)


def text_of(result: "mcp_types.CallToolResult") -> str:
    """The whole result as JSON, without what belongs to the connection it came by."""
    return result.model_dump_json(by_alias=True, exclude_none=True, exclude={"meta"})


def already_spilled(result: "mcp_types.CallToolResult") -> Mapping[str, Any] | None:
    """What the transport left in place of an answer that it wrote to a file."""
    found = (result.meta or {}).get(SPILLED)
    return found if isinstance(found, dict) else None


def preview(text: str, spill: Spill) -> str:
    """The beginning of a kept result, and how to get the rest."""
    return (
        f"{text[:PREVIEW]}\n… cut: the result has {spill.size_bytes} bytes and is kept as "
        f"gateway://results/{spill.id}/1 to /{spill.pages}"
    )


def readable(result: "mcp_types.CallToolResult") -> str:
    """The text blocks of a result; its JSON where it has none."""
    texts = [block.text for block in result.content if block.type == "text"]
    if texts:
        return "\n".join(texts)
    if result.structured_content is not None:
        return json.dumps(result.structured_content, ensure_ascii=False)
    return text_of(result)
