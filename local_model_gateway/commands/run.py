"""`lmg run`: one request through the queue, with what it waits for on the way and where the time went."""

import argparse
import contextlib
import json
import sys
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from local_model_gateway import client, durations, errors, phrases, waiting
from local_model_gateway.terminal import Terminal

SILENCE_S = 120.0
"""The gateway says something every ten seconds; so long a silence means that it is gone."""
LOOK_S = 2.0
"""For a last look: whoever has the answer must not be held up for what it cost."""


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
    queue_ms: int | None = None
    load_ms: int | None = None
    first_token_s: float | None = None
    whole: bool = False


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    body = _body(given, terminal)
    gateway, wait = client.find(given), waiting.Wait(given.model)
    asking = _Asking(terminal, gateway, wait)
    try:
        with (
            waiting.shown(wait, gateway, terminal),
            gateway.stream(
                "/v1/chat/completions", body, {"Accept": "text/event-stream"}, timeout_s=SILENCE_S
            ) as (headers, lines),
        ):
            asking.read(headers, lines)
    except errors.StillQueued as error:
        raise errors.StillQueued(_gave_up(given.model, str(error))) from None
    except errors.GatewayError:
        _end_line(asking.answered, terminal)
        raise
    except KeyboardInterrupt:
        _end_line(asking.answered, terminal)
        if not terminal.json:
            terminal.note("stopped" if asking.answered.first_token_s else "left the queue")
        raise
    total_s = time.monotonic() - asking.began
    asking.learn_the_wait()
    return _tell(asking.answered, total_s, headers, given.model, terminal)


def _tell(
    answered: Answered, total_s: float, headers: Mapping[str, str], model: str, terminal: Terminal
) -> int:
    if not answered.whole:
        _end_line(answered, terminal)
        raise errors.CommandFailed(f"{model} broke off; see `lmg logs --source {model}`")
    content = {
        "model": model,
        "text": answered.text,
        "finish_reason": answered.finish_reason,
        "usage": answered.usage,
        "queue_ms": answered.queue_ms,
        "load_ms": answered.load_ms,
        "first_token_s": answered.first_token_s,
        "total_s": round(total_s, 3),
        "tokens_per_s": _rate(answered, total_s),
        "request_id": headers.get("x-request-id"),
    }
    if terminal.json:
        terminal.object({"schema": "lmg.run/1", **content})
        return 0
    terminal.say("" if answered.text else f"({model} said nothing)")
    terminal.note(terminal.paint("dim", _timing(content)))
    return 0


def _end_line(answered: Answered, terminal: Terminal) -> None:
    """What is said next shall not stand behind half an answer."""
    if answered.text and not terminal.json:
        terminal.say("")


def _gave_up(model: str, said: str) -> str:
    """The gateway's words name the field of a body; a person has an option."""
    return (
        f"{model}: {said.partition(';')[0]}. It left the queue, and nothing ran.\n"
        "Wait longer with --max-wait 30m; `lmg queue` shows who is ahead."
    )


def _body(given: argparse.Namespace, terminal: Terminal) -> dict[str, Any]:
    prompt = given.prompt
    if prompt is None or prompt == "-":
        if terminal.interactive:
            terminal.note("Type what to ask; Ctrl-D on a line of its own sends it.")
        prompt = sys.stdin.read()
    elif not sys.stdin.isatty() and _something_waits() and (more := sys.stdin.read()).strip():
        prompt = f"{prompt}\n\n{more}"
    if not prompt.strip():
        raise errors.Usage('say what to ask: lmg run MODEL "PROMPT"')
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


@dataclass(slots=True)
class _Asking:
    """One request while it is answered: the line that tells of the wait, then the answer itself."""

    terminal: Terminal
    gateway: client.Client
    wait: waiting.Wait
    began: float = field(default_factory=time.monotonic)
    answered: Answered = field(default_factory=Answered)

    def read(self, headers: Mapping[str, str], lines: Iterator[bytes]) -> None:
        """Until the answer ends; its text is said as it comes."""
        self.answered.queue_ms = _number(headers, "x-lmg-queue-ms")
        self.answered.load_ms = _number(headers, "x-lmg-load-ms")
        self.wait.work_id = headers.get("x-lmg-work-id")
        for line in lines:
            if line.startswith(b":"):
                self.wait.hear(line)
            elif line.startswith(b"data:"):
                data = line[5:].strip()
                if data == b"[DONE]":
                    # Read on to the end of the answer: hanging up now would look like giving up.
                    self.answered.whole = True
                    continue
                self._take(json.loads(data))

    def _take(self, event: Mapping[str, Any]) -> None:
        if "error" in event:
            raise _refused(event["error"])
        self.answered.usage = event.get("usage") or self.answered.usage
        for choice in event.get("choices", ()):
            self.answered.finish_reason = choice.get("finish_reason") or self.answered.finish_reason
            delta = choice.get("delta") or {}
            thought = delta.get("reasoning_content") or delta.get("reasoning")
            self._piece(delta.get("content") or "", bool(thought))

    def _piece(self, piece: str, thought: bool) -> None:
        if (piece or thought) and self.answered.first_token_s is None:
            self.answered.first_token_s = round(time.monotonic() - self.began, 3)
        self.wait.thinking = self.wait.thinking or thought
        self.answered.text += piece
        if piece and not self.terminal.json:
            self.terminal.say(piece, end="")

    def learn_the_wait(self) -> None:
        """The head of a stream that waited for long was sent before anybody knew how long."""
        if self.answered.queue_ms is not None or self.wait.work_id is None:
            return
        path = f"/admin/work/{urllib.parse.quote(self.wait.work_id, safe='')}"
        with contextlib.suppress(errors.GatewayError):
            item = self.gateway.get(path, timeout_s=LOOK_S)
            self.answered.queue_ms, self.answered.load_ms = item["queue_ms"], item["load_ms"]


def _refused(error: Mapping[str, Any]) -> errors.GatewayError:
    """An error that came when the answer had begun, and with it a status that says otherwise."""
    message = str(error.get("message", error))
    if error.get("code") == "queue_timeout":
        return errors.StillQueued(message)
    return errors.CommandFailed(message)


def _number(headers: Mapping[str, str], name: str) -> int | None:
    value = headers.get(name, "")
    return int(value) if value.isdigit() else None


def _rate(answered: Answered, total_s: float) -> float | None:
    """Tokens a second once they came; None where that was too short to measure."""
    tokens, decoding_s = (
        answered.usage.get("completion_tokens"),
        total_s - (answered.first_token_s or 0.0),
    )
    return round(tokens / decoding_s, 1) if tokens and decoding_s > 0.01 else None


def _timing(content: Mapping[str, Any]) -> str:
    parts = [str(content["model"])]
    queue_ms, load_ms, first = content["queue_ms"], content["load_ms"], content["first_token_s"]
    if queue_ms is not None:
        parts.append(f"queued {queue_ms / 1000:.1f} s")
    if load_ms:
        parts.append(f"load {load_ms / 1000:.1f} s")
    if first is not None and queue_ms is None:
        parts.append(f"first token after {first:.1f} s")
    elif first is not None:
        parts.append(f"first token {max(0.0, first - (queue_ms + (load_ms or 0)) / 1000):.1f} s")
    tokens = content["usage"].get("completion_tokens")
    if tokens:
        rate = content["tokens_per_s"]
        parts.append(phrases.count(tokens, "token") + ("" if rate is None else f" at {rate:.1f}/s"))
    return " · ".join(parts)
