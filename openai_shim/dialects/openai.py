"""The OpenAI routes that engines speak themselves: checked, cleaned, and otherwise left alone."""

import time
from typing import Any

import pydantic_core

from openai_shim import errors, reading
from runtimes import event_stream, request_body


class Events:
    """An engine's own events, less what the client did not ask for."""

    def __init__(self, asked: reading.Asked) -> None:
        cleaner = event_stream.Cleaner(asked.model, request_body.wanted(asked.fields))
        self._cleaner = cleaner
        self.told = cleaner.told
        self.feed = cleaner.feed
        self.end = cleaner.end

    @property
    def began(self) -> bool:
        """Whether a part of the answer has arrived."""
        return self._cleaner.began

    def begin(self) -> bytes:
        """Engines begin themselves."""
        return b""

    def broke(self, told: errors.ErrorAnswer) -> bytes:
        """The form that the SDKs raise on; they overlook `event: error` alone."""
        return b"data: " + told.body() + b"\n\n"


class Plain:
    """What chat, completions and embeddings have in common."""

    surface = "openai"
    path = ""
    streams = True
    content_type = b"text/event-stream; charset=utf-8"
    event_object = ""
    whole_object = ""

    def fields(self, given: dict[str, Any]) -> dict[str, Any]:
        """The same."""
        return given

    def stream(self, asked: reading.Asked) -> Events:
        """The engine's own events."""
        return Events(asked)

    def whole(self, asked: reading.Asked, body: bytes) -> bytes:
        """The same."""
        return body

    def alive(self, text: str) -> bytes:
        """A comment."""
        return f": {text}\n\n".encode()

    def last_words(self, given: dict[str, Any]) -> str | None:
        """Only a conversation can be told to stop."""
        return None

    def spoken(self, asked: reading.Asked, text: str, extra: dict[str, Any]) -> bytes:
        """One completion."""
        choice = {"index": 0, "message": {"role": "assistant", "content": text}}
        return _spoken(asked, "chat.completion", {**choice, "finish_reason": "stop"}, extra)

    def spoken_stream(self, asked: reading.Asked, text: str, extra: dict[str, Any]) -> bytes:
        """Its one chunk, and the end."""
        choice = {"index": 0, "delta": {"role": "assistant", "content": text}}
        chunk = _spoken(asked, "chat.completion.chunk", {**choice, "finish_reason": "stop"}, extra)
        return b"data: " + chunk + b"\n\n" + event_stream.DONE


def _spoken(
    asked: reading.Asked, kind: str, choice: dict[str, Any], extra: dict[str, Any]
) -> bytes:
    made = {
        "id": "lmg-stop",
        "object": kind,
        "created": int(time.time()),
        "model": asked.model,
        "choices": [choice],
        "local_model_gateway": extra,
    }
    if kind == "chat.completion":
        made["usage"] = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    return pydantic_core.to_json(made)


class Chat(Plain):
    """`/v1/chat/completions`."""

    path = request_body.CHAT

    def fields(self, given: dict[str, Any]) -> dict[str, Any]:
        """The same, if it is a conversation."""
        reading.messages(given)
        return given

    def last_words(self, given: dict[str, Any]) -> str | None:
        """Of the last message, if a user said it."""
        return words_of(reading.messages(given)[-1])


class Completions(Plain):
    """`/v1/completions`."""

    path = request_body.COMPLETIONS

    def fields(self, given: dict[str, Any]) -> dict[str, Any]:
        """The same, if there is a prompt."""
        reading.text_or_list(given, "prompt")
        return given


class Embeddings(Plain):
    """`/v1/embeddings`: never streamed."""

    path = request_body.EMBEDDINGS
    streams = False

    def fields(self, given: dict[str, Any]) -> dict[str, Any]:
        """The same, if there is something to embed."""
        reading.text_or_list(given, "input")
        return given


def words_of(message: dict[str, Any]) -> str | None:
    """A user's message as text, or None when it is somebody else's, or more than text."""
    if message.get("role") != "user":
        return None
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict):
        text = content[0].get("text")
        return text if isinstance(text, str) else None
    return None
