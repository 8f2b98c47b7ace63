"""Our own app factory with the fixtures of the conformance suite added: `python -m tests.conformance.fixture_app DIR`."""

import base64
import json
import sys
from pathlib import Path
from typing import Any

import anyio
from mcp.server.context import ServerRequestContext
from mcp.types import (
    Completion,
    EmptyResult,
    RequestParams,
    SetLevelRequestParams,
    SubscribeRequestParams,
    UnsubscribeRequestParams,
)

from mcp_server.server import GatewayServer
from tests.conformance import fixture_rounds, fixture_tasks, fixture_tools
from tests.mcp_server import harness


def prepare(server: GatewayServer) -> None:
    """Everything that the suite asks for by name."""
    fixture_tools.register(server)
    fixture_rounds.register(server)
    fixture_tasks.register(server)
    _resources(server)
    _prompts(server)
    _older(server)


def _resources(server: GatewayServer) -> None:
    @server.resource("test://static-text", mime_type="text/plain")
    def static_text() -> str:
        """Fixture: text."""
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png")
    def static_binary() -> bytes:
        """Fixture: bytes."""
        return base64.b64decode(fixture_tools.PNG)

    @server.resource("test://watched-resource", mime_type="text/plain")
    def watched() -> str:
        """Fixture: can be subscribed to."""
        return "watched"

    @server.resource("test://template/{id}/data", mime_type="application/json")
    def template(id: str) -> str:  # noqa: A002 - the suite's name
        """Fixture: with a parameter."""
        data = {"id": id, "templateTest": True, "data": f"Data for ID: {id}"}
        return json.dumps(data)


def _prompts(server: GatewayServer) -> None:
    @server.prompt()
    def test_simple_prompt() -> str:
        """Fixture: no arguments."""
        return "This is a simple prompt for testing."

    @server.prompt()
    def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        """Fixture: two arguments."""
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.prompt()
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[Any]:  # noqa: N803 - the suite's name
        """Fixture: a resource."""
        words = "Embedded resource content for testing."
        resource = fixture_tools.embedded(resourceUri, "text/plain", words)
        return [
            {"role": "user", "content": resource},
            {"role": "user", "content": "Please process the embedded resource above."},
        ]

    @server.prompt()
    def test_prompt_with_image() -> list[Any]:
        """Fixture: an image."""
        return [
            {"role": "user", "content": fixture_tools.image()},
            {"role": "user", "content": "Please analyze the image above."},
        ]

    async def complete(ref: Any, argument: Any, context: Any) -> Completion:
        return Completion(values=["paris", "park", "party"], total=3, has_more=False)

    offer: Any = server.completion  # untyped in the SDK
    offer()(complete)


def _older(server: GatewayServer) -> None:
    """What only the revisions of the session era have, and we do not promise."""

    async def accept(ctx: ServerRequestContext[Any, Any], params: RequestParams) -> EmptyResult:
        return EmptyResult()

    low = server._lowlevel_server
    low.add_request_handler("logging/setLevel", SetLevelRequestParams, accept)
    low.add_request_handler("resources/subscribe", SubscribeRequestParams, accept)
    low.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, accept)


async def main(folder: Path) -> None:
    """Serve until stdin closes; the first line on stdout is the address."""
    async with anyio.create_task_group() as group:
        tasks = fixture_tasks.FixtureTasks(group)
        async with harness.gateway(folder, task_sources=[tasks], prepare=prepare) as here:
            print(here.mcp_url, flush=True)
            await anyio.to_thread.run_sync(sys.stdin.read)
        group.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]))
