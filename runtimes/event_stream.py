"""An engine's event stream on its way to a client: what it tells is noted, what nobody asked for is taken out."""

from dataclasses import dataclass
from typing import Any

import pydantic_core

from runtimes import http_relay

EVENT_LIMIT = 8 * 1024 * 1024  # one event; a picture inside one stays far below
DONE = b"data: [DONE]\n\n"
_FIELDS = (b"event:", b"id:", b"retry:", b":")
_ENVELOPE = frozenset(
    {"choices", "created", "id", "model", "object", "service_tier", "system_fingerprint"}
)
_TELLING = (
    b'"finish_reason":"',
    b'"finish_reason": "',
    b'"usage":',
    b'"timings":',
    b'"error":',
    b'"prompt_progress":',
)
"""What makes an event more than a piece of the answer."""


@dataclass(slots=True)
class Telemetry:
    """What an answer told about itself."""

    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    prefill_tokens_per_s: float | None = None
    decode_tokens_per_s: float | None = None
    prefill: tuple[int, int] | None = None
    """Prompt tokens processed, and in all, while the engine reads the prompt."""
    pieces: int = 0
    """Events that carried a part of the answer: about the tokens so far."""

    def tokens_per_s(self, tokens: int, ms: int) -> float | None:
        """What the engine says, else what the clock says of the tokens after the first."""
        if self.decode_tokens_per_s is not None:
            return round(self.decode_tokens_per_s, 1)
        return round(1000 * (tokens - 1) / ms, 1) if tokens > 1 and ms > 0 else None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the client itself asked to see."""

    usage: bool = False
    timings: bool = False
    progress: bool = False


class EngineSaid(Exception):
    """The engine reported an error inside its stream; `error` is what it said."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(str(error.get("message") or error))
        self.error = error


class Splitter:
    """Cuts a byte stream into whole events; what is not whole yet waits for the rest."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def whole(self, block: bytes) -> bytes:
        """As many whole events as there are, with `\\n` line ends."""
        if self._held:
            block, self._held = self._held + block, b""
        if b"\r" in block:
            # Some servers end lines with \r\n; JSON holds no raw \r, so nothing else is touched.
            carry = block.endswith(b"\r")
            block = block[: len(block) - carry].replace(b"\r\n", b"\n")
            self._held = b"\r" if carry else b""
        if block.endswith(b"\n\n") and not self._held:
            return block
        end = block.rfind(b"\n\n") + 2
        if end < 2:
            end = 0
        self._held = block[end:] + self._held
        if len(self._held) > EVENT_LIMIT:
            raise http_relay.UpstreamError("garbage", "an event without an end")
        return block[:end]

    @property
    def rest(self) -> bytes:
        """What is left when the stream has ended; an event may lack its last empty line."""
        return self._held


def data_of(event: bytes) -> bytes | None:
    """The data of one event, or None for a comment; raises for what is no event at all."""
    if event.startswith(b"data:") and b"\n" not in event:
        return event[5:].strip()
    parts: list[bytes] = []
    for line in event.split(b"\n"):
        if line.startswith(b"data:"):
            parts.append(line[5:].strip())
        elif line and not line.startswith(_FIELDS):
            raise http_relay.UpstreamError("garbage", "a line that belongs to no event")
    return b"\n".join(parts) if parts else None


def parsed(data: bytes) -> dict[str, Any]:
    """One event's JSON object; raises `UpstreamError` for garbage and `EngineSaid` for an error."""
    try:
        payload = pydantic_core.from_json(data)
    except ValueError as error:
        raise http_relay.UpstreamError("garbage", "an event that is not JSON") from error
    if not isinstance(payload, dict):
        raise http_relay.UpstreamError("garbage", "an event that is not an object")
    said = payload.get("error")
    if said:
        raise EngineSaid(said if isinstance(said, dict) else {"message": str(said)})
    return payload


def note(payload: dict[str, Any], told: Telemetry) -> bool:
    """Write down what one event tells; whether it carried a part of the answer."""
    usage = payload.get("usage")
    if usage:
        _note_usage(usage, told)
    timings = payload.get("timings")
    if timings:
        _note_timings(timings, told)
    progress = payload.get("prompt_progress")
    if isinstance(progress, dict):
        told.prefill = (_count(progress.get("processed")) or 0, _count(progress.get("total")) or 0)
    choices = payload.get("choices")
    if not choices:
        return False
    part = any(_carries(choice) for choice in choices if isinstance(choice, dict))
    told.pieces += part
    return part


def _carries(choice: dict[str, Any]) -> bool:
    if choice.get("text"):
        return True
    delta = choice.get("delta") or choice.get("message")
    if not isinstance(delta, dict):
        return False
    # The role alone, and the empty first chunk of llama.cpp, are not a token.
    return any(value for key, value in delta.items() if key != "role")


def _note_usage(usage: Any, told: Telemetry) -> None:  # what an engine sent
    if not isinstance(usage, dict):
        return
    told.prompt_tokens = _count(usage.get("prompt_tokens"))
    told.output_tokens = _count(usage.get("completion_tokens"))
    details = usage.get("prompt_tokens_details")
    if isinstance(details, dict):
        told.cached_tokens = _count(details.get("cached_tokens"))


def _note_timings(timings: Any, told: Telemetry) -> None:  # what an engine sent
    if not isinstance(timings, dict):
        return
    told.prefill_tokens_per_s = _rate(timings.get("prompt_per_second"))
    told.decode_tokens_per_s = _rate(timings.get("predicted_per_second"))


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 2**53 else None


def _rate(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 < value < 1e9 else None


def finished(payload: dict[str, Any]) -> bool:
    """Whether this event gives a reason why the generation ended."""
    choices = payload.get("choices") or ()
    return any(isinstance(choice, dict) and choice.get("finish_reason") for choice in choices)


class Cleaner:
    """Relays whole events, and changes only those that carry what the client must not see.

    What comes in one block leaves in one block. The model is renamed to the alias that was asked for:
    engines call it by a file path, or by whatever name they know.
    """

    def __init__(self, alias: str, wanted: Wanted) -> None:
        self._name = alias
        self._alias = b'"model":' + pydantic_core.to_json(alias)
        self._wanted = wanted
        self._splitter = Splitter()
        self._named = False
        self._renamed: bytes | None = None
        self.told = Telemetry()
        self.began = False
        """A part of the answer has arrived."""
        self.ended = False
        """The generation gave a reason for its end, or said `[DONE]`."""
        self.done = False
        """`[DONE]` has been relayed."""

    def feed(self, block: bytes) -> bytes:
        """What to send on for this block; raises `UpstreamError` or `EngineSaid` on what no client can use."""
        whole = self._splitter.whole(block)
        if not whole:
            return b""
        if self.began and self._is_plain(whole):
            self.told.pieces += whole.count(b"\n\n")
            return whole if self._renamed is None else whole.replace(self._renamed, self._alias)
        return self._looked_through(whole)

    def _is_plain(self, whole: bytes) -> bool:
        """Whether these are nothing but pieces of the answer, told by their seams alone.

        Quotes inside JSON text are escaped, so none of the names can be part of what the model says.
        """
        return (
            whole.startswith(b"data: {")
            and whole.endswith(b"}\n\n")
            and whole.count(b"\n\n") == whole.count(b"}\n\ndata: {") + 1
            and not any(name in whole for name in _TELLING)
        )

    def _looked_through(self, whole: bytes) -> bytes:
        events = whole.split(b"\n\n")
        events.pop()
        changed = False
        for number, event in enumerate(events):
            cleaned = self._clean(event)
            if cleaned is not event:
                events[number] = cleaned
                changed = True
        if changed:
            whole = b"".join([event + b"\n\n" for event in events if event])
        if self._renamed is not None:
            whole = whole.replace(self._renamed, self._alias)
        return whole

    def end(self) -> bytes:
        """What to add once the engine's answer ended; raises `UpstreamError` when it is not a whole answer."""
        tail = self._splitter.rest
        tail = self.feed(b"\n\n") if tail.strip() else b""
        if not self.ended:
            raise http_relay.UpstreamError("broke_mid_stream", "no end of the generation was sent")
        return tail if self.done else tail + DONE

    def _clean(self, event: bytes) -> bytes:
        data = data_of(event)
        if data is None:
            return event
        if data == b"[DONE]":
            self.ended = self.done = True
            return event
        payload = parsed(data)
        if note(payload, self.told):
            self.began = True
        if not self.ended and finished(payload):
            self.ended = True
        if not self._named:
            self._learn_name(event, payload)
        return self._without_extras(event, payload)

    def _learn_name(self, event: bytes, payload: dict[str, Any]) -> None:
        model = payload.get("model")
        if not isinstance(model, str):
            return
        self._named = True
        name = pydantic_core.to_json(model)
        spelled = b'"model":' + name
        if spelled != self._alias:
            self._renamed = spelled if spelled in event else b'"model": ' + name

    def _without_extras(self, event: bytes, payload: dict[str, Any]) -> bytes:
        wanted = self._wanted
        before = len(payload)
        if not wanted.usage and payload.get("usage") is not None:
            del payload["usage"]
        if not wanted.timings:
            payload.pop("timings", None)
        if not wanted.progress:
            payload.pop("prompt_progress", None)
        if len(payload) == before:
            return event
        if not payload.get("choices") and payload.keys() <= _ENVELOPE:
            return b""
        if "model" in payload:
            payload["model"] = self._name
        return b"data: " + pydantic_core.to_json(payload, inf_nan_mode="null")
