"""Folds an engine's stream into the one JSON body that a client which did not stream expects."""

from typing import Any

import pydantic_core

from runtimes import event_stream, http_relay

_WHOLE = {"chat.completion.chunk": "chat.completion", "text_completion.chunk": "text_completion"}


class Fold:
    """Takes blocks of a stream in, gives a completion out."""

    def __init__(self, alias: str, wanted: event_stream.Wanted) -> None:
        self._alias = alias
        self._wanted = wanted
        self._splitter = event_stream.Splitter()
        self._top: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self.told = event_stream.Telemetry()
        self.began = False
        self.ended = False

    def feed(self, block: bytes) -> None:
        """Take in what arrived; raises `UpstreamError` or `EngineSaid`."""
        whole = self._splitter.whole(block)
        if not whole:
            return
        for event in whole.split(b"\n\n"):
            data = event_stream.data_of(event) if event else None
            if data is None:
                continue
            if data == b"[DONE]":
                self.ended = True
                continue
            self._take(event_stream.parsed(data))

    def _take(self, payload: dict[str, Any]) -> None:
        if event_stream.note(payload, self.told):
            self.began = True
        if event_stream.finished(payload):
            self.ended = True
        choices = payload.pop("choices", None)
        for key, value in payload.items():
            if value is not None:
                self._top[key] = value
        for choice in choices or ():
            if isinstance(choice, dict):
                _merge_choice(self._choices, choice)

    def completion(self) -> bytes:
        """The whole answer; raises `UpstreamError` when the stream was no whole answer."""
        if self._splitter.rest.strip():
            self.feed(b"\n\n")
        if not self.ended:
            raise http_relay.UpstreamError("broke_mid_stream", "no end of the generation was sent")
        top = self._top
        top["object"] = _WHOLE.get(str(top.get("object")), top.get("object"))
        top["model"] = self._alias
        if not self._wanted.timings:
            top.pop("timings", None)
        top.pop("prompt_progress", None)
        usage = top.pop("usage", None)
        choices = [_whole_choice(self._choices[index]) for index in sorted(self._choices)]
        whole = {**top, "choices": choices}
        if usage is not None:
            whole["usage"] = usage
        return pydantic_core.to_json(whole, inf_nan_mode="null")


def _merge_choice(choices: dict[int, dict[str, Any]], piece: dict[str, Any]) -> None:
    index = piece.get("index")
    index = index if isinstance(index, int) else 0
    whole = choices.setdefault(index, {"index": index})
    for key, value in piece.items():
        if value is None or key == "index":
            continue
        if key in {"delta", "message"}:
            if isinstance(value, dict):
                _merge_message(whole.setdefault("message", {}), value)
        elif key == "text":
            whole["text"] = whole.get("text", "") + value
        elif key == "logprobs" and isinstance(value, dict):
            _extend(whole.setdefault("logprobs", {}), value)
        else:
            whole[key] = value


def _extend(whole: dict[str, Any], piece: dict[str, Any]) -> None:
    for key, value in piece.items():
        if isinstance(value, list):
            whole.setdefault(key, []).extend(value)
        elif value is not None:
            whole[key] = value


def _merge_message(whole: dict[str, Any], delta: dict[str, Any]) -> None:
    for key, value in delta.items():
        if value is None:
            continue
        if key == "tool_calls" and isinstance(value, list):
            _merge_calls(whole.setdefault("tool_calls", []), value)
        elif key == "function_call" and isinstance(value, dict):
            _append_strings(whole.setdefault("function_call", {}), value)
        elif isinstance(value, str) and key != "role":
            whole[key] = (whole.get(key) or "") + value
        elif isinstance(value, list):
            whole.setdefault(key, []).extend(value)
        else:
            whole[key] = value


def _merge_calls(calls: list[dict[str, Any]], pieces: list[Any]) -> None:
    for piece in pieces:
        if not isinstance(piece, dict):
            continue
        call = _call_of(calls, piece)
        for key, value in piece.items():
            if key == "function" and isinstance(value, dict):
                _append_strings(call.setdefault("function", {}), value)
            elif value is not None:
                call[key] = value


def _call_of(calls: list[dict[str, Any]], piece: dict[str, Any]) -> dict[str, Any]:
    """The call that this piece continues; engines that send no index send whole calls."""
    index = piece.get("index")
    if isinstance(index, int):
        for call in calls:
            if call.get("index") == index:
                return call
    elif calls and piece.get("id") in {None, calls[-1].get("id")}:
        return calls[-1]
    calls.append({})
    return calls[-1]


def _append_strings(whole: dict[str, Any], piece: dict[str, Any]) -> None:
    for key, value in piece.items():
        if key == "name" and whole.get("name"):
            continue  # some engines repeat the name with each piece
        if isinstance(value, str):
            whole[key] = whole.get(key, "") + value
        elif value is not None:
            whole[key] = value


def _whole_choice(choice: dict[str, Any]) -> dict[str, Any]:
    message = choice.get("message")
    if message is not None:
        message.setdefault("role", "assistant")
        message.setdefault("content", None)
        for call in message.get("tool_calls", ()):
            call.pop("index", None)
            call.setdefault("type", "function")
    choice.setdefault("finish_reason", "stop")
    choice.setdefault("logprobs", None)
    return choice
