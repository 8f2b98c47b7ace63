"""`/llms.txt`: what a model has to know to call this gateway, filled in with this machine's addresses and models."""

from collections.abc import Iterable
from dataclasses import dataclass
from string import Template

from runtimes import base


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """One stable code of the HTTP routes, and what a client does about it."""

    status: int
    code: str
    retry: str
    advice: str


ERRORS = (
    ErrorCode(400, "invalid_request", "no", "mend the field that `param` names"),
    ErrorCode(400, "unsupported", "no", "leave that part out; stored conversations are not kept"),
    ErrorCode(401, "invalid_api_key", "no", "ask the user for a key: `Authorization: Bearer KEY`"),
    ErrorCode(403, "origin_not_allowed", "no", "call from a program, not from a foreign web page"),
    ErrorCode(404, "model_not_found", "no", "take one of `details.nearest`, or ask /v1/models"),
    ErrorCode(404, "not_found", "no", "no such route, job or work; the routes are listed above"),
    ErrorCode(405, "method_not_allowed", "no", "another method"),
    ErrorCode(408, "request_timeout", "yes", "send the body at once"),
    ErrorCode(409, "idempotency_conflict", "no", "another key, or the same body"),
    ErrorCode(413, "body_too_large", "no", "send less"),
    ErrorCode(
        415, "unsupported_media_type", "no", "`Content-Type: application/json`, uncompressed"
    ),
    ErrorCode(421, "host_not_allowed", "no", "call the address that is given here"),
    ErrorCode(429, "queue_full", "later", "wait as long as `Retry-After` says"),
    ErrorCode(431, "headers_too_large", "no", "fewer or shorter headers"),
    ErrorCode(499, "cancelled", "no", "somebody cancelled it"),
    ErrorCode(
        500, "internal_error", "no", "tell the user; the log has it under the `x-request-id`"
    ),
    ErrorCode(502, "upstream_error", "once", "the engine broke; then take another model"),
    ErrorCode(
        503,
        "engine_load_failed",
        "later",
        "read `details`; after `Retry-After`, or take another model",
    ),
    ErrorCode(503, "overloaded", "later", "too many requests at once: `Retry-After`"),
    ErrorCode(503, "mcp_unavailable", "later", "/mcp could not start yet: `Retry-After`"),
    ErrorCode(503, "shutting_down", "later", "`Retry-After`; submitted jobs are kept"),
    ErrorCode(503, "storage_unavailable", "no", "the disk is full or read-only: tell the user"),
    ErrorCode(504, "queue_timeout", "no", "allow more with `max_queue_wait_s`, or submit a job"),
    ErrorCode(504, "run_timeout", "no", "allow more with `run_timeout_s`, or ask for less"),
)
"""The codes that the gateway itself uses; an engine's own refusals carry the engine's words, and `src: engine`."""


def written(url: str, specs: Iterable[base.RuntimeSpec], *, keys: bool) -> str:
    """The guide; `keys` says whether this gateway asks for one."""
    models = list(specs)
    named = models[0].aliases[0] if models and models[0].aliases else "MODEL"
    return _GUIDE.substitute(
        url=url,
        model=named,
        key="a key, as `Authorization: Bearer KEY`" if keys else "any key: none is checked",
        models="\n".join(_line(spec) for spec in models) or "- none yet",
        errors="\n".join(
            f"| {one.status} | {one.code} | {one.retry} | {one.advice} |" for one in ERRORS
        ),
    )


def _line(spec: base.RuntimeSpec) -> str:
    names = ", ".join(f"`{alias}`" for alias in spec.aliases) or f"`{spec.name}`"
    context = f"; {spec.context_tokens} tokens of context" if spec.context_tokens else ""
    notice = f". {spec.notice}" if spec.notice else ""
    return f"- {names}: {', '.join(sorted(spec.capabilities))}{context}{notice}"


class _Page(Template):
    """Shell and JavaScript have `$` for themselves."""

    delimiter = "@"


_GUIDE = _Page("""\
# Local Model Gateway

> One endpoint in front of every local model on this machine: a durable queue, engines that are started and swapped on demand, an
> OpenAI-compatible API, and an MCP server with jobs and a broker for other MCP servers' tools.

## Addresses
- OpenAI-compatible: @url/v1 with @key
- MCP, Streamable HTTP: @url/mcp
- Stored jobs over HTTP: @url/v1/jobs
- Running it: @url/status, @url/ready, @url/health (this one needs no key)

Programs on this machine only, unless its owner has said otherwise. Bodies are JSON.

## Discover first
- @url/.well-known/local-model-gateway.json: addresses, models, limits, how long the queue is, error codes
- @url/v1/models: each model with `state`, `context_length`, `capabilities`, `usual_load_s`, `usual_tokens_per_s`

Models of this gateway:
@models

Names are exact. Any name that is listed with a model is good; an unknown one is a 404 with the nearest names, never another model. A
model that is not `ready` is loaded when it is asked for: no need to do anything first.

## A request
```sh
curl -sS @url/v1/chat/completions -H 'content-type: application/json' -H "authorization: Bearer ${LMG_API_KEY:-any}" \\
  -d '{"model": "@model", "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 64, "stream": true}'
```
```python
import os
from openai import OpenAI

client = OpenAI(base_url="@url/v1", api_key=os.environ.get("LMG_API_KEY", "any"), timeout=600)
messages = [{"role": "user", "content": "Say hello."}]
for part in client.chat.completions.create(model="@model", messages=messages, max_tokens=64, stream=True):
    print(part.choices[0].delta.content or "", end="")
```
```js
const answer = await fetch("@url/v1/chat/completions", {
  method: "POST",
  headers: {
    "content-type": "application/json",
    "authorization": `Bearer ${process.env.LMG_API_KEY ?? "any"}`,
    "x-lmg-keepalive": "whitespace",
  },
  body: JSON.stringify({model: "@model", messages: [{role: "user", content: "Say hello."}], max_tokens: 64}),
});
console.log((await answer.json()).choices[0].message.content);
```
Also /v1/completions, /v1/embeddings and /v1/responses.

## Waiting is normal
- One queue for all: a model that is not loaded waits for the work of others to end, then loads, which can take minutes. Being queued is
  no error. Never send the same request twice to be quicker: it is the same line.
- Timeouts: connect 5 s, read 600 s. Ask for a stream where you can: while it waits it gets comments such as
  `: queued position=3 eta=42s waits_for=swap behind=other-model` and `: loading phase=weights progress=40% eta=11s`, so it is never silent.
- Without a stream: the header `x-lmg-keepalive: whitespace` sends spaces ahead of the JSON; `Prefer: respond-async` answers 202 with a job.
- Budgets and rank, in the body or as a header: `max_queue_wait_s` or `x-lmg-max-queue-wait-s`, `run_timeout_s` or `x-lmg-run-timeout-s`,
  `priority` or `x-lmg-priority` (0 to 100, or `batch`, `normal`, `interactive`).
- Answers say where the time went: `x-lmg-queue-ms`, `x-lmg-load-ms`, `x-lmg-runtime`; `x-request-id` finds it in the log.
- Cancel by closing the connection, queued or running: the engine stops within a second.
- `Idempotency-Key: ANY-TEXT` lets a retry of a request that still waits take over its place. `X-Session-Id: ANY-TEXT` tells apart
  clients that share a key or an address.

## Long work
Submit it: the answer comes at once, the work survives a restart, and the result is kept.
```sh
job=$(curl -sS @url/v1/jobs -H 'content-type: application/json' -H "authorization: Bearer ${LMG_API_KEY:-any}" \\
  -d '{"model": "@model", "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 64}' | grep -o '"id":"[^"]*"' | head -n 1 | cut -d'"' -f4)
curl -sS "@url/v1/jobs/$job?wait=30" -H "authorization: Bearer ${LMG_API_KEY:-any}"
```
`status` is `queued`, `running`, `succeeded`, `failed` or `cancelled`; while it is one of the first two, ask again (`wait` is at most 40). The
result is in `result`. `DELETE @url/v1/jobs/ID` cancels. `Idempotency-Key` makes a repeated submission join the first, for ever.
Over MCP: `submit_job`, then `wait_for_job` until it is over.

## MCP tools
Every call returns within 45 s; a tool error begins with its stable code.
- `gateway_status`: queue, runtimes, memory, tool servers and problems in one answer; look here before long work
- `list_runtime_models`: every model, what it can do, and whether it fits now
- `recommend_local_profile`: the best model for a prompt's size, abilities and patience
- `runtime_status`: one runtime, its last error, the end of its log
- `force_unload_runtime`: stop a stuck runtime; asks the user first
- `submit_job`: queue chat, completion, embedding or one-shot work
- `get_job`: state, place in line and result of a job
- `wait_for_job`: the same, and waits for the end, at most 40 s a call
- `list_jobs`: your jobs, newest first
- `cancel_runtime_request`: cancel your own queued or running work
- `generate_client_config`: how to set up another client for this gateway
- `validate_client_config`: what is wrong with such a configuration
- `search_tools`: find tools of other MCP servers
- `describe_tool`: their exact arguments
- `call_tool`: call one, once; it may ask the user first
- `list_servers`: which servers there are

Resources: `gateway://status`, `gateway://models`, `gateway://jobs/{job_id}`.

## Tools of other MCP servers
Their schemas cost nothing until you ask; a server starts when one of its tools is called. Search, describe, then call:
```json
{"tool": "search_tools", "arguments": {"query": "read a text file"}}
{"tool": "describe_tool", "arguments": {"tool_ids": ["files:read_text_file"]}}
{"tool": "call_tool", "arguments": {"tool_id": "files:read_text_file", "arguments": {"path": "/srv/work/notes.txt"}}}
```
`call_lost` means that it may have happened and was not repeated; `confirm` in an answer is a token to repeat the call with, after the user
has agreed.

## Errors
`{"error": {"message", "type", "code", "param", "src"}}`, with `details` where there is more to say; `src` is `gateway` or `engine`. A stream
that has begun ends with `data: {"error": …}` and a cut connection. `x-should-retry: false` means that a retry would only make it worse.

| status | code | retry | what to do |
|---|---|---|---|
@errors

## Limits
Never start, stop or download an engine or a model yourself: ask here, or ask the user. No GPU work goes around the queue. An exact "stop"
or "cancel generation" as the last user message ends your own work and is answered by the gateway. Fields that name another address or
key (`base_url`, `api_key`, …) are dropped. Sizes and queue limits are in the manifest under `limits`.

## More
`lmg recipes list` and `generate_client_config`: how clients and engines are set up. In the repository: `docs/openai.md`, `docs/openapi.yaml`,
`docs/mcp.md`, `docs/broker.md`, `docs/agent-install.md`.
""")
