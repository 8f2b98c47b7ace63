"""Bad input as data: what is sent, to which route, and which status is right for it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

CHAT, TEXT, VECTORS, RESPONSES, JOBS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/jobs",
)
GOOD: dict[str, dict[str, Any]] = {
    CHAT: {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]},
    TEXT: {"model": "tiny", "prompt": "hi"},
    VECTORS: {"model": "tiny", "input": "hi"},
    RESPONSES: {"model": "tiny", "input": "hi"},
    JOBS: {"model": "tiny", "prompt": "hi"},
}


@dataclass(frozen=True)
class Case:
    """One request that must be refused well."""

    name: str
    path: str
    body: bytes = b"{}"
    statuses: frozenset[int] = frozenset({400})
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)


BODIES: dict[str, bytes] = {
    "empty": b"",
    "text": b"hello",
    "list": b"[]",
    "number": b"42",
    "string": b'"model"',
    "null": b"null",
    "true": b"true",
    "empty-object": b"{}",
    "cut": b'{"model": "tiny"',
    "trailing-comma": b'{"model": "tiny",}',
    "single-quotes": b"{'model': 'tiny'}",
    "comment": b'{"model": "tiny" /* x */}',
    "two-objects": b'{"model": "tiny"}{"model": "tiny"}',
    "nan": b'{"model": "tiny", "temperature": NaN}',
    "infinity": b'{"model": "tiny", "temperature": Infinity}',
    "1e400": b'{"model": "tiny", "temperature": 1e400}',
    "minus-1e400": b'{"model": "tiny", "x": [-1e400]}',
    "surrogate": b'{"model": "\\ud800"}',
    "surrogate-deep": b'{"model": "tiny", "x": {"y": "\\udfff"}}',
    "bom": b'\xef\xbb\xbf{"model": "tiny"}',
    "utf-16": '{"model": "tiny"}'.encode("utf-16"),
    "utf-32": '{"model": "tiny"}'.encode("utf-32"),
    "latin-1": '{"model": "\u00e9tude"}'.encode("latin-1"),
    "invalid-utf-8": b'{"model": "\xff\xfe"}',
    "overlong-utf-8": b'{"model": "\xc0\xaf"}',
    "raw-newline": b'{"model": "ti\nny"}',
    "raw-nul": b'{"model": "ti\x00ny"}',
    "deep-lists": b'{"model": "tiny", "x": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "deep-objects": b'{"model": "tiny", "x": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
    "never-closed": b"[" * 100_000,
    "many-values": b'{"model": "tiny", "x": [' + b"[]," * 600_000 + b"1]}",
    "leading-zero": b'{"model": "tiny", "n": 007}',
    "plus-sign": b'{"model": "tiny", "n": +1}',
    "hex": b'{"model": "tiny", "n": 0x10}',
    "bad-escape": b'{"model": "\\x41"}',
    "form": b"model=tiny&prompt=hi",
    "gzip-bytes": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
}

FIELDS: dict[str, Any] = {
    "model-missing": {"model": None},
    "model-number": {"model": 1},
    "model-list": {"model": ["tiny"]},
    "model-object": {"model": {"id": "tiny"}},
    "model-bool": {"model": True},
    "model-empty": {"model": ""},
    "model-nul": {"model": "tiny\u0000"},
    "model-newline": {"model": "tiny\nx"},
    "model-bidi": {"model": "tiny\u202e"},
    "model-long": {"model": "t" * 10_000},
    "stream-text": {"stream": "true"},
    "stream-number": {"stream": 1},
    "stream-list": {"stream": []},
    "stream-options-text": {"stream_options": "usage"},
    "temperature-text": {"temperature": "hot"},
    "temperature-high": {"temperature": 2.01},
    "temperature-low": {"temperature": -0.01},
    "temperature-bool": {"temperature": True},
    "temperature-list": {"temperature": [1]},
    "top-p-high": {"top_p": 1.01},
    "top-p-low": {"top_p": -1},
    "max-tokens-text": {"max_tokens": "many"},
    "max-tokens-low": {"max_tokens": -5},
    "max-tokens-huge": {"max_tokens": 10**12},
    "max-tokens-fraction": {"max_tokens": 1.5},
    "n-zero": {"n": 0},
    "n-huge": {"n": 10**9},
    "n-negative": {"n": -1},
    "seed-huge": {"seed": 10**30},
    "seed-text": {"seed": "x"},
    "penalty-high": {"frequency_penalty": 3},
    "penalty-low": {"presence_penalty": -3},
    "top-k-low": {"top_k": -5},
    "num-ctx-negative": {"num_ctx": -1},
    "n-keep-negative": {"n_keep": -7},
    "unknown-huge-int": {"whatever": 2**80},
    "stop-number": {"stop": 7},
    "stop-object": {"stop": {}},
    "tools-object": {"tools": {}},
    "tools-text": {"tools": "all"},
    "tool-choice-number": {"tool_choice": 5},
    "user-number": {"user": 5},
    "logit-bias-list": {"logit_bias": []},
    "response-format-text": {"response_format": "json"},
    "metadata-list": {"metadata": []},
    "priority-high": {"priority": 101},
    "priority-low": {"priority": -1},
    "priority-word": {"priority": "urgent"},
    "priority-fraction": {"priority": 1.5},
    "wait-negative": {"max_queue_wait_s": -1},
    "wait-text": {"max_queue_wait_s": "long"},
    "run-zero": {"run_timeout_s": 0},
    "run-huge": {"run_timeout_s": 1e18},
}

ITEMS: dict[str, Any] = {
    "missing": None,
    "empty": [],
    "number": 5,
    "bool": True,
    "object": {},
    "list-of-null": [None],
    "list-of-bool": [True],
    "list-of-float": [1.5],
}
OWN: dict[str, dict[str, Any]] = {
    CHAT: {
        **{f"messages-{name}": {"messages": value} for name, value in ITEMS.items()},
        "messages-text": {"messages": "hi"},
        "messages-of-text": {"messages": ["hi"]},
        "message-without-role": {"messages": [{"content": "hi"}]},
        "message-role-number": {"messages": [{"role": 1, "content": "hi"}]},
        "message-content-number": {"messages": [{"role": "user", "content": 1}]},
        "message-content-object": {"messages": [{"role": "user", "content": {}}]},
        "message-part-text": {"messages": [{"role": "user", "content": ["hi"]}]},
    },
    TEXT: {f"prompt-{name}": {"prompt": value} for name, value in ITEMS.items()},
    VECTORS: {f"input-{name}": {"input": value} for name, value in ITEMS.items()},
    RESPONSES: {
        **{f"input-{name}": {"input": value} for name, value in ITEMS.items()},
        "input-of-text": {"input": ["hi"]},
        "item-without-role": {"input": [{"type": "message", "content": "hi"}]},
        "item-content-number": {"input": [{"role": "user", "content": 1}]},
        "item-part-unknown": {"input": [{"role": "user", "content": [{"type": "input_audio"}]}]},
        "item-call-without-name": {"input": [{"type": "function_call", "call_id": "c"}]},
        "previous-response": {"previous_response_id": "resp_1"},
        "conversation": {"conversation": "conv_1"},
        "item-reference": {"input": [{"type": "item_reference", "id": "x"}]},
        "background": {"background": True},
        "tool-without-name": {"tools": [{"type": "function"}]},
        "tool-text": {"tools": ["x"]},
        "namespace-without-name": {"tools": [{"type": "namespace", "tools": []}]},
    },
    JOBS: {
        "attempts-zero": {"max_attempts": 0},
        "attempts-huge": {"max_attempts": 1000},
        "attempts-text": {"max_attempts": "x"},
        "path-unknown": {"path": "/etc/passwd"},
        "path-number": {"path": 5},
        "path-traversal": {"path": "/v1/../admin"},
        "body-text": {"body": "x"},
        "key-empty": {"idempotency_key": ""},
        "key-long": {"idempotency_key": "k" * 300},
    },
}
HEADERS: dict[str, dict[str, str]] = {
    "priority-word": {"x-lmg-priority": "urgent"},
    "priority-nan": {"x-lmg-priority": "nan"},
    "wait-word": {"x-lmg-max-queue-wait-s": "soon"},
    "wait-inf": {"x-lmg-max-queue-wait-s": "inf"},
    "run-negative": {"x-lmg-run-timeout-s": "-1"},
    "idempotency-long": {"idempotency-key": "k" * 300},
}


def cases() -> Iterator[Case]:
    """The whole battery."""
    for path, good in GOOD.items():
        for name, raw in BODIES.items():
            yield Case(f"{path} body {name}", path, raw)
        for name, change in {**FIELDS, **OWN[path]}.items():
            body = json.dumps({**good, **change}).encode()
            yield Case(f"{path} {name}", path, body)
        for name, headers in HEADERS.items():
            yield Case(f"{path} header {name}", path, json.dumps(good).encode(), headers=headers)
        yield from _around(path, json.dumps(good).encode())


def _around(path: str, good: bytes) -> Iterator[Case]:
    """The same request in a wrong envelope."""
    unknown = json.dumps({**GOOD[path], "model": "../../etc/passwd"}).encode()
    yield Case(f"{path} unknown model", path, unknown, frozenset({404}))
    for media in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        yield Case(
            f"{path} type {media}", path, good, frozenset({415}), headers={"content-type": media}
        )
    for coding in ("gzip", "br", "deflate"):
        yield Case(
            f"{path} coding {coding}",
            path,
            good,
            frozenset({415}),
            headers={"content-encoding": coding},
        )
    methods = ("PUT", "PATCH", "TRACE", "BREW") + (() if path == JOBS else ("GET", "DELETE"))
    for method in methods:
        yield Case(f"{method} {path}", path, good, frozenset({405}), method)
    for wrong in (path + "/", path + "/x/y", path.upper(), path.replace("/v1", "/v1/..")):
        yield Case(f"POST {wrong}", wrong, good, frozenset({404, 405, 400}))
    yield Case(f"{path} host", path, good, frozenset({421}), headers={"host": "evil.example"})
    yield Case(
        f"{path} origin", path, good, frozenset({403}), headers={"origin": "http://evil.example"}
    )
