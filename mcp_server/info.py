"""What the MCP surface is told about the process that it lives in."""

from collections.abc import Callable
from dataclasses import dataclass

NAME = "local-model-gateway"
"""Also what sealed states are addressed to, so it must not change over a restart."""

JOB_URI = "gateway://jobs/{job_id}"


def _none() -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Fixed for the life of the process, but for `problems`, which is asked each time."""

    version: str
    base_url: str = "http://127.0.0.1:8787"
    """Where clients reach us, without a slash at the end."""
    key_env: str = "LMG_API_KEY"
    """The variable that client configurations refer to; its value is never known here."""
    requires_key: bool = False
    allowed_hosts: tuple[str, ...] = ("127.0.0.1:*", "localhost:*", "[::1]:*")
    """A second check behind the guard's: exact values, or any port with `:*`."""
    allowed_origins: tuple[str, ...] = (
        "http://127.0.0.1:*",
        "http://localhost:*",
        "http://[::1]:*",
    )
    body_limit_bytes: int = 4 * 1024 * 1024
    session_idle_s: float = 900.0
    """Most clients of the session era never say goodbye."""
    max_sessions: int = 512
    problems: Callable[[], tuple[str, ...]] = _none
    """What is wrong with the configuration now, in plain words."""
