"""Whole coding agents, unattended: their model through our OpenAI routes, their tool call through our MCP server.

Each is set up by `lmg connect` beside a configuration that its user already has, and taken back at the end.
"""

import json
from pathlib import Path

import pytest

from tests.agents import driving
from tests.agents.engine import READ

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

QUESTION = "Is the gateway busy?"


async def test_codex_asks_our_model_and_calls_our_tool(tmp_path: Path) -> None:
    codex, home = driving.program("codex", "codex"), tmp_path / "home"
    theirs = {".codex/config.toml": "# mine\nhide_agent_reasoning = true\n"}
    async with (
        driving.gateway(tmp_path) as here,
        driving.connected("codex", here, home, codex, theirs) as told,
    ):
        approved = 'mcp_servers.lmg.default_tools_approval_mode="approve"'
        words = ["exec", "--skip-git-repo-check", "-c", approved, QUESTION]
        ran = await driving.lmg(here, home, codex, "launch", "codex", "--", *words)
    assert any(here.mcp_url in line for line in told["reported"])
    assert ran.code == 0, ran.all
    assert READ in ran.out
    assert '"ready":true' in ran.out
    assert (home / ".codex" / "config.toml").read_text() == theirs[".codex/config.toml"]


async def test_opencode_asks_our_model_and_calls_our_tool(tmp_path: Path) -> None:
    opencode, home = driving.program("opencode", "opencode"), tmp_path / "home"
    mine = (
        '{\n  // mine\n  "$schema": "https://opencode.ai/config.json",\n  "share": "disabled",\n}\n'
    )
    theirs = {".config/opencode/opencode.json": mine}
    async with (
        driving.gateway(tmp_path) as here,
        driving.connected("opencode", here, home, opencode, theirs),
    ):
        listed = await driving.run([opencode, "mcp", "list"], home)
        ran = await driving.lmg(here, home, opencode, "launch", "opencode", "--", "run", QUESTION)
    assert "connected" in listed.all
    assert ran.code == 0, ran.all
    assert READ in ran.all
    assert '"ready":true' in ran.all


async def test_claude_code_connects_and_lets_go(tmp_path: Path) -> None:
    claude, home = driving.program("claude-code", "claude"), tmp_path / "home"
    async with driving.gateway(tmp_path) as here:
        async with driving.connected("claude-code", here, home, claude, rewrites=True) as told:
            listed = await driving.run([claude, "mcp", "list"], home)
        after = await driving.run([claude, "mcp", "list"], home)
    assert told["version"] is not None
    assert any("Connected" in line for line in told["reported"])
    assert "Connected" in listed.out, listed.all
    assert "lmg" not in after.out


async def test_gemini_cli_finds_our_server_connected(tmp_path: Path) -> None:
    gemini, home = driving.program("gemini-cli", "gemini"), tmp_path / "home"
    theirs = {
        ".gemini/settings.json": '{\n\t// mine\n\t"ui": {"hideTips": true}\n}\n',
        # It uses servers in trusted folders only, as its recipe says.
        ".gemini/trustedFolders.json": json.dumps({str(home): "TRUST_FOLDER"}),
    }
    async with (
        driving.gateway(tmp_path) as here,
        driving.connected("gemini-cli", here, home, gemini, theirs),
    ):
        listed = await driving.run([gemini, "mcp", "list"], home)
    assert "lmg" in listed.all
    assert "Connected" in listed.all, listed.all


async def test_qwen_code_finds_our_server_connected_and_asks_our_model(tmp_path: Path) -> None:
    qwen, home = driving.program("qwen-code", "qwen"), tmp_path / "home"
    theirs = {".qwen/settings.json": '{\n  // mine\n  "ui": {"hideTips": true}\n}\n'}
    async with (
        driving.gateway(tmp_path) as here,
        driving.connected("qwen-code", here, home, qwen, theirs, rewrites=True),
    ):
        listed = await driving.run([qwen, "mcp", "list"], home)
        words = ["--auth-type", "openai", "--yolo", "-p", QUESTION]
        ran = await driving.lmg(here, home, qwen, "launch", "qwen-code", "--", *words)
    assert "Connected" in listed.all, listed.all
    assert ran.code == 0, ran.all
    # In one go, it asks before its servers have answered; the words are our engine's either way.
    assert "no tool is offered" in ran.all or READ in ran.all


async def test_continue_asks_our_model_and_calls_our_tool(tmp_path: Path) -> None:
    program, home = driving.program("continue", "cn"), tmp_path / "home"
    mine = "name: mine\nversion: 0.0.1\nschema: v1\n"
    async with (
        driving.gateway(tmp_path) as here,
        driving.connected("continue", here, home, program, {".continue/config.yaml": mine}),
    ):
        words = ["--auto", "-p", QUESTION]
        ran = await driving.lmg(here, home, program, "launch", "continue", "--", *words)
    assert ran.code == 0, ran.all
    assert READ in ran.all
    assert '"ready":true' in ran.all.replace("\\", "")


async def test_hermes_asks_our_model_and_calls_our_tool(tmp_path: Path) -> None:
    hermes, home = driving.python("hermes").with_name("hermes"), tmp_path / "home"
    async with driving.gateway(tmp_path) as here:
        # The model block is a choice that only a person makes; its tools are ours to add.
        mine = "# mine\n" + driving.recipe("hermes", here).blocks["model"]
        theirs = {".hermes/config.yaml": mine}
        async with driving.connected("hermes", here, home, hermes, theirs) as told:
            words = ["chat", "-Q", "--yolo", "-t", "lmg", "-q", QUESTION]
            ran = await driving.run([hermes, *words], home)
    assert any("gateway_status" in line for line in told["reported"])
    assert ran.code == 0, ran.all
    assert READ in ran.out
    assert "ready: 0 running" in ran.out


async def test_cline_asks_our_model_and_calls_our_tool(tmp_path: Path) -> None:
    cline, home = driving.program("cline", "cline"), tmp_path / "home"
    async with driving.gateway(tmp_path) as here, driving.connected("cline", here, home, cline):
        model = ["-p", "openai-compatible", "-k", "local", "-m", "tiny", "-b", f"{here.url}/v1"]
        told = await driving.run([cline, "auth", *model], home)
        ran = await driving.run([cline, "--timeout", "100", QUESTION], home)
    assert told.code == 0, told.all
    assert ran.code == 0, ran.all
    assert READ in ran.all
    assert "lmg__gateway_status" in ran.all


async def test_copilot_asks_our_model_and_calls_our_tool(tmp_path: Path) -> None:
    copilot, home = driving.program("copilot-cli", "copilot"), tmp_path / "home"
    theirs = {".copilot/mcp-config.json": '{\n  "mcpServers": {}\n}\n'}
    async with (
        driving.gateway(tmp_path) as here,
        driving.connected("copilot-cli", here, home, copilot, theirs) as told,
    ):
        words = ["--allow-all-tools", "-p", QUESTION]
        ran = await driving.lmg(here, home, copilot, "launch", "copilot-cli", "--", *words)
    assert any(here.mcp_url in line for line in told["reported"])
    assert ran.code == 0, ran.all
    assert READ in ran.out


async def test_pi_asks_our_model(tmp_path: Path) -> None:
    pi, home = driving.program("pi", "pi"), tmp_path / "home"
    theirs = {".pi/agent/models.json": '{\n  // mine\n  "providers": {}\n}\n'}
    async with (
        driving.gateway(tmp_path) as here,
        driving.connected("pi", here, home, pi, theirs) as told,
    ):
        words = ["--offline", "--no-session", "-p", QUESTION]
        ran = await driving.lmg(here, home, pi, "launch", "pi", "--", *words)
    assert any("tiny" in line for line in told["reported"])
    assert ran.code == 0, ran.all
    assert "no tool is offered" in ran.out


async def test_aider_asks_our_model(tmp_path: Path) -> None:
    aider, home = driving.python("aider").with_name("aider"), tmp_path / "home"
    async with (
        driving.gateway(tmp_path) as here,
        driving.connected("aider", here, home, aider, {".aider.conf.yml": "dark-mode: true\n"}),
    ):
        words = ["--no-git", "--yes-always", "--message", QUESTION]
        ran = await driving.lmg(here, home, aider, "launch", "aider", "--", *words)
    assert ran.code == 0, ran.all
    assert "Model: openai/tiny" in ran.out
    assert "no tool is offered" in ran.out


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
