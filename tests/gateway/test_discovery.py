"""What a program that knows only our address can read."""

import json
from pathlib import Path
from typing import Any

import anyio
import httpx2
import jsonschema
import pytest
from starlette.applications import Starlette

from coordinator import loop
from local_model_gateway import config, discovery
from runtimes import base
from tests.openai_shim import harness
from tests.support.gateway import ROOT, fake, gateway

WITHIN_S = 60.0
KEY = "k" * 40
SCHEMA: dict[str, Any] = json.loads((ROOT / "docs" / "discovery.schema.json").read_text())
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
            manifest = (await client.get(discovery.PATH)).json()
            jsonschema.validate(manifest, SCHEMA)
            guide = await client.get("/llms.txt")
            for name, address in {**manifest["endpoints"], **manifest["links"]}.items():
                assert address.startswith(here.url)
                route = f"{address}/models" if name == "openai" else address
                assert (await client.get(route)).status_code != 404, route
        assert [model["id"] for model in manifest["models"]] == ["a"]
        assert f"{here.url}/v1" in guide.text
        assert "- `a`: chat" in guide.text
        assert "@" not in guide.text
        assert len(guide.text.splitlines()) <= 250


async def test_the_manifest_says_what_is_loaded_and_how_long_the_queue_is(tmp_path: Path) -> None:
    async with harness.gateway(tmp_path) as here:
        routes = discovery.routes(
            config.Config(),
            lambda: here.url,
            lambda: here.coordinator.registry.specs(),
            lambda: discovery.moment(here.coordinator),
        )
        transport = httpx2.ASGITransport(Starlette(routes=routes))
        async with (
            httpx2.AsyncClient(transport=transport, base_url=here.url) as asking,
            here.client() as client,
        ):
            before = (await asking.get(discovery.PATH)).json()
            [name] = [one["id"] for one in before["models"]][:1]
            states = {one["state"] for one in before["models"]}
            answer = await client.post(
                "/v1/chat/completions",
                json={"model": name, "messages": [{"role": "user", "content": "hi"}]},
            )
            after = (await asking.get(discovery.PATH)).json()
            listed = (await client.get(f"/v1/models/{name}")).json()
        assert answer.status_code == 200
    for manifest in (before, after):
        jsonschema.validate(manifest, SCHEMA)
        assert manifest["ready"] is True
        assert manifest["queue"] == {"queued": 0, "running": 0}
    assert states == {"stopped"}
    [loaded] = [one for one in after["models"] if one["id"] == name]
    assert loaded["state"] == listed["state"] == "ready"
    assert loaded["context_tokens"] == listed["context_length"]


async def test_what_waits_is_counted_without_a_forecast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with harness.gateway(tmp_path) as here, here.client() as client:
        [name] = [spec.name for spec in here.coordinator.registry.specs()][:1]
        slots = here.coordinator.registry.specs()[0].max_concurrency
        body = {
            "model": name,
            "messages": [{"role": "user", "content": "[[tokens:4000]] [[delay-ms:50]]"}],
            "stream": True,
        }
        async with anyio.create_task_group() as tasks:

            async def ask() -> None:
                async with client.stream("POST", "/v1/chat/completions", json=body) as stream:
                    async for _ in stream.aiter_lines():
                        pass

            for _ in range(slots + 2):
                tasks.start_soon(ask)
            await here.until_queued(2)
            with anyio.fail_after(WITHIN_S):
                while discovery.moment(here.coordinator).running < slots:
                    await here.coordinator.changed()
            with monkeypatch.context() as patched:
                patched.setattr(loop.Coordinator, "foresee", None)
                now = discovery.moment(here.coordinator)
            tasks.cancel_scope.cancel()
    assert (now.queued, now.running) == (2, slots)


async def test_the_running_gateway_says_what_is_loaded(tmp_path: Path) -> None:
    async with gateway({"runtimes": {"a": fake("a", tmp_path)}}, tmp_path) as here:
        await here.start()
        async with here.client() as client:
            manifest = (await client.get(discovery.PATH)).json()
        assert manifest["models"][0]["state"] == "stopped"
        assert manifest["queue"] == {"queued": 0, "running": 0}


async def test_where_a_key_is_asked_for_nothing_is_told_without_one(tmp_path: Path) -> None:
    async with gateway({"runtimes": {"secret-model": fake("a", tmp_path)}}, tmp_path) as here:
        here.config["server"] = {"port": here.port, "keys": {"me": KEY}}
        await here.spawn()
        async with here.client() as client:
            with anyio.fail_after(WITHIN_S):
                while not await answers(client):
                    await anyio.sleep(0.02)
            refused = [await client.get(path) for path in (discovery.PATH, "/llms.txt", "/nowhere")]
            for answer in refused:
                assert answer.status_code == 401
                assert answer.json() == refused[-1].json()
                assert "secret-model" not in answer.text + str(answer.headers)
            shown = {"authorization": f"Bearer {KEY}"}
            manifest = (await client.get(discovery.PATH, headers=shown)).json()
            for path in manifest["auth"]["open"]:
                assert (await client.get(path)).status_code == 200
    assert manifest["auth"]["required"] is True
    assert KEY not in json.dumps(manifest)


async def answers(client: httpx2.AsyncClient) -> bool:
    try:
        return (await client.get("/health")).status_code == 200
    except httpx2.TransportError:
        return False


def test_a_model_is_asked_for_by_its_alias() -> None:
    spec = base.RuntimeSpec("big", "vllm", ("small-name", "other"), "upstream")
    manifest = discovery.described(config.Config(), "http://127.0.0.1:1", [spec], None)
    jsonschema.validate(manifest, SCHEMA)
    [model] = manifest["models"]
    assert (model["id"], model["runtime"], model["state"]) == ("small-name", "big", "unknown")


def test_every_field_is_described() -> None:
    page = (ROOT / "docs" / "discovery.md").read_text(encoding="utf-8")
    parts = SCHEMA["properties"]
    fields = [*parts, *parts["models"]["items"]["properties"]]
    for name in ("endpoints", "links", "mcp", "auth", "queue", "timeouts", "limits"):
        fields += parts[name]["properties"]
    assert [name for name in fields if f"`{name}`" not in page] == []


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
