"""Output items of a response: messages, reasoning and calls, with namespaces put back on."""

import secrets
from collections.abc import Iterable, Mapping
from typing import Any

import pydantic_core

Tool = tuple[Mapping[str, Any], str, str | None]


class Names:
    """Which of the client's tools a flat name stands for."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._tools = {flat: (tool, space) for tool, flat, space in tools}

    def call(self, flat: str, call_id: str, arguments: str, item_id: str) -> dict[str, Any]:
        """The item for one call, as the client knows the tool."""
        tool, space = self._tools.get(flat, ({}, None))
        name = str(tool.get("name") or flat)
        made: dict[str, Any] = {
            "id": item_id,
            "type": "function_call",
            "status": "completed",
            "call_id": call_id,
            "name": name,
            "arguments": arguments,
        }
        if tool.get("type") == "custom":
            made["type"] = "custom_tool_call"
            made["input"] = _custom_input(made.pop("arguments"))
        if space is not None:
            made["namespace"] = space
        return made

    def is_custom(self, flat: str) -> bool:
        """Whether the tool takes plain text."""
        return self._tools.get(flat, ({}, None))[0].get("type") == "custom"


def _custom_input(arguments: str) -> str:
    try:
        payload = pydantic_core.from_json(arguments)
    except ValueError:
        return arguments
    text = payload.get("input") if isinstance(payload, dict) else None
    return text if isinstance(text, str) else arguments


def new_id(kind: str) -> str:
    """An id of the shape that clients expect."""
    return f"{kind}_{secrets.token_hex(24)}"


def text_part(text: str, logprobs: list[Any] | None = None) -> dict[str, Any]:
    """The text of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs or []}


def message_item(text: str, item_id: str | None = None) -> dict[str, Any]:
    """A message of the assistant's."""
    return {
        "id": item_id or new_id("msg"),
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [text_part(text)],
    }


def reasoning_item(text: str, item_id: str | None = None) -> dict[str, Any]:
    """What the model thought aloud."""
    return {
        "id": item_id or new_id("rs"),
        "type": "reasoning",
        "status": "completed",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": text}],
    }


def reasoning_of(message: Mapping[str, Any]) -> str:
    """Engines call it by two names."""
    for name in ("reasoning_content", "reasoning"):
        if isinstance(message.get(name), str):
            return str(message[name])
    return ""


def output_items(message: Mapping[str, Any], names: Names) -> list[dict[str, Any]]:
    """All items of one chat message."""
    items: list[dict[str, Any]] = []
    if thought := reasoning_of(message):
        items.append(reasoning_item(thought))
    content = message.get("content")
    calls = message.get("tool_calls") or ()
    if content or not calls:
        items.append(message_item(content if isinstance(content, str) else ""))
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            call_id = str(call.get("id") or new_id("call"))
            arguments = str(function.get("arguments") or "")
            name = str(function.get("name") or "")
            items.append(names.call(name, call_id, arguments, new_id("fc")))
    return items


def usage(used: object) -> dict[str, Any] | None:
    """Token counts under the names of this API; None when the engine told none."""
    if not isinstance(used, dict):
        return None
    given, made = used.get("prompt_tokens") or 0, used.get("completion_tokens") or 0
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": _detail(used, "prompt", "cached_tokens")},
        "output_tokens": made,
        "output_tokens_details": {
            "reasoning_tokens": _detail(used, "completion", "reasoning_tokens")
        },
        "total_tokens": given + made,
    }


def _detail(used: Mapping[str, Any], side: str, name: str) -> int:
    details = used.get(f"{side}_tokens_details")
    value = details.get(name) if isinstance(details, dict) else None
    return value if isinstance(value, int) else 0
