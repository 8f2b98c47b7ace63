"""The commands against a real gateway with the embedded engine: from nothing to an answer, and to nothing again."""

import json
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2
import pytest

from local_model_gateway import announcement
from tests.cli import stub


def config(tmp_path: Path, text: str = "server: {port: 0}\n") -> str:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    file.chmod(0o600)
    return str(file)


@pytest.mark.requirement("up-serves-a-real-model")
async def test_from_nothing_to_an_answer_and_to_nothing_again(tmp_path: Path) -> None:
    shell = stub.shell(tmp_path)
    file = config(tmp_path)
    up = await shell.lmg("up", "--yes", "--json", "--config", file)
    try:
        assert (up.code, up.err) == (0, "")
        assert up.json["schema"] == "lmg.up/1"
        assert [one["id"] for one in up.json["models"]] == ["tiny"]
        again = await shell.lmg("up", "--json", "--config", file)
        assert (again.json["pid"], again.json["created"]) == (up.json["pid"], False)
        ran = await shell.lmg("run", "tiny", "Say hello", "--json", "--config", file)
        assert ran.code == 0
        assert ran.json["text"]
        assert ran.json["finish_reason"] == "stop"
        status = await shell.lmg("status", "--json", "--config", file)
        assert status.json["finished_today"] == {"succeeded": 1}
        logs = await shell.lmg("logs", "--json", "--config", file)
        assert "Say hello" not in logs.out
        assert '"model": "tiny"' in logs.out
    finally:
        down = await shell.lmg("down", "--drain", "1s", "--json", "--config", file)
    assert (down.code, down.json["was_running"]) == (0, True)
    assert not await anyio.to_thread.run_sync(announcement.alive, up.json["pid"])
    assert (await shell.lmg("status", "--config", file)).code == 3
    assert not (tmp_path / "state" / "local-model-gateway" / announcement.FILE).exists()


async def test_start_prints_the_addresses_and_a_curl_line_that_works_as_pasted(
    tmp_path: Path,
) -> None:
    shell = stub.shell(tmp_path)
    command = ["start", "--config", config(tmp_path)]
    async with stub.child(shell, *command) as (process, lines):
        with anyio.fail_after(stub.LIMIT_S):
            said = []
            async for line in lines:
                said.append(line)
                if line.strip().startswith("curl"):
                    break
            text = "\n".join(said)
            assert "/v1" in text
            assert "/mcp" in text
            assert "one sentence, whatever you ask" in text
            answered = await anyio.run_process(["bash", "-c", said[-1]], check=True)
            answer = json.loads(answered.stdout)
            assert answer["choices"][0]["message"]["content"]
            process.terminate()
            assert await process.wait() == 0


async def test_a_second_gateway_on_the_port_says_so_in_one_line(tmp_path: Path) -> None:
    async with stub.served() as taken:
        port = taken.url.rpartition(":")[2]
        file = config(tmp_path, f"server: {{port: {port}}}\n")
        ran = await stub.shell(tmp_path).lmg("start", "--config", file)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.strip().startswith(f"port {port} is taken")
    assert len(ran.err.strip().splitlines()) == 1


async def test_a_gateway_with_a_key_opens_to_its_own_commands_only(tmp_path: Path) -> None:
    shell = stub.shell(tmp_path)
    key = "canary-" + "k" * 40
    file = config(tmp_path, "server: {port: 0, keys: {me: '${env:KEY}'}}\n")
    up = await shell.lmg("up", "--json", "--config", file, KEY=key)
    try:
        url = up.json["endpoints"]["status"]
        async with httpx2.AsyncClient() as stranger:
            assert (await stranger.get(url)).status_code == 401
        status = await shell.lmg("status", "--json", "--config", file, KEY=key)
        assert status.code == 0
        assert key not in up.out + status.out
    finally:
        await shell.lmg("down", "--drain", "0s", "--config", file, KEY=key)


async def test_an_end_of_the_background_start_is_reported_with_its_reason(tmp_path: Path) -> None:
    async with stub.served() as taken:
        port = taken.url.rpartition(":")[2]
        ran = await stub.shell(tmp_path).lmg(
            "up", "--config", config(tmp_path, f"server: {{port: {port}}}\n")
        )
    assert ran.code == 1
    assert f"port {port} is taken" in ran.err


async def test_the_module_runs_as_the_command(tmp_path: Path) -> None:
    ran = await stub.shell(tmp_path).lmg("--version")
    assert ran.out.startswith("local-model-gateway ")
