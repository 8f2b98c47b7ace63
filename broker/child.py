"""What is known of a server's process, and the mark that its transport leaves on a kept answer."""

from dataclasses import dataclass, field

import anyio

SPILLED = "local-model-gateway/spilled"


@dataclass(slots=True)
class Child:
    """One running server, as the actor that owns it sees it."""

    pid: int = 0
    ended: anyio.Event = field(default_factory=anyio.Event)
    exit_code: int | None = None
    trouble: str = ""
