"""What a dialect is to the handler: a body in, events or a body out."""

from typing import Any, Protocol

from openai_shim import errors, reading
from runtimes import event_stream


class Stream(Protocol):
    """One streamed answer on its way to the client."""

    told: event_stream.Telemetry

    @property
    def began(self) -> bool:
        """A part of the answer has arrived."""

    def begin(self) -> bytes:
        """What goes out with the head, before the engine has said anything."""

    def feed(self, block: bytes) -> bytes:
        """What to send for what arrived; raises `UpstreamError` or `EngineSaid`."""

    def end(self) -> bytes:
        """What goes out last; raises `UpstreamError` when the engine's answer was not whole."""

    def broke(self, told: errors.ErrorAnswer) -> bytes:
        """The error, in mid-stream; the connection is cut right after it."""


class Dialect(Protocol):
    """One route's way to speak. It holds nothing of any request."""

    surface: str
    path: str
    """The OpenAI route that the engine is asked on."""
    streams: bool
    content_type: bytes

    def fields(self, given: dict[str, Any]) -> dict[str, Any]:
        """The engine's request for the client's; raises `InvalidRequest` that names the field."""

    def stream(self, asked: reading.Asked) -> Stream:
        """A translator for one streamed answer."""

    def whole(self, asked: reading.Asked, body: bytes) -> bytes:
        """The client's body for the engine's whole answer."""

    def alive(self, text: str) -> bytes:
        """A sign of life in a stream that means nothing to a client."""

    def last_words(self, given: dict[str, Any]) -> str | None:
        """The text of the last user message, if it is nothing but text."""

    def spoken(self, asked: reading.Asked, text: str, extra: dict[str, Any]) -> bytes:
        """An answer of the gateway's own, whole."""

    def spoken_stream(self, asked: reading.Asked, text: str, extra: dict[str, Any]) -> bytes:
        """An answer of the gateway's own, as a whole stream."""
