"""What a program that knows only our address can read: the discovery manifest, and the guide at `/llms.txt`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

import local_model_gateway
from coordinator import loop
from local_model_gateway import config, guard_rules, guide
from openai_shim import options
from runtimes import base

PATH = "/.well-known/local-model-gateway.json"
Specs = Callable[[], list[base.RuntimeSpec]]


@dataclass(frozen=True, slots=True)
class Line:
    """What is known of one runtime now."""

    state: str
    context_tokens: int | None
    usual_load_s: float | None


@dataclass(frozen=True, slots=True)
class Moment:
    """What changes from one look to the next; no forecast is made for it."""

    ready: bool
    queued: int
    running: int
    runtimes: Mapping[str, Line] = field(default_factory=dict)


def moment(coordinator: loop.Coordinator) -> Moment:
    """As it is now; costs as much as there are runtimes, however many requests wait."""
    keeper, lessons = coordinator.keeper, coordinator.lessons
    return Moment(
        ready=coordinator.ready,
        queued=len(keeper.ledger.line),
        running=len(keeper.ledger.running),
        runtimes={
            name: Line(
                resident.state.value,
                None if resident.running is None else resident.running.context_tokens,
                lessons.typical_load_s(name),
            )
            for name, resident in keeper.fleet.residents.items()
        },
    )


def routes(
    settings: config.Config,
    url: Callable[[], str],
    specs: Specs,
    look: Callable[[], Moment] | None = None,
) -> list[BaseRoute]:
    """`url` is the address that we are reached at; without `look`, states are unknown."""

    async def manifest(_: Request) -> Response:
        return JSONResponse(described(settings, url(), specs(), None if look is None else look()))

    async def read(_: Request) -> Response:
        return PlainTextResponse(guide.written(url(), specs(), keys=bool(settings.server.keys)))

    return [
        Route(PATH, manifest, methods=["GET"]),
        Route("/llms.txt", read, methods=["GET"]),
    ]


def described(
    settings: config.Config, url: str, specs: list[base.RuntimeSpec], now: Moment | None
) -> dict[str, Any]:
    """Addresses, models, limits and codes, for programs: docs/discovery.md."""
    return {
        "schema": "lmg.discovery/1",
        "name": "local-model-gateway",
        "version": local_model_gateway.__version__,
        "endpoints": {
            "openai": f"{url}/v1",
            "models": f"{url}/v1/models",
            "jobs": f"{url}/v1/jobs",
            "mcp": f"{url}/mcp",
            "health": f"{url}/health",
            "ready": f"{url}/ready",
            "status": f"{url}/status",
        },
        "links": {"self": f"{url}{PATH}", "llms_txt": f"{url}/llms.txt"},
        "mcp": {"transport": "streamable-http"},
        "auth": {
            "required": bool(settings.server.keys),
            "scheme": "bearer",
            "headers": ["authorization", "x-api-key"],
            "open": sorted(guard_rules.OPEN_ROUTES),
        },
        "ready": None if now is None else now.ready,
        "queue": None if now is None else {"queued": now.queued, "running": now.running},
        "models": [
            _model(spec, None if now is None else now.runtimes.get(spec.name)) for spec in specs
        ],
        "timeouts": {
            "connect_s": 5,
            "read_s": 600,
            "max_queue_wait_s": settings.queue.max_queue_wait,
            "run_timeout_s": settings.queue.run_timeout,
            "keepalive_s": options.ShimOptions().keepalive_s,
        },
        "limits": {
            "max_body_bytes": settings.server.max_body,
            "max_mcp_body_bytes": settings.server.max_mcp_body,
            "max_queue": settings.queue.max_queue,
            "max_queue_per_client": settings.queue.max_queue_per_client,
        },
        "error_codes": [one.code for one in guide.ERRORS],
    }


def _model(spec: base.RuntimeSpec, line: Line | None) -> dict[str, Any]:
    context = None if line is None else line.context_tokens
    return {
        "id": spec.aliases[0] if spec.aliases else spec.name,
        "runtime": spec.name,
        "aliases": list(spec.aliases),
        "engine": spec.engine,
        "state": "unknown" if line is None else line.state,
        "context_tokens": context or spec.context_tokens,
        "capabilities": sorted(spec.capabilities),
        "usual_load_s": None if line is None else line.usual_load_s,
        "notice": spec.notice,
    }
