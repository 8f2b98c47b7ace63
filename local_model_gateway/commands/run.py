"""`lmg run`: one request through the queue, with what it waits for on the way and where the time went."""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from local_model_gateway import client, durations, errors, phrases
from local_model_gateway.terminal import Terminal

SILENCE_S = 120.0
"""The gateway says something every ten seconds; so long a silence means that it is gone."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument(
        "prompt", nargs="?", metavar="PROMPT", help="`-`, or nothing: standard input"
    )
    parser.add_argument("--system", metavar="TEXT", help="a system message before the prompt")
    parser.add_argument("--max-tokens", type=int, metavar="N")
    parser.add_argument("--temperature", type=float, metavar="T")
    parser.add_argument("--priority", metavar="RANK", help="0 to 100, or batch|normal|interactive")
    parser.add_argument(
        "--max-wait", type=durations.given, metavar="TIME", help="give up after waiting so long"
    )


@dataclass(slots=True)
class Answered:
    """What came back, and when."""

    text: str = ""
    finish_reason: str | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    first_token_s: float | None = None
    whole: bool = False


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    body = _body(given)
    began = time.monotonic()
    gateway = client.find(given)
    with gateway.stream(
        "/v1/chat/completions", body, {"Accept": "text/event-stream"}, timeout_s=SILENCE_S
    ) as (headers, lines):
        answered = _read(lines, terminal, given.model, began)
    total_s = time.monotonic() - began
    if not answered.whole:
        raise errors.CommandFailed(
            f"{given.model} broke off; see `lmg logs --source {given.model}`"
        )
    content = {
        "model": given.model,
        "text": answered.text,
        "finish_reason": answered.finish_reason,
        "usage": answered.usage,
        "queue_ms": _number(headers, "x-lmg-queue-ms"),
        "load_ms": _number(headers, "x-lmg-load-ms"),
        "first_token_s": answered.first_token_s,
        "total_s": round(total_s, 3),
        "request_id": headers.get("x-request-id"),
    }
    if terminal.json:
        terminal.object({"schema": "lmg.run/1", **content})
        return 0
    terminal.say("")
    terminal.note(terminal.paint("dim", _timing(content, total_s)))
    return 0


def _body(given: argparse.Namespace) -> dict[str, Any]:
    prompt = given.prompt
    if prompt is None or prompt == "-":
        prompt = sys.stdin.read()
    elif not sys.stdin.isatty() and _something_waits() and (more := sys.stdin.read()).strip():
        prompt = f"{prompt}\n\n{more}"
    if not prompt.strip():
        raise errors.CommandFailed('say what to ask: lmg run MODEL "PROMPT"')
    system = [{"role": "system", "content": given.system}] if given.system else []
    body = {
        "model": given.model,
        "messages": [*system, {"role": "user", "content": prompt}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": given.max_tokens,
        "temperature": given.temperature,
        "priority": int(given.priority) if (given.priority or "").isdigit() else given.priority,
        "max_queue_wait_s": given.max_wait,
    }
    return {name: value for name, value in body.items() if value is not None}


def _something_waits() -> bool:
    """Whether standard input holds anything: `< diff.txt` does, a closed or idle one does not."""
    import select

    try:
        ready, _, _ = select.select([sys.stdin], [], [], 0)
    except (OSError, ValueError):
        return False
    return bool(ready)


def _read(lines: Iterator[bytes], terminal: Terminal, model: str, began: float) -> Answered:
    answered = Answered()
    for line in lines:
        if line.startswith(b":"):
            terminal.progress(f"{model}: {_waiting(line)}   (Ctrl-C leaves the queue)")
        elif line.startswith(b"data:"):
            data = line[5:].strip()
            if data == b"[DONE]":
                # Read on to the end of the answer: hanging up now would look like giving up.
                answered.whole = True
                continue
            _take(json.loads(data), answered, terminal, began)
    return answered


def _take(event: Mapping[str, Any], answered: Answered, terminal: Terminal, began: float) -> None:
    if "error" in event:
        raise errors.CommandFailed(str(event["error"].get("message", event["error"])))
    answered.usage = event.get("usage") or answered.usage
    for choice in event.get("choices", ()):
        answered.finish_reason = choice.get("finish_reason") or answered.finish_reason
        piece = (choice.get("delta") or {}).get("content") or ""
        if piece and answered.first_token_s is None:
            answered.first_token_s = round(time.monotonic() - began, 3)
        answered.text += piece
        if piece and not terminal.json:
            terminal.say(piece, end="")


def _waiting(comment: bytes) -> str:
    """`queued position=3 eta=42s`, as the gateway says it."""
    return comment[1:].decode(errors="replace").strip().replace("_", " ")


def _number(headers: Mapping[str, str], name: str) -> int | None:
    value = headers.get(name, "")
    return int(value) if value.isdigit() else None


def _timing(content: Mapping[str, Any], total_s: float) -> str:
    parts = [str(content["model"])]
    if content["queue_ms"] is not None:
        parts.append(f"queued {content['queue_ms'] / 1000:.1f} s")
    if content["load_ms"]:
        parts.append(f"load {content['load_ms'] / 1000:.1f} s")
    first = content["first_token_s"]
    if first is not None:
        waited_s = ((content["queue_ms"] or 0) + (content["load_ms"] or 0)) / 1000
        parts.append(f"first token {max(0.0, first - waited_s):.1f} s")
    tokens = content["usage"].get("completion_tokens")
    if tokens:
        said = phrases.count(tokens, "token")
        decoding = total_s - (first or 0.0)
        parts.append(f"{said} at {tokens / decoding:.1f}/s" if decoding > 0.01 else said)
    return " · ".join(parts)
