"""Plain ASGI answers: whole JSON bodies, and streams that can be cut."""

from collections.abc import Iterable, Mapping
from typing import Any

import pydantic_core
from starlette.types import Receive, Scope, Send

from openai_shim import errors

Headers = list[tuple[bytes, bytes]]


class ClientGone(Exception):
    """The client left; there is nobody to answer."""


async def json(
    send: Send, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """A whole JSON answer."""
    length = str(len(body)).encode()
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", length),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def data(send: Send, status: int, payload: Mapping[str, Any], headers: Headers = []) -> None:  # noqa: B006 - read only
    """A whole JSON answer from plain data."""
    await json(send, status, pydantic_core.to_json(payload), headers)


async def error(
    send: Send, told: errors.ErrorAnswer, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """An error before anything else was sent."""
    await json(send, told.status, told.body(), [*told.headers(), *headers])


async def start(send: Send, content_type: bytes, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """The head of an answer whose length nobody knows yet."""
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [
                (b"content-type", content_type),
                (b"cache-control", b"no-cache"),
                (b"x-accel-buffering", b"no"),
                *headers,
            ],
        }
    )


async def piece(send: Send, body: bytes) -> None:
    """A part of a body; waits while the client does not read."""
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def end(send: Send, body: bytes = b"") -> None:
    """The regular end of a body."""
    await send({"type": "http.response.body", "body": body})


async def body_of(receive: Receive) -> bytes:
    """The whole request body; raises `ClientGone` when it is cut off. Its size is the guard's business."""
    first = await receive()
    if first["type"] == "http.disconnect":
        raise ClientGone
    body: bytes = first.get("body", b"")
    if not first.get("more_body"):
        return body
    parts = [body]
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def left(receive: Receive) -> None:
    """Returns when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def is_get(scope: Scope) -> bool:
    """Whether the request only looks."""
    return scope["method"] in {"GET", "HEAD"}
