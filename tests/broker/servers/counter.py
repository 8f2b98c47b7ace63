"""A server whose every execution leaves a line in a file, so that a second one cannot hide.

Takes the file as its first argument; with `--http PORT` or `--sse PORT` it listens on loopback instead.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import anyio
import pydantic
from mcp.server.caching import CacheHint
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resolve import Elicit, Resolve
from mcp.types import ToolAnnotations

LEDGER = Path(sys.argv[1])
server = MCPServer(
    "counter",
    version="1.2.3",
    instructions="Counts what really happened.",
    cache_hints={
        "tools/list": CacheHint(ttl_ms=int(os.environ.get("TTL_MS", "0")), scope="private")
    },
)
READS = ToolAnnotations(read_only_hint=True)


def note(line: str) -> None:
    with LEDGER.open("a") as file:
        file.write(line + "\n")


class Colour(pydantic.BaseModel):
    """What is asked for."""

    colour: str


def which(name: str) -> Elicit[Colour]:
    return Elicit(f"Which colour for {name}?", Colour)


@server.tool(annotations=READS)
async def get_count() -> int:
    """How often something was added."""
    return LEDGER.read_text().count("added") if LEDGER.exists() else 0


@server.tool()
async def add_one(label: str, amount: int = 1) -> str:
    """Add to the counter."""
    note(f"added {label} {amount}")
    return f"added {label}"


@server.tool()
async def add_slowly(label: str, ctx: Context) -> str:
    """Add at once, say so, and then never answer."""
    note(f"added {label}")
    await ctx.report_progress(1, 2, "added")
    try:
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class():
        note(f"cancelled {label}")
        raise
    return "never"


@server.tool(annotations=READS)
async def get_names_of_environment() -> list[str]:
    """The names of the variables this process was given."""
    return sorted(os.environ)


@server.tool(annotations=READS)
async def get_headers(ctx: Context) -> dict[str, str]:
    """The headers of this very request."""
    request = ctx.request_context.request
    return dict(request.headers) if request is not None else {}


@server.tool()
async def spawn_grandchild() -> int:
    """Start a process that outlives its parent unless someone sees to it."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    return child.pid


@server.tool(annotations=READS)
async def fetch_text(size: int) -> str:
    """A text of this many characters."""
    return "x" * size


@server.tool()
async def paint(name: str, answer: Annotated[Colour, Resolve(which)]) -> str:
    """Paint something, after asking for the colour."""
    return f"{name} is {answer.colour}"


@server.tool()
async def grow(ctx: Context) -> str:
    """Offer one more tool from now on, and say so."""
    server.add_tool(grown, name="get_grown")
    await ctx.notify_tools_changed()
    return "grown"


async def grown() -> str:
    """A tool that was not there before."""
    return "here"


if __name__ == "__main__":
    print("token=supersecretvalue ready", file=sys.stderr, flush=True)
    if "--http" in sys.argv:
        server.run("streamable-http", port=int(sys.argv[-1]))
    elif "--sse" in sys.argv:
        server.run("sse", port=int(sys.argv[-1]))
    else:
        server.run()
