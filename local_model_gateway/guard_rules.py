"""What a request must be before the application sees it: pure, from its head alone.

In this order: names (Host, Origin), load, method and path, key, media type and announced size.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from local_model_gateway import answers
from local_model_gateway.answers import Refusal

ALWAYS_SERVED = frozenset({"/health", "/ready", "/status"})
"""These are answered also when there are too many requests: they are how one finds out."""
OPEN_ROUTES = frozenset({"/health"})
MAX_BODY = 32 * 1024 * 1024
MAX_MCP_BODY = 4 * 1024 * 1024
BODY_TIMEOUT_S = 30.0
MAX_REQUESTS = 4096
NEVER_AGAIN = ((b"x-should-retry", b"false"),)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_JSON = re.compile(
    rb'application/(?:[a-z0-9.+-]+\+)?json(?:\s*;\s*charset="?utf-8"?)?\s*;?', re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """What the guard lets in."""

    hosts: frozenset[bytes]
    """Whole `Host` values, lower case."""
    origins: frozenset[bytes]
    """Origins of pages that may call us: our own."""
    foreign_origins: frozenset[bytes] = frozenset()
    """Further origins, which also need CORS headers."""
    key_digests: Mapping[str, bytes] = field(default_factory=dict)
    """Name → sha256 of the key. Without any, whoever reaches the port may use it."""
    max_body: int = MAX_BODY
    max_mcp_body: int = MAX_MCP_BODY
    body_timeout_s: float = BODY_TIMEOUT_S
    max_requests: int = MAX_REQUESTS


def settings(
    host: str,
    port: int,
    *,
    allowed_hosts: Iterable[str] = (),
    allowed_origins: Iterable[str] = (),
    keys: Mapping[str, str] | None = None,
    max_body: int = MAX_BODY,
    max_mcp_body: int = MAX_MCP_BODY,
    body_timeout_s: float = BODY_TIMEOUT_S,
    max_requests: int = MAX_REQUESTS,
) -> GuardSettings:
    """The settings for a gateway that listens on `host` and (by now really) on `port`."""
    names = {"127.0.0.1", "localhost", "[::1]"}
    if host not in {"0.0.0.0", "::", ""}:
        names.add(f"[{host}]" if ":" in host else host.lower())
    ours = {f"{name}:{port}" for name in names} | (names if port == 80 else set())
    return GuardSettings(
        hosts=frozenset(name.lower().encode() for name in {*ours, *allowed_hosts}),
        origins=frozenset(f"http://{name}".encode() for name in ours),
        foreign_origins=frozenset(origin.lower().encode() for origin in allowed_origins),
        key_digests={name: _digest(key.encode()) for name, key in (keys or {}).items()},
        max_body=max_body,
        max_mcp_body=max_mcp_body,
        body_timeout_s=body_timeout_s,
        max_requests=max_requests,
    )


@dataclass(frozen=True, slots=True)
class Head:
    """The request line and the headers, by lower-case name."""

    method: str
    path: str
    headers: Mapping[bytes, list[bytes]]

    @property
    def has_body(self) -> bool:
        """Whether a body is announced."""
        return b"transfer-encoding" in self.headers or self.announced_bytes > 0

    @property
    def announced_bytes(self) -> int:
        """What `Content-Length` says; the HTTP layer has checked that it is a number."""
        return int(self.headers.get(b"content-length", [b"0"])[0])

    @property
    def is_preflight(self) -> bool:
        """A browser asks whether a page may send a request."""
        return self.method == "OPTIONS" and b"access-control-request-method" in self.headers


def refuse(head: Head, settings: GuardSettings, active: int) -> Refusal | None:
    """Why this request goes no further, if so; whose it is, is `caller`'s business."""
    return (
        _refuse_host(head, settings)
        or _refuse_origin(head, settings)
        or _refuse_shape(head, settings, active)
        or _refuse_media(head)
        or _refuse_size(head, settings)
    )


def caller(head: Head, settings: GuardSettings) -> str | Refusal | None:
    """The name of the key that the request shows; None where none is asked for.

    Every key is compared, so the time that it takes tells nothing.
    """
    if not settings.key_digests or head.path in OPEN_ROUTES or head.is_preflight:
        return None
    presented = _presented(head.headers)
    digest = _digest(presented or b"")
    found = [
        name for name, known in settings.key_digests.items() if hmac.compare_digest(digest, known)
    ]
    if found and presented:
        return found[0]
    return Refusal(
        401,
        "invalid_api_key",
        "A valid key is needed; send `Authorization: Bearer KEY`.",
        ((b"www-authenticate", b'Bearer realm="local-model-gateway"'), *NEVER_AGAIN),
    )


def body_limit(path: str, settings: GuardSettings) -> int:
    """Bytes that a body for this path may have."""
    return settings.max_mcp_body if path == "/mcp" else settings.max_body


def too_large(limit: int) -> Refusal:
    """The body is larger than that."""
    message = f"The body is larger than {limit:,} bytes; send less, or raise server.max_body."
    return Refusal(413, "body_too_large", message, NEVER_AGAIN)


def cors(head: Head, settings: GuardSettings) -> answers.Headers:
    """What a page of a configured origin needs to see on every answer; nobody else gets any."""
    origins = head.headers.get(b"origin", [])
    if len(origins) != 1 or origins[0].lower() not in settings.foreign_origins:
        return ()
    return (
        (b"access-control-allow-origin", origins[0]),
        (b"vary", b"origin"),
        (b"access-control-expose-headers", b"x-request-id, retry-after"),
    )


def _refuse_host(head: Head, settings: GuardSettings) -> Refusal | None:
    hosts = head.headers.get(b"host", ())
    if len(hosts) == 1 and hosts[0].lower() in settings.hosts:
        return None
    return Refusal(
        421,
        "host_not_allowed",
        "The Host header is not one of this gateway's names; use 127.0.0.1 and the port, "
        "or add the name to server.allowed_hosts.",
        NEVER_AGAIN,
    )


def _refuse_origin(head: Head, settings: GuardSettings) -> Refusal | None:
    origins = head.headers.get(b"origin")
    if origins is not None:
        origin = origins[0].lower()
        known = origin in settings.origins or origin in settings.foreign_origins
        return None if known and len(origins) == 1 else _foreign("This web page's origin")
    # A page on another port of this machine is "same-site", and still not ours.
    sites = head.headers.get(b"sec-fetch-site", ())
    if any(site not in {b"none", b"same-origin"} for site in sites):
        return _foreign("The page that made this request")
    return None


def _refuse_shape(head: Head, settings: GuardSettings, active: int) -> Refusal | None:
    if active > settings.max_requests and head.path not in ALWAYS_SERVED:
        message = "Too many requests at once; try again in a moment."
        return Refusal(503, "overloaded", message, ((b"retry-after", b"1"),))
    if head.method not in _METHODS:
        return answers.for_status(405)
    if not head.path.startswith("/") or not head.path.isprintable():
        return Refusal(400, "invalid_request", "The path is malformed.", NEVER_AGAIN)
    return None


def _refuse_media(head: Head) -> Refusal | None:
    if any(value.lower() != b"identity" for value in head.headers.get(b"content-encoding", ())):
        return _unsupported("Bodies are taken uncompressed only.")
    if not head.has_body:
        return None
    kinds = head.headers.get(b"content-type", ())
    # Anything else could be sent by a foreign page's form without the browser asking first.
    if len(kinds) != 1 or not _JSON.fullmatch(kinds[0].strip()):
        return _unsupported("Bodies are taken as `Content-Type: application/json` only.")
    return None


def _refuse_size(head: Head, settings: GuardSettings) -> Refusal | None:
    limit = body_limit(head.path, settings)
    return too_large(limit) if head.announced_bytes > limit else None


def _foreign(who: str) -> Refusal:
    message = f"{who} may not use this gateway; add it to server.allowed_origins if it should."
    return Refusal(403, "origin_not_allowed", message, NEVER_AGAIN)


def _unsupported(message: str) -> Refusal:
    return Refusal(415, "unsupported_media_type", message, NEVER_AGAIN)


def _presented(headers: Mapping[bytes, list[bytes]]) -> bytes | None:
    """The one key that the request shows; two that differ count as none."""
    shown = list(headers.get(b"x-api-key", ()))
    for value in headers.get(b"authorization", ()):
        scheme, _, key = value.strip().partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        shown.append(key.strip())
    return shown[0] if len(set(shown)) == 1 else None


def _digest(key: bytes) -> bytes:
    # A plain hash is right for random keys of this length; they are no passwords.
    return hashlib.sha256(key).digest()
