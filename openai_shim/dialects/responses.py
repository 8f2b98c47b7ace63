"""`/v1/responses` over chat: stateless, with every event that the SDKs want to see."""

import time
from collections.abc import Mapping
from typing import Any

import pydantic_core

from openai_shim import reading
from openai_shim.dialects import openai, responses_input
from openai_shim.dialects.responses_events import Events
from openai_shim.dialects.responses_items import (
    Names,
    message_item,
    new_id,
    output_items,
    usage,
)
from runtimes import request_body

PATH = "/v1/responses"
SURFACE = "responses"

_ECHOED: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""A response repeats its request; the SDKs' types want each of these."""


def shell(given: Mapping[str, Any], model: str, response_id: str) -> dict[str, Any]:
    """A response without output."""
    echoed = {
        name: given[name] if given.get(name) is not None else default
        for name, default in _ECHOED.items()
    }
    return {
        "id": response_id,
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "previous_response_id": None,
        "store": False,
        "usage": None,
        **echoed,
    }


def completed(
    made: dict[str, Any], output: list[dict[str, Any]], finish: str | None, used: object
) -> dict[str, Any]:
    """The same response at its end."""
    cut_off = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(finish or "")
    return {
        **made,
        "status": "incomplete" if cut_off else "completed",
        "incomplete_details": {"reason": cut_off} if cut_off else None,
        "output": output,
        "usage": usage(used),
    }


def from_completion(
    made: dict[str, Any], completion: Mapping[str, Any], names: Names
) -> dict[str, Any]:
    """A whole response for a whole chat completion."""
    choices = completion.get("choices") or [{}]
    choice = choices[0] if isinstance(choices[0], dict) else {}
    output = output_items(choice.get("message") or {}, names)
    return completed(made, output, choice.get("finish_reason"), completion.get("usage"))


def kept(completion: Any, model: str) -> Any:  # any JSON: what was stored
    """The response for a stored chat completion, whose request is not at hand any more."""
    if not isinstance(completion, dict):
        return completion
    return from_completion(shell({}, model, new_id("resp")), completion, Names(()))


class Responses:
    """The dialect."""

    surface = SURFACE
    path = request_body.CHAT
    streams = True
    content_type = b"text/event-stream; charset=utf-8"

    def fields(self, given: dict[str, Any]) -> dict[str, Any]:
        """As chat."""
        return responses_input.chat_fields(given)

    def stream(self, asked: reading.Asked) -> Events:
        """Chat events in, response events out."""
        made = shell(asked.fields, asked.model, new_id("resp"))
        return Events(
            made, Names(responses_input.named_tools(asked.fields.get("tools"))), completed
        )

    def whole(self, asked: reading.Asked, body: bytes) -> bytes:
        """A response for a chat completion."""
        made = shell(asked.fields, asked.model, new_id("resp"))
        names = Names(responses_input.named_tools(asked.fields.get("tools")))
        response = from_completion(made, pydantic_core.from_json(body), names)
        return pydantic_core.to_json(response, inf_nan_mode="null")

    def alive(self, text: str) -> bytes:
        """A comment."""
        return f": {text}\n\n".encode()

    def last_words(self, given: dict[str, Any]) -> str | None:
        """Of the last item, if a user said it."""
        items = given.get("input")
        if isinstance(items, str):
            return items
        last = items[-1] if isinstance(items, list) and items else None
        return openai.words_of(last) if isinstance(last, dict) else None

    def spoken(self, asked: reading.Asked, text: str, extra: dict[str, Any]) -> bytes:
        """One message of ours."""
        made = shell(asked.fields, asked.model, new_id("resp"))
        made["local_model_gateway"] = extra
        return pydantic_core.to_json(completed(made, [message_item(text)], "stop", None))

    def spoken_stream(self, asked: reading.Asked, text: str, extra: dict[str, Any]) -> bytes:
        """The same, as events."""
        made = shell(asked.fields, asked.model, new_id("resp"))
        made["local_model_gateway"] = extra
        events = Events(made, Names(()), completed)
        return events.begin() + events.of_text(text)
