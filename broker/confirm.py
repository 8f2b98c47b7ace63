"""Tokens that stand for a person's yes to exactly one call; pure but for the clock it is given."""

import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MOST_OPEN = 200


@dataclass(frozen=True, slots=True)
class Asked:
    """What a token is good for."""

    call: str
    expires_at: float


def digest(tool_id: str, tool_digest: str, arguments: dict[str, Any], caller: str) -> str:
    """One call, by one caller, of the tool in its present form."""
    text = json.dumps([tool_id, tool_digest, arguments, caller], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Confirmations:
    """Open questions; a token works once, for the call it was given for, and not for long."""

    def __init__(self, ttl_s: float, clock: Callable[[], float]) -> None:
        self._ttl_s, self._clock = ttl_s, clock
        self._open: dict[str, Asked] = {}

    def ask(self, call: str) -> str:
        now = self._clock()
        self._open = {token: one for token, one in self._open.items() if one.expires_at > now}
        while len(self._open) >= MOST_OPEN:
            self._open.pop(next(iter(self._open)))
        token = secrets.token_urlsafe(9)
        self._open[token] = Asked(call, now + self._ttl_s)
        return token

    def redeem(self, token: str, call: str) -> bool:
        """Whether this token was given for this call; a wrong use spends it too."""
        asked = self._open.pop(token, None)
        return asked is not None and asked.call == call and asked.expires_at > self._clock()
