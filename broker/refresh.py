"""A server's tools, all pages of them, made safe and made ours."""

import json
import time
from typing import TYPE_CHECKING

from catalog import clean, model
from catalog.diff import Listing

if TYPE_CHECKING:
    import mcp
    import mcp_types

# A server that keeps handing out cursors is broken; twenty thousand tools is more than anyone has.
MOST_PAGES = 200
MOST_TOOLS = 20_000


async def list_tools(server: str, client: "mcp.Client") -> Listing:
    """Every page of `tools/list`, as of now."""
    found: dict[str, model.Tool] = {}
    cursor: str | None = None
    ttl_ms: int | None = None
    now = time.time()
    if client.server_capabilities.tools is not None or client.protocol_version >= "2026":
        for _ in range(MOST_PAGES):
            page = await client.list_tools(cursor=cursor)
            for listed in page.tools:
                tool = _tool(server, listed, now)
                if tool is not None:
                    # First come, first kept: a later page may not replace a tool.
                    found.setdefault(tool.name, tool)
            if "ttl_ms" in page.model_fields_set:
                ttl_ms = page.ttl_ms
            cursor = page.next_cursor
            if not cursor or len(found) >= MOST_TOOLS:
                break
    info = client.server_info
    return Listing(
        server=server,
        tools=sorted(found.values(), key=lambda tool: tool.name),
        title=clean.text(info.title or info.name, 200) if info else "",
        instructions=clean.text(client.instructions, 2_000),
        version=clean.text(info.version, 60) if info else "",
        listed_at=now,
        # Nought means "do not cache"; a snapshot is no cache but a memory, so it has no meaning here.
        ttl_s=ttl_ms / 1000 if ttl_ms else None,
    )


def _tool(server: str, listed: "mcp_types.Tool", now: float) -> model.Tool | None:
    """The tool in our form; None for a name that could pass for another one."""
    if clean.hidden_in_name(listed.name) or len(listed.name) > clean.NAME_LIMIT:
        return None
    title = clean.text(
        listed.title or (listed.annotations.title if listed.annotations else None), 200
    )
    description = clean.text(listed.description)
    schemas = (_schema(listed.input_schema), _optional(listed.output_schema))
    given = listed.annotations
    hints = model.Hints()
    if given is not None:
        hints = model.Hints(
            given.read_only_hint,
            given.destructive_hint,
            given.idempotent_hint,
            given.open_world_hint,
        )
    return model.Tool(
        server=server,
        name=listed.name,
        title=title,
        description=description,
        input_schema=schemas[0],
        output_schema=schemas[1],
        hints=hints,
        digest=model.digest(listed.name, title, description, schemas, hints),
        seen_at=now,
    )


def _schema(schema: object) -> str:
    text = json.dumps(clean.schema(schema), separators=(",", ":"), ensure_ascii=False)
    if len(text) > clean.SCHEMA_LIMIT:
        text = json.dumps(clean.without_prose(schema), separators=(",", ":"), ensure_ascii=False)
    return text


def _optional(schema: object) -> str | None:
    return None if schema is None else _schema(schema)
