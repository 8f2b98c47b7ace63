"""What a client's conversations will carry once it is connected: how many tools, and about how many tokens of them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from local_model_gateway import client, errors

VERSION = "2026-07-28"
LIMIT_S = 5.0
CHARACTERS_A_TOKEN = 4.0
"""Counted with a public tokenizer, this list has 4.2."""
SHOWN_TO_MODELS = ("name", "description", "inputSchema")


@dataclass(frozen=True, slots=True)
class Offer:
    """The gateway's own list, as a model is shown it."""

    tools: int
    tokens: int
    """Rounded to hundreds: clients word it differently."""


def asked(gateway: client.Client) -> Offer | None:
    """One request of the stateless protocol; None where no gateway answers it."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientInfo": {"name": "lmg", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": VERSION,
        "Mcp-Method": "tools/list",
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}
    try:
        with gateway.stream("/mcp", body, headers, timeout_s=LIMIT_S) as (_, lines):
            return counted(json.loads(b"\n".join(lines))["result"]["tools"])
    except (errors.GatewayError, ValueError, KeyError, TypeError):
        return None


def counted(tools: Iterable[dict[str, Any]]) -> Offer:  # Any: JSON
    """The parts that reach the model; output schemas and hints stay with the client."""
    shown = [{key: tool[key] for key in SHOWN_TO_MODELS if key in tool} for tool in tools]
    text = json.dumps(shown, separators=(",", ":"), ensure_ascii=False)
    return Offer(len(shown), int(round(len(text) / CHARACTERS_A_TOKEN, -2)))
