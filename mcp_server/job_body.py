"""From a tool's arguments to stored work: the route, the body that the engine will get, the gateway's own fields."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from coordinator import work
from mcp_server import errors
from runtimes import base

Kind = Literal["chat", "completion", "embedding", "one_shot"]

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
_NEEDS: dict[str, tuple[str, str]] = {
    CHAT: ("chat", "messages"),
    COMPLETIONS: ("completions", "prompt"),
    EMBEDDINGS: ("embeddings", "input"),
}


def request(
    spec: base.RuntimeSpec,
    *,
    alias: str,
    kind: Kind,
    body: Mapping[str, Any],
    priority: int | str,
    owner: str,
    idempotency_key: str | None,
    max_attempts: int,
) -> work.WorkRequest:
    """Checked as far as one can without the engine; `ToolError` says what to change."""
    fields = dict(body)
    path = _path(spec, kind, fields)
    capability, wanted = _NEEDS[path]
    if kind == "one_shot" and not spec.exclusive:
        raise errors.refuse(
            "unsupported", f"{alias} stays loaded and runs no one-shot work; use chat"
        )
    if capability not in spec.capabilities:
        can = ", ".join(sorted(spec.capabilities))
        raise errors.refuse("unsupported", f"{alias} cannot do {kind}; it can: {can}")
    if wanted not in fields:
        raise errors.refuse("invalid_request", f"a {kind} body needs `{wanted}`")
    fields["model"] = alias
    return work.WorkRequest(
        runtime=spec.name,
        alias=alias,
        path=path,
        owner=owner,
        surface="mcp",
        durability=work.Durability.STORED,
        priority=_priority(fields.pop("priority", priority)),
        max_queue_wait_s=_seconds(fields, "max_queue_wait_s"),
        run_timeout_s=_seconds(fields, "run_timeout_s"),
        max_attempts=max_attempts,
        idempotency_key=idempotency_key,
        body=_encoded(fields),
    )


def _path(spec: base.RuntimeSpec, kind: Kind, fields: dict[str, Any]) -> str:
    """Chat and one-shot bodies may be a bare prompt; it is made into what the route wants."""
    if kind == "embedding":
        return EMBEDDINGS
    if kind == "completion" or (kind == "one_shot" and "chat" not in spec.capabilities):
        return COMPLETIONS
    if "messages" not in fields and isinstance(fields.get("prompt"), str):
        fields["messages"] = [{"role": "user", "content": fields.pop("prompt")}]
    return CHAT


def _priority(value: object) -> int:
    if isinstance(value, str) and value in work.PRIORITIES:
        return work.PRIORITIES[value]
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 100:
        return value
    names = ", ".join(work.PRIORITIES)
    raise errors.refuse("invalid_request", f"`priority` is a number from 0 to 100, or {names}")


def _seconds(fields: dict[str, Any], name: str) -> float | None:
    value = fields.pop(name, None)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e7:
        raise errors.refuse("invalid_request", f"`{name}` is a number of seconds")
    return float(value)


def _encoded(fields: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:  # NaN, or half of a surrogate pair
        raise errors.refuse("invalid_request", f"`body` cannot be sent: {error}") from None
