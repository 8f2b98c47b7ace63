"""The error answers that the gateway itself gives, the same shape on every route."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.types import Send

Headers = Sequence[tuple[bytes, bytes]]

_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_CODES: Mapping[int, tuple[str, str]] = {
    400: ("invalid_request", "The request cannot be understood."),
    404: ("not_found", "Nothing is served here; the routes are listed at /llms.txt."),
    405: ("method_not_allowed", "This route does not take that method."),
    413: ("body_too_large", "The body is too large."),
    421: ("host_not_allowed", "The Host header is not one of this gateway's names."),
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that ends the request before, or instead of, the application's."""

    status: int
    code: str
    message: str
    headers: Headers = ()
    """In addition; `x-should-retry: false` where repeating it cannot help."""

    def body(self) -> bytes:
        """`{"error": {...}}`, the same bytes for the same refusal."""
        kind = _TYPES.get(
            self.status, "server_error" if self.status >= 500 else "invalid_request_error"
        )
        error = {
            "message": self.message,
            "type": kind,
            "code": self.code,
            "param": None,
            "src": "gateway",
        }
        return json.dumps({"error": error}).encode()

    def all_headers(self, body: bytes) -> list[tuple[bytes, bytes]]:
        """What goes with `body`."""
        return [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *self.headers,
        ]


def for_status(status: int) -> Refusal:
    """What to say where only the status is known, as when a library answered with plain text."""
    if status in _CODES:
        code, message = _CODES[status]
        return Refusal(status, code, message)
    if status >= 500:
        return Refusal(status, "internal_error", "The gateway failed; its log says why.")
    return Refusal(status, "invalid_request", "The request was refused.")


async def send(refusal: Refusal, send: Send) -> None:
    """The whole answer."""
    body = refusal.body()
    await send(
        {
            "type": "http.response.start",
            "status": refusal.status,
            "headers": refusal.all_headers(body),
        }
    )
    await send({"type": "http.response.body", "body": body})
