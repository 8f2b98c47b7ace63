"""What can be set about the OpenAI routes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ShimOptions:
    """How the routes wait and answer."""

    hold_back_s: float = 1.0
    """How long the 200 of a stream is held back, so that early errors keep their own status."""
    keepalive_s: float = 10.0
    """The longest silence towards a waiting client; the shortest read timeouts seen are 15 s."""
    look_s: float = 1.0
    """How often a waiting stream looks whether its place in line has changed."""
    whitespace_callers: frozenset[str] = frozenset()
    """Keys whose answers that are not streamed are kept alive with spaces without their asking."""
    stop_phrases: bool = True
    """Whether an exact "stop" as the last user message stops that client's own work."""
    longest_wait_s: float = 40.0
    """The longest that `GET /v1/jobs/{id}?wait=` holds on."""
