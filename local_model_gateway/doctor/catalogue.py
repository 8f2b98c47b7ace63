"""Every id that asks for something, in the order in which things are best put right."""

from collections.abc import Sequence

ORDER: Sequence[str] = (
    # The program itself.
    "PYTHON-OLD",
    "PACKAGE-COLLISION",
    "PATH-MISSING",
    "PATH-SHADOW",
    "FILE-LIMIT",
    # What it reads: nothing below can be judged before this holds.
    "CONFIG-OPEN",
    "BIND-UNPROTECTED",
    "CONFIG-INVALID",
    "CONFIG-NONE",
    "KEY-FILE-OPEN",
    "BIND-OPEN",
    # Where it writes.
    "STATE-BLOCKED",
    "STATE-READ-ONLY",
    "STATE-NETWORK",
    "STATE-OPEN",
    "DISK-FULL",
    "DISK-LOW",
    "STORAGE-UNAVAILABLE",
    # Who else holds the machine.
    "SIBLING-GATEWAY",
    "GPU-BYPASS",
    "ENGINE-DIRECT",
    "GPU-DRIVER",
    "GPU-HELD",
    # What it starts.
    "ENGINE-MISSING",
    "ENGINE-NOT-EXECUTABLE",
    "ENGINE-BROKEN",
    "EMBEDDED-MISSING",
    "ENGINE-DOWN",
    "MODEL-MISSING",
    "MODEL-NOT-GGUF",
    "MODEL-NOT-PULLED",
    "MODEL-TOO-BIG",
    "RUNTIME-PORT-TAKEN",
    "MCP-COMMAND-MISSING",
    "MCP-NOT-EXECUTABLE",
    # The gateway.
    "GATEWAY-SUSPENDED",
    "GATEWAY-SILENT",
    "PORT-TAKEN",
    "CONFIG-STALE",
    "CONFIG-RESTART",
    "VERSION-DIFFERS",
    "CLOCK-JUMP",
    "GATEWAY-DOWN",
    # What only a running gateway can put right.
    "QUEUE-PAUSED",
    "RUNTIME-SILENT",
    "RUNTIME-FAILED",
    "MODEL-SILENT",
    "MCP-STALE",
    "MCP-CHANGED",
    # What reaches it.
    "CLIENT-BYPASS",
    "OLLAMA-KEEPALIVE",
    "LMSTUDIO-JIT",
)

CONSENT = frozenset(
    {
        "CLIENT-BYPASS",
        "CLOCK-JUMP",
        "CONFIG-RESTART",
        "EMBEDDED-MISSING",
        "ENGINE-DIRECT",
        "GPU-BYPASS",
        "MODEL-NOT-PULLED",
        "OLLAMA-KEEPALIVE",
        "SIBLING-GATEWAY",
        "STATE-BLOCKED",
        "VERSION-DIFFERS",
    }
)
"""Where the fix ends somebody's work, downloads, or changes what is not the gateway's own."""


def rank(id_: str) -> int:
    """Where in the plan; what nobody has placed comes last."""
    return ORDER.index(id_) if id_ in ORDER else len(ORDER)
