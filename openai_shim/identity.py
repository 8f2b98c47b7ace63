"""Who asks: what may be cancelled together, looked up together, and joined after a retry."""

import hashlib
import re
import secrets
from dataclasses import dataclass

from starlette.types import Scope

_SESSION = re.compile(rb"[\x21-\x7e]{1,128}")
_SALT = secrets.token_bytes(16)

LOCAL = "local:http"
"""Whoever asks for a job without a key or a session: a client may use another connection to fetch it."""


@dataclass(frozen=True, slots=True)
class Caller:
    """One client, as exactly as it can be told from others."""

    owner: str
    """Of work that lives with its connection."""
    keeper: str
    """Of stored work, which is asked for again later."""
    key_id: str | None
    retry_scope: str
    """What an identical retry shares with its first copy; a retry comes on a new connection."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """One header's value; None when it is absent or there are several."""
    found = [value for key, value in scope["headers"] if key == name]
    return found[0] if len(found) == 1 else None


def caller(scope: Scope) -> Caller:
    """A key and a session together are one client; a session alone next; a connection at last."""
    state = scope.get("state") or {}
    key_id = state.get("caller")
    session = _session(scope)
    host, port = scope.get("client") or ("", 0)
    if key_id is not None:
        owner = f"key:{key_id}" if session is None else f"key:{key_id}/session:{session}"
        return Caller(owner, f"key:{key_id}", key_id, owner)
    if session is not None:
        owner = f"session:{session}"
        return Caller(owner, owner, None, owner)
    return Caller(f"conn:{_digest(f'{host}:{port}')}", LOCAL, None, f"host:{host}")


def _session(scope: Scope) -> str | None:
    value = header(scope, b"x-session-id")
    return value.decode("ascii") if value and _SESSION.fullmatch(value) else None


def _digest(text: str) -> str:
    return hashlib.blake2s(text.encode(), key=_SALT, digest_size=9).hexdigest()


def join_key(caller: Caller, path: str, body: bytes, idempotency_key: str | None) -> str:
    """The same for the same request from the same client, and for nothing else."""
    digest = hashlib.blake2b(digest_size=18)
    for part in (caller.retry_scope, path, idempotency_key or ""):
        digest.update(part.encode() + b"\0")
    digest.update(body)
    return digest.hexdigest()
