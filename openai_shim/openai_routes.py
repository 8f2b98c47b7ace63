"""The OpenAI routes, as plain ASGI endpoints."""

from starlette.routing import BaseRoute, Route

from coordinator import loop
from openai_shim import forward, jobs_routes, listing, options
from openai_shim.dialects import openai, responses
from openai_shim.dialects.dialect import Dialect
from openai_shim.endpoint import Endpoint
from runtimes import upstream

DIALECTS: dict[str, Dialect] = {
    "/v1/chat/completions": openai.Chat(),
    "/v1/completions": openai.Completions(),
    "/v1/embeddings": openai.Embeddings(),
    "/v1/responses": responses.Responses(),
}


def routes(
    coordinator: loop.Coordinator,
    engines: upstream.Upstream,
    settings: options.ShimOptions | None = None,
) -> list[BaseRoute]:
    """Every route under `/v1`, for the composition root to put into its application."""
    settings = settings or options.ShimOptions()
    jobs = jobs_routes.Jobs(coordinator, settings, DIALECTS)
    models = listing.Models(coordinator, settings)
    forwarded = [
        Route(path, forward.Forward(coordinator, engines, settings, dialect), methods=["POST"])
        for path, dialect in DIALECTS.items()
    ]
    return [
        *forwarded,
        Route("/v1/models", Endpoint(models.collection), methods=["GET"]),
        Route("/v1/models/{id:path}", Endpoint(models.member), methods=["GET"]),
        Route("/v1/jobs", Endpoint(jobs.collection), methods=["GET", "POST"]),
        Route("/v1/jobs/{id}", Endpoint(jobs.member), methods=["GET", "DELETE"]),
    ]
