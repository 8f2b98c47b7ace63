"""Configurations of other clients over MCP: for this gateway, with its aliases, and without a key."""

from pathlib import Path

from local_model_gateway import config
from recipes import loader
from recipes.front_matter import Kind
from tests.mcp_server.harness import data, gateway, said

CLIENTS = tuple(loader.every(Kind.CLIENT))
SECRET = "k" * 40


async def test_every_client_gets_this_gateways_address_and_never_its_key(tmp_path: Path) -> None:
    server = config.Server.model_validate({"port": 0, "keys": {"ann": SECRET}})
    async with (
        gateway(tmp_path, {"qwen": {"context": 4096}}, server=server, requires_key=True) as here,
        here.client(key=SECRET) as client,
    ):
        for name in CLIENTS:
            answer = await client.call_tool("generate_client_config", {"client": name})
            made = data(answer)
            assert here.url in said(answer), name
            assert SECRET not in said(answer), name
            assert made["steps"], name
            assert made["secrets"], name
        codex = data(await client.call_tool("generate_client_config", {"client": "codex"}))
        text = codex["snippets"][0]["text"]
        good = data(
            await client.call_tool("validate_client_config", {"client": "codex", "config": text})
        )
        broken = text.replace("bearer_token_env_var", "bearer_token")
        bad = data(
            await client.call_tool("validate_client_config", {"client": "codex", "config": broken})
        )
    assert 'model = "qwen"' in text
    assert "model_context_window = 4096" in text
    assert good == {"ok": True, "client": "codex", "findings": []}
    assert bad["ok"] is False
    assert {one["code"] for one in bad["findings"]} == {"wrong_key", "no_key"}


async def test_what_does_not_exist_is_refused_with_what_does(tmp_path: Path) -> None:
    async with gateway(tmp_path) as here, here.client() as client:
        nobody = await client.call_tool("generate_client_config", {"client": "claude"})
        model = {"client": "codex", "model": "gpt-9"}
        unknown = await client.call_tool("generate_client_config", model)
    assert nobody.is_error
    assert "claude-code" in said(nobody)
    assert unknown.is_error
    assert "tiny" in said(unknown)


async def test_a_recommendation_speaks_of_what_is_loaded_now(tmp_path: Path) -> None:
    runtimes = {
        "small": {"memory": 2 * 2**30, "context": 8192},
        "large": {"memory": 6 * 2**30, "context": 32768},
    }
    async with (
        gateway(tmp_path, runtimes, pool_bytes=7 * 2**30) as here,
        here.client() as client,
    ):
        job = {"model": "small", "body": {"prompt": "hi"}}
        job_id = data(await client.call_tool("submit_job", job))["job_id"]
        await client.call_tool("wait_for_job", {"job_id": job_id})
        soon = data(await client.call_tool("recommend_local_profile", {}))
        long_ = {"prompt_tokens": 20_000}
        long = data(await client.call_tool("recommend_local_profile", long_))
        patient = {"max_wait_s": 600}
        slow = data(await client.call_tool("recommend_local_profile", patient))
        none = data(await client.call_tool("recommend_local_profile", {"needs": ["vision"]}))
    assert soon["model"] == "small"
    assert "loaded" in " ".join(soon["why"])
    assert long["model"] == "large"
    assert long["unloads"] == ["small"]
    assert slow["model"] == "large"
    assert "model" not in none
    assert all("cannot do vision" in one["why_not"] for one in none["alternatives"])
