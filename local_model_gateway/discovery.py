"""What a program that knows only our address can read: the discovery manifest and `/llms.txt`."""

from collections.abc import Callable
from string import Template
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

import local_model_gateway
from local_model_gateway import config
from runtimes import base

Specs = Callable[[], list[base.RuntimeSpec]]

CODES = (
    "invalid_request",
    "model_not_found",
    "queue_full",
    "queue_timeout",
    "run_timeout",
    "engine_load_failed",
    "upstream_error",
    "cancelled",
    "shutting_down",
    "storage_unavailable",
)
"""The stable error codes that clients may act on."""


def routes(settings: config.Config, url: Callable[[], str], specs: Specs) -> list[BaseRoute]:
    """`url` is the address that we are reached at."""

    async def manifest(_: Request) -> Response:
        return JSONResponse(described(settings, url(), specs()))

    async def guide(_: Request) -> Response:
        return PlainTextResponse(written(settings, url(), specs()))

    return [
        Route("/.well-known/local-model-gateway.json", manifest, methods=["GET"]),
        Route("/llms.txt", guide, methods=["GET"]),
    ]


def described(settings: config.Config, url: str, specs: list[base.RuntimeSpec]) -> dict[str, Any]:
    """Addresses, models, limits and codes, for programs."""
    return {
        "schema": "lmg.discovery/1",
        "name": "local-model-gateway",
        "version": local_model_gateway.__version__,
        "endpoints": {
            "openai": f"{url}/v1",
            "mcp": f"{url}/mcp",
            "jobs": f"{url}/v1/jobs",
            "health": f"{url}/health",
            "ready": f"{url}/ready",
            "status": f"{url}/status",
            "llms_txt": f"{url}/llms.txt",
        },
        "mcp": {"transport": "streamable-http"},
        "auth": {"required": bool(settings.server.keys), "scheme": "bearer"},
        "models": [
            {
                "id": spec.name,
                "aliases": list(spec.aliases),
                "context_tokens": spec.context_tokens,
                "capabilities": sorted(spec.capabilities),
                "notice": spec.notice,
            }
            for spec in specs
        ],
        "timeouts": {
            "connect_s": 5,
            "read_s": 600,
            "max_queue_wait_s": settings.queue.max_queue_wait,
            "run_timeout_s": settings.queue.run_timeout,
            "keepalive_s": 10,
        },
        "limits": {
            "max_body_bytes": settings.server.max_body,
            "max_mcp_body_bytes": settings.server.max_mcp_body,
            "max_queue": settings.queue.max_queue,
            "max_queue_per_client": settings.queue.max_queue_per_client,
        },
        "error_codes": list(CODES),
    }


def written(settings: config.Config, url: str, specs: list[base.RuntimeSpec]) -> str:
    """The same for a model to read, with what to do about waiting and errors."""
    models = "\n".join(
        f"- `{spec.name}`: {', '.join(sorted(spec.capabilities))}"
        + (f"; {spec.context_tokens} tokens of context" if spec.context_tokens else "")
        + (f". {spec.notice}" if spec.notice else "")
        for spec in specs
    )
    key = "a bearer key" if settings.server.keys else "any key (none is checked on this machine)"
    first = specs[0].name if specs else "MODEL"
    return GUIDE.substitute(url=url, models=models or "- none yet", key=key, model=first)


GUIDE = Template("""\
# Local Model Gateway

> One endpoint in front of every local model on this machine: a durable queue, engines started and swapped on demand, an
> OpenAI-compatible API, and an MCP server with jobs and a broker for other MCP servers' tools.

## Addresses
- OpenAI-compatible: $url/v1 with $key
- MCP, Streamable HTTP: $url/mcp
- Stored jobs over HTTP: $url/v1/jobs
- Status: $url/status · ready: $url/ready · manifest: $url/.well-known/local-model-gateway.json

## Models
$models

Names are exact: an unknown one is a 404 with the nearest names, never another model.

## A request
```sh
curl $url/v1/chat/completions -H 'content-type: application/json' \\
  -d '{"model": "$model", "messages": [{"role": "user", "content": "Say hello."}], "stream": true}'
```
```python
from openai import OpenAI
client = OpenAI(base_url="$url/v1", api_key="local-model-gateway", timeout=600)
print(client.chat.completions.create(model="$model", messages=[{"role": "user", "content": "Say hello."}]))
```

## Waiting is normal
- A model that is not loaded is loaded; work for another model ends first. Use a connect timeout of 5 s and a read timeout of 600 s.
- Streams get comments such as `: queued position=3 eta=42s` while they wait. Do not retry: it is the same line.
- Without streaming, send `x-lmg-keepalive: whitespace` to be kept alive with spaces before the JSON body, or `Prefer:
  respond-async` to get 202 and a job.
- Body extras: `priority` (0-100, or `batch`, `normal`, `interactive`), `max_queue_wait_s`, `run_timeout_s`.
- Closing the connection cancels the work. `Idempotency-Key` makes a retry join its first copy.

## Long work
MCP `submit_job`, or POST /v1/jobs with the body of a request: answers at once with an id, position and time; survives a restart.
Then `wait_for_job` (at most 40 s a call), `get_job`, or GET /v1/jobs/ID?wait=30. `cancel_runtime_request` or DELETE cancels.

## Tools of other MCP servers
`search_tools` with words, `describe_tool` for the exact schema, `call_tool` to run it. A server starts when one of its tools is called.

## Errors
`{"error": {"message", "type", "code", "param", "src"}}`; `code` is stable, `src` says whether the gateway or the engine speaks.

| status | code | what to do |
|---|---|---|
| 400 | invalid_request | mend the field that is named |
| 404 | model_not_found | take one of the names in the message |
| 429 | queue_full | wait as long as `Retry-After` says |
| 503 | engine_load_failed | read the class and the log lines; retry after `Retry-After`, or take another model |
| 502 | upstream_error | the engine broke; retry once |
| 504 | queue_timeout | allow more with `max_queue_wait_s`, or submit a job |
| 503 | shutting_down, storage_unavailable | retry later |

`x-should-retry: false` means that a retry would only make it worse.
""")
