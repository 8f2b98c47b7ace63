"""What a program that knows only our address can read."""

import json
from pathlib import Path

import pytest

from tests.support.gateway import fake, gateway

OAUTH = (
    "/.well-known/oauth-protected-resource",
    "/.well-known/oauth-protected-resource/mcp",
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
    "/register",
    "/nowhere",
    "/v1/nowhere",
    "/mcp/nowhere",
    "/health/",
)


async def test_the_manifest_and_the_guide_name_this_machines_addresses_and_models(
    tmp_path: Path,
) -> None:
    async with gateway({"runtimes": {"a": fake("a", tmp_path)}}, tmp_path) as here:
        await here.start()
        async with here.client() as client:
            manifest = (await client.get("/.well-known/local-model-gateway.json")).json()
            guide = await client.get("/llms.txt")
            for name, address in manifest["endpoints"].items():
                assert address.startswith(here.url)
                route = f"{address}/models" if name == "openai" else address
                assert (await client.get(route)).status_code != 404, route
        assert [model["id"] for model in manifest["models"]] == ["a"]
        assert f"{here.url}/v1" in guide.text
        assert "- `a`: chat" in guide.text
        assert "$" not in guide.text
        assert len(guide.text.splitlines()) <= 250


@pytest.mark.requirement("guard-is-outermost")
async def test_no_route_answers_to_a_foreign_host_and_every_unknown_one_is_json(
    tmp_path: Path,
) -> None:
    async with gateway({"runtimes": {"a": fake("a", tmp_path)}}, tmp_path) as here:
        await here.start()
        known = ("/health", "/ready", "/status", "/v1/models", "/mcp", "/llms.txt", "/v1/jobs")
        async with here.client() as client:
            for path in (*known, *OAUTH):
                refused = await client.get(path, headers={"host": "evil.example"})
                assert refused.status_code == 421, path
                foreign = await client.get(path, headers={"origin": "http://evil.example"})
                assert foreign.status_code == 403, path
            for path in OAUTH:
                answer = await client.get(path)
                assert answer.status_code == 404, path
                assert json.loads(answer.text)["error"]["code"] == "not_found", path
