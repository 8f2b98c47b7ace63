"""Whole coding agents, unattended: their model through our OpenAI routes, their tool call through our MCP server.

Each is configured by nothing but its own recipe.
"""

import json
from pathlib import Path

import pytest
from anyio import Path as AsyncPath

from recipes import pasted
from recipes.front_matter import CommandStep
from tests.agents import driving
from tests.agents.engine import READ
from tests.mcp_server import harness

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

QUESTION = "Is the gateway busy?"
CONFIG_FILES = {
    "opencode": ".config/opencode/opencode.json",
    "codex": ".codex/lmg.config.toml",
    "gemini-cli": ".gemini/settings.json",
    "qwen-code": ".qwen/settings.json",
    "cline": ".cline/data/settings/cline_mcp_settings.json",
}


async def configured(client: str, here: harness.Gateway, home: Path) -> None:
    """The recipe's snippet, where the client looks for it."""
    made = driving.recipe(client, here)
    shape = made.recipe.front.mcp
    assert shape is not None
    file = AsyncPath(home / CONFIG_FILES[client])
    await file.parent.mkdir(parents=True, exist_ok=True)
    text = made.blocks[shape.block]
    await file.write_text(text)
    target = pasted.Target(here.url, ("tiny",), requires_key=False)
    assert pasted.check(made.recipe, text, target) == []


async def test_codex_asks_our_model_and_calls_our_tool(tmp_path: Path) -> None:
    codex, home = driving.program("codex", "codex"), tmp_path / "home"
    async with driving.gateway(tmp_path) as here:
        await configured("codex", here, home)
        listed = await driving.run([codex, "--profile", "lmg", "mcp", "list"], home)
        approved = 'mcp_servers.lmg.default_tools_approval_mode="approve"'
        words = ["exec", "--profile", "lmg", "--skip-git-repo-check", "-c", approved, QUESTION]
        ran = await driving.run([codex, *words], home)
    assert here.mcp_url in listed.out
    assert ran.code == 0, ran.all
    assert READ in ran.out
    assert '"ready":true' in ran.out


async def test_opencode_asks_our_model_and_calls_our_tool(tmp_path: Path) -> None:
    opencode, home = driving.program("opencode", "opencode"), tmp_path / "home"
    async with driving.gateway(tmp_path) as here:
        await configured("opencode", here, home)
        listed = await driving.run([opencode, "mcp", "list"], home)
        ran = await driving.run([opencode, "run", "--model", "lmg/tiny", QUESTION], home)
    assert "connected" in listed.all
    assert ran.code == 0, ran.all
    assert READ in ran.all
    assert '"ready":true' in ran.all


async def test_claude_code_connects_and_lets_go_by_the_steps_of_its_recipe(tmp_path: Path) -> None:
    claude, home = driving.program("claude-code", "claude"), tmp_path / "home"
    async with driving.gateway(tmp_path) as here:
        step = driving.recipe("claude-code", here).steps[0]
        assert isinstance(step, CommandStep)
        added = await driving.run([claude, *step.run[1:]], home)
        listed = await driving.run([claude, "mcp", "list"], home)
        removed = await driving.run([claude, *step.undo[1:]], home)
        after = await driving.run([claude, "mcp", "list"], home)
    assert added.code == 0, added.all
    assert "Connected" in listed.out, listed.all
    assert driving.KEY not in added.all
    assert removed.code == 0
    assert "lmg" not in after.out


@pytest.mark.parametrize(("client", "command"), [("gemini-cli", "gemini"), ("qwen-code", "qwen")])
async def test_clients_that_list_their_servers_find_ours_connected(
    tmp_path: Path, client: str, command: str
) -> None:
    program, home = driving.program(client, command), tmp_path / "home"
    async with driving.gateway(tmp_path) as here:
        await configured(client, here, home)
        if client == "gemini-cli":  # uses servers in trusted folders only, as its recipe says
            trusted = AsyncPath(home / ".gemini" / "trustedFolders.json")
            await trusted.write_text(json.dumps({str(home): "TRUST_FOLDER"}))
        listed = await driving.run([program, "mcp", "list"], home)
    assert "lmg" in listed.all
    assert "Connected" in listed.all, listed.all


async def test_continue_asks_our_model_and_calls_our_tool(tmp_path: Path) -> None:
    program, home = driving.program("continue", "cn"), tmp_path / "home"
    async with driving.gateway(tmp_path) as here:
        text = driving.recipe("continue", here).blocks["config"]
        await AsyncPath(home).mkdir()
        await AsyncPath(home / "config.yaml").write_text(text)
        words = ["--config", str(home / "config.yaml"), "--auto", "-p", QUESTION]
        ran = await driving.run([program, *words], home)
    assert ran.code == 0, ran.all
    assert READ in ran.all
    assert '"ready":true' in ran.all.replace("\\", "")


async def test_hermes_asks_our_model_and_calls_our_tool(tmp_path: Path) -> None:
    hermes, home = driving.python("hermes").with_name("hermes"), tmp_path / "home"
    async with driving.gateway(tmp_path) as here:
        blocks = driving.recipe("hermes", here).blocks
        await AsyncPath(home / ".hermes").mkdir(parents=True)
        await AsyncPath(home / ".hermes" / "config.yaml").write_text(
            blocks["mcp"] + blocks["model"]
        )
        tested = await driving.run([hermes, "mcp", "test", "lmg"], home)
        words = ["chat", "-Q", "--yolo", "-t", "lmg", "-q", QUESTION]
        ran = await driving.run([hermes, *words], home)
    assert "gateway_status" in tested.all
    assert ran.code == 0, ran.all
    assert READ in ran.out
    assert "ready: 0 running" in ran.out


async def test_cline_asks_our_model_and_calls_our_tool(tmp_path: Path) -> None:
    cline, home = driving.program("cline", "cline"), tmp_path / "home"
    async with driving.gateway(tmp_path) as here:
        await configured("cline", here, home)
        model = ["-p", "openai-compatible", "-k", driving.KEY, "-m", "tiny", "-b", f"{here.url}/v1"]
        told = await driving.run([cline, "auth", *model], home)
        ran = await driving.run([cline, "--timeout", "100", QUESTION], home)
    assert told.code == 0, told.all
    assert ran.code == 0, ran.all
    assert READ in ran.all
    assert "lmg__gateway_status" in ran.all


async def test_the_inspector_lists_and_calls_in_both_eras(tmp_path: Path) -> None:
    program, home = driving.program("inspector", "mcp-inspector"), tmp_path / "home"
    async with driving.gateway(tmp_path) as here:
        for era in ("legacy", "modern"):
            words = ["--cli", here.mcp_url, "--transport", "http", "--protocol-era", era]
            listed = await driving.run([program, *words, "--method", "tools/list"], home)
            call = ["--method", "tools/call", "--tool-name", "gateway_status"]
            called = await driving.run([program, *words, *call], home)
            assert listed.code == 0, listed.all
            assert "submit_job" in listed.out
            assert called.code == 0, called.all
            assert '"isError": false' in called.out
