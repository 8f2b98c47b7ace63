"""Every fix that the doctor names is a command that runs, and what it should mend is mended."""

import sys
from pathlib import Path
from typing import Any

import anyio

from tests.cli import stub

CONFIG = """\
server:
  port: 0
  keys: {me: "${file:key}"}
runtimes:
  gone: {engine: embedded, model: MODELS/gone.gguf}
  no-program: {engine: llama-server, model: MODELS/x.gguf, executable: no-such-program}
  no-server: {engine: ollama, model: x, url: "http://127.0.0.1:9"}
mcp_servers:
  tools: {command: no-such-program}
"""
PROVOKED = {
    "KEY-FILE-OPEN",
    "MODEL-MISSING",
    "ENGINE-MISSING",
    "ENGINE-DOWN",
    "MCP-COMMAND-MISSING",
    "GATEWAY-DOWN",
    "CLIENT-BYPASS",
}
MENDED = {"KEY-FILE-OPEN", "GATEWAY-DOWN"}
"""By running the command; the rest need somebody to install, start or choose something."""


async def found(shell: stub.Shell, file: Path) -> dict[str, dict[str, Any]]:
    ran = await shell.lmg("doctor", "--json", "--config", str(file))
    return {check["id"]: check for check in ran.json["checks"]}


async def test_every_fix_is_a_command_that_runs(tmp_path: Path) -> None:
    made = stub.shell(tmp_path)
    program = tmp_path / "bin" / "lmg"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m local_model_gateway "$@"\n')
    program.chmod(0o755)
    shell = stub.Shell(tmp_path, {**made.env, "PATH": f"{program.parent}:{made.env['PATH']}"})
    (tmp_path / "models").mkdir()
    (tmp_path / "key").write_text("k" * 40)
    (tmp_path / "key").chmod(0o644)
    (tmp_path / ".codex").mkdir()
    (tmp_path / ".codex" / "config.toml").write_text('base_url = "http://localhost:11434/v1"\n')
    file = tmp_path / "c.yaml"
    file.write_text(CONFIG.replace("MODELS", str(tmp_path / "models")))
    file.chmod(0o600)
    before = await found(shell, file)
    assert set(before) >= PROVOKED
    try:
        for id_ in sorted(PROVOKED):
            fix = before[id_]["fix"]
            with anyio.fail_after(stub.LIMIT_S):
                done = await anyio.run_process(
                    ["bash", "-c", fix], check=False, cwd=tmp_path, env=shell.env
                )
            # `command -v` and `ls` may say no; not being there, or misused, is another matter.
            assert done.returncode not in {2, 126, 127}, (id_, fix, done.stderr.decode())
        after = await found(shell, file)
    finally:
        await shell.lmg("down", "--drain", "0s", "--config", str(file))
    assert not MENDED & set(after)
    assert after["GATEWAY"]["status"] == "ok"
