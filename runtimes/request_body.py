"""What an engine is sent: the client's own fields, less what is none of an engine's business."""

from collections.abc import Mapping
from typing import Any

import pydantic_core

from runtimes import base, event_stream

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
STREAMED = frozenset({CHAT, COMPLETIONS})

OURS = frozenset({"priority", "max_queue_wait_s", "run_timeout_s"})
"""Read by the gateway, never forwarded."""

ROUTING = frozenset(
    {
        "api_base",
        "api_key",
        "api_type",
        "api_version",
        "aws_access_key_id",
        "aws_secret_access_key",
        "azure_ad_token",
        "base_url",
        "custom_llm_provider",
        "default_headers",
        "extra_body",
        "extra_headers",
        "extra_query",
        "fallbacks",
        "headers",
        "mock_response",
        "organization",
        "vertex_credentials",
    }
)
"""Where a request goes and with which key is configuration: a proxy that took it from a body leaked keys."""

ENGINE_PRIVATE = frozenset(
    {
        "cache_prompt",
        "cache_reuse",
        "cache_type_k",
        "cache_type_v",
        "draft_model",
        "id_slot",
        "kv_transfer_params",
        "lora",
        "lora_path",
        "mmproj",
        "model_path",
        "n_discard",
        "slot_id",
    }
)
"""Slots, caches, adapters and files belong to whoever configured the engine, not to one of its clients."""

_DROPPED = OURS | ROUTING | ENGINE_PRIVATE

_STANDARD = frozenset(
    {
        "best_of",
        "dimensions",
        "echo",
        "encoding_format",
        "frequency_penalty",
        "input",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "model",
        "n",
        "parallel_tool_calls",
        "presence_penalty",
        "prompt",
        "response_format",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "suffix",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
    }
)
"""All that an engine with a strict schema is sent."""


def wanted(fields: Mapping[str, Any]) -> event_stream.Wanted:
    """What of an engine's telemetry the client asked to see."""
    options = fields.get("stream_options")
    return event_stream.Wanted(
        usage=isinstance(options, dict) and options.get("include_usage") is True,
        timings=fields.get("timings_per_token") is True,
        progress=fields.get("return_progress") is True,
    )


def for_engine(spec: base.RuntimeSpec, path: str, fields: Mapping[str, Any]) -> bytes:
    """The body to send: streamed wherever the route can stream, with usage asked for.

    A stream is what makes every engine notice that its client left, and what shows the first token.
    """
    sent = {key: value for key, value in fields.items() if key not in _DROPPED}
    if spec.quirks.strict_fields:
        sent = {key: value for key, value in sent.items() if key in _STANDARD}
    sent["model"] = spec.upstream_model
    if path in STREAMED:
        sent["stream"] = True
        options = fields.get("stream_options")
        options = options if isinstance(options, dict) else {}
        if spec.quirks.usage_in_stream:
            sent["stream_options"] = {**options, "include_usage": True}
        elif not options:
            sent.pop("stream_options", None)
        if spec.quirks.prompt_progress:
            sent["return_progress"] = True
    else:
        sent.pop("stream", None)
        sent.pop("stream_options", None)
    return pydantic_core.to_json(sent)


def engine_path(spec: base.RuntimeSpec, path: str) -> str | None:
    """Where this engine answers the route, or None when it does not have it."""
    match path:
        case "/v1/chat/completions":
            return spec.quirks.chat_path
        case "/v1/completions":
            return spec.quirks.completions_path
        case "/v1/embeddings":
            return spec.quirks.embeddings_path
        case _:
            return None
