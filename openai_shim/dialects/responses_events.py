"""The events of a streamed response, made from an engine's chat events as they come."""

from collections.abc import Callable
from typing import Any

import pydantic_core

from openai_shim import errors
from openai_shim.dialects import responses_items
from openai_shim.dialects.responses_items import Names
from runtimes import event_stream, http_relay

Completed = Callable[[dict[str, Any], list[dict[str, Any]], str | None, object], dict[str, Any]]


class _Open:
    """The item that is being written."""

    def __init__(self, kind: str, item_id: str, index: int) -> None:
        self.kind, self.id, self.index = kind, item_id, index
        self.text = ""
        self.name = ""
        self.call_id = ""
        self.slot: int | None = None


class Events:
    """One streamed response. Items are written one after another, as engines write them."""

    def __init__(self, made: dict[str, Any], names: Names, completed: Completed) -> None:
        self._made, self._names, self._completed = made, names, completed
        self._splitter = event_stream.Splitter()
        self._number = 0
        self._open: _Open | None = None
        self._done: list[dict[str, Any]] = []
        self._finish: str | None = None
        self._usage: object = None
        self._ended = False
        self.told = event_stream.Telemetry()
        self.began = False

    # ---- what the handler calls ----------------------------------------------------------------

    def begin(self) -> bytes:
        """`response.created` and `response.in_progress`."""
        return self._event("response.created", response=self._made) + self._event(
            "response.in_progress", response=self._made
        )

    def feed(self, block: bytes) -> bytes:
        """Events for every piece that arrived."""
        whole = self._splitter.whole(block)
        out: list[bytes] = []
        for event in whole.split(b"\n\n"):
            data = event_stream.data_of(event) if event else None
            if data == b"[DONE]":
                self._ended = True
            elif data is not None:
                self._take(event_stream.parsed(data), out)
        return b"".join(out)

    def end(self) -> bytes:
        """Close what is open, and `response.completed` (or `incomplete`)."""
        out = [self.feed(b"\n\n")] if self._splitter.rest.strip() else []
        if not self._ended:
            raise http_relay.UpstreamError("broke_mid_stream", "no end of the generation was sent")
        if not self._done and self._open is None:
            self._open_item("message", out)
        self._close(out)
        response = self._completed(self._made, self._done, self._finish, self._usage)
        out.append(self._event(f"response.{response['status']}", response=response))
        return b"".join(out)

    def broke(self, told: errors.ErrorAnswer) -> bytes:
        """An error event of this API that also carries `error`, which is what the SDKs raise on."""
        fields = {"code": told.code, "message": told.message, "param": told.param}
        return self._event("error", **fields, error=told.error())

    def of_text(self, text: str) -> bytes:
        """A whole answer that is one message."""
        out: list[bytes] = []
        self._text("message", text, out)
        self._ended, self._finish = True, "stop"
        return b"".join(out) + self.end()

    # ---- pieces --------------------------------------------------------------------------------

    def _take(self, payload: dict[str, Any], out: list[bytes]) -> None:
        if event_stream.note(payload, self.told):
            self.began = True
        if payload.get("usage"):
            self._usage = payload["usage"]
        choices = payload.get("choices") or ()
        choice = choices[0] if choices else None
        if not isinstance(choice, dict) or choice.get("index", 0) != 0:
            return
        delta = choice.get("delta")
        if isinstance(delta, dict):
            self._delta(delta, out)
        if choice.get("finish_reason"):
            self._finish, self._ended = str(choice["finish_reason"]), True

    def _delta(self, delta: dict[str, Any], out: list[bytes]) -> None:
        if thought := responses_items.reasoning_of(delta):
            self._text("reasoning", thought, out)
        content = delta.get("content")
        if isinstance(content, str) and content:
            self._text("message", content, out)
        for call in delta.get("tool_calls") or ():
            if isinstance(call, dict):
                self._call(call, out)

    def _text(self, kind: str, text: str, out: list[bytes]) -> None:
        opened = self._open
        if opened is None or opened.kind != kind:
            opened = self._open_item(kind, out)
        opened.text += text
        if kind == "message":
            out.append(self._part("response.output_text.delta", opened, delta=text, logprobs=[]))
        else:
            out.append(self._part("response.reasoning_text.delta", opened, delta=text))

    def _call(self, call: dict[str, Any], out: list[bytes]) -> None:
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        opened, slot = self._open, call.get("index")
        name, call_id = function.get("name"), call.get("id")
        same = opened is not None and opened.kind == "call" and opened.slot == slot
        # Engines that number no calls give each one its own id.
        if same and slot is None and opened is not None and call_id not in {None, opened.call_id}:
            same = False
        if not same or opened is None:
            opened = self._open_call(slot, str(name or ""), call_id, out)
        arguments = function.get("arguments")
        if isinstance(arguments, str) and arguments:
            opened.text += arguments
            if not self._names.is_custom(opened.name):
                kind = "response.function_call_arguments.delta"
                out.append(self._item(kind, opened, delta=arguments))

    # ---- items ---------------------------------------------------------------------------------

    def _open_item(self, kind: str, out: list[bytes]) -> _Open:
        self._close(out)
        prefix = "msg" if kind == "message" else "rs"
        opened = _Open(kind, responses_items.new_id(prefix), len(self._done))
        self._open = opened
        item = self._finished(opened)
        begun = {**item, "status": "in_progress", "content": []}
        out.append(self._event("response.output_item.added", output_index=opened.index, item=begun))
        out.append(self._part("response.content_part.added", opened, part=item["content"][0]))
        return opened

    def _open_call(
        self, slot: Any, name: str, call_id: object, out: list[bytes]
    ) -> _Open:  # any JSON
        self._close(out)
        opened = _Open("call", responses_items.new_id("fc"), len(self._done))
        opened.slot, opened.name = slot, name
        opened.call_id = str(call_id or responses_items.new_id("call"))
        self._open = opened
        begun = {**self._finished(opened), "status": "in_progress"}
        out.append(self._event("response.output_item.added", output_index=opened.index, item=begun))
        return opened

    def _finished(self, opened: _Open) -> dict[str, Any]:
        if opened.kind == "call":
            return self._names.call(opened.name, opened.call_id, opened.text, opened.id)
        if opened.kind == "message":
            return responses_items.message_item(opened.text, opened.id)
        return responses_items.reasoning_item(opened.text, opened.id)

    def _close(self, out: list[bytes]) -> None:
        opened, self._open = self._open, None
        if opened is None:
            return
        item = self._finished(opened)
        if opened.kind == "call":
            self._close_call(opened, item, out)
        else:
            kind = "output_text" if opened.kind == "message" else "reasoning_text"
            more: dict[str, Any] = {"logprobs": []} if opened.kind == "message" else {}
            out.append(self._part(f"response.{kind}.done", opened, text=opened.text, **more))
            out.append(self._part("response.content_part.done", opened, part=item["content"][0]))
        out.append(self._event("response.output_item.done", output_index=opened.index, item=item))
        self._done.append(item)

    def _close_call(self, opened: _Open, item: dict[str, Any], out: list[bytes]) -> None:
        if item["type"] == "custom_tool_call":
            kind = "response.custom_tool_call_input"
            out.append(self._item(f"{kind}.delta", opened, delta=item["input"]))
            out.append(self._item(f"{kind}.done", opened, input=item["input"]))
            return
        kind = "response.function_call_arguments.done"
        out.append(self._item(kind, opened, name=item["name"], arguments=opened.text))

    # ---- writing -------------------------------------------------------------------------------

    def _part(self, kind: str, opened: _Open, **fields: Any) -> bytes:  # any JSON
        return self._item(kind, opened, content_index=0, **fields)

    def _item(self, kind: str, opened: _Open, **fields: Any) -> bytes:  # any JSON
        return self._event(kind, item_id=opened.id, output_index=opened.index, **fields)

    def _event(self, kind: str, **fields: Any) -> bytes:  # any JSON
        data = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        text = pydantic_core.to_json(data, inf_nan_mode="null")
        return b"event: " + kind.encode() + b"\ndata: " + text + b"\n\n"
