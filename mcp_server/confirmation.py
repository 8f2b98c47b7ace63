"""Asking before something that cannot be taken back: a form where the client shows one, else a token in two calls."""

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Protocol

import pydantic

LIFETIME_S = 300
"""Long enough for a person to answer an agent's question, too short to be found in a log later."""


class Key(Protocol):
    """Where the secret comes from, once there is one."""

    @property
    def secret(self) -> bytes:
        """The bytes."""


class Approval(pydantic.BaseModel):
    """The one question of the form."""

    approve: bool = pydantic.Field(description="Go ahead?")


class Confirmations:
    """Tokens for exactly one action of one caller; each is good once, and for a few minutes."""

    def __init__(self, key: Key, clock: Callable[[], float] = time.time) -> None:
        self._key, self._clock = key, clock
        self._used: dict[str, float] = {}

    def mint(self, owner: str, action: str) -> str:
        """A token that `spend` takes for this owner and this action."""
        expires, nonce = int(self._clock()) + LIFETIME_S, secrets.token_urlsafe(6)
        return f"{expires}.{nonce}.{self._seal(owner, action, expires, nonce)}"

    def spend(self, token: str, owner: str, action: str) -> bool:
        """Whether it was minted for this, is not too old, and was not spent before."""
        now = self._clock()
        self._used = {one: until for one, until in self._used.items() if until > now}
        expires, _, rest = token.partition(".")
        nonce, _, seal = rest.partition(".")
        if not expires.isascii() or not expires.isdigit() or len(expires) > 12:
            return False
        right = self._seal(owner, action, int(expires), nonce)
        if (
            not hmac.compare_digest(seal.encode("utf-8", "replace"), right.encode())
            or int(expires) <= now
        ):
            return False
        if token in self._used:
            return False
        self._used[token] = float(expires)
        return True

    def _seal(self, owner: str, action: str, expires: int, nonce: str) -> str:
        text = "\0".join((owner, action, str(expires), nonce)).encode()
        digest = hmac.digest(self._key.secret, b"confirm\0" + text, hashlib.sha256)[:12]
        return base64.urlsafe_b64encode(digest).decode()
