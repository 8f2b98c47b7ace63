"""A secret that is seeded everywhere comes out nowhere."""

import json
from pathlib import Path

import anyio
import httpx2
from anyio import to_thread

from tests.cli import stub

KEY = "canary-" + "a" * 40
TOKEN = "canary-" + "b" * 40
FILED = "canary-" + "c" * 40
INLINE = "canary-" + "d" * 40

CONFIG = f"""\
server:
  port: 0
  keys:
    me: ${{env:KEY}}
    other: ${{file:key}}
runtimes:
  tiny: {{engine: embedded, env: {{SOME_TOKEN: {INLINE}}}}}
  broken:
    engine: llama-server
    model: /nowhere/x.gguf
    executable: /bin/false
    args: [--api-key, {INLINE}]
mcp_servers:
  tools:
    url: http://127.0.0.1:9/mcp
    bearer: ${{env:TOKEN}}
    headers: {{X-Api-Key: {INLINE}}}
"""


async def test_a_secret_is_in_no_answer_no_output_and_no_file(tmp_path: Path) -> None:
    shell = stub.shell(tmp_path)
    file = tmp_path / "c.yaml"
    file.write_text(CONFIG)
    file.chmod(0o600)
    (tmp_path / "key").write_text(FILED + "\n")
    (tmp_path / "key").chmod(0o600)
    words = ("--config", str(file))
    said: list[str] = []

    async def lmg(*verb: str) -> stub.Ran:
        ran = await shell.lmg(*verb, *words, KEY=KEY, TOKEN=TOKEN)
        said.append(ran.out + ran.err)
        return ran

    up = await lmg("up", "--json")
    assert up.code == 0, up
    try:
        url = up.json["endpoints"]["openai"].removesuffix("/v1")
        answers = await bodies(url)
        assert [status for status, _ in answers][:2] == [401, 200]
        said += [text for _, text in answers]
        for verb in ("status", "ps", "models", "queue", "doctor", "recipes"):
            await lmg(verb, "--json")
            await lmg(verb)
        await lmg("config", "show")
        await lmg("config", "show", "--json")
        await lmg("config", "validate")
        await lmg("connect", "claude-code", "--dry-run")
        await lmg("run", "broken", "hi")
        await lmg("logs", "--source", "broken")
        await lmg("logs", "--json")
        await lmg("mcp", "ls")
    finally:
        await lmg("down", "--drain", "0s")
    for text in said:
        assert "canary" not in text
    found = await to_thread.run_sync(files_with, tmp_path / "state", b"canary")
    assert found == []


async def bodies(url: str) -> list[tuple[int, str]]:
    """Answers with headers, from every surface, right and wrong."""
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "api_key": TOKEN}
    right, wrong = {"Authorization": f"Bearer {KEY}"}, {"Authorization": f"Bearer {TOKEN}"}
    chat, garbled = "/v1/chat/completions", {**right, "content-type": "application/json"}
    async with httpx2.AsyncClient(base_url=url, timeout=stub.LIMIT_S) as client:
        answers = (
            await client.get("/status", headers=wrong),
            await client.get("/status", headers=right),
            await client.get(f"/status?key={KEY}"),
            await client.post(chat, json=body, headers=right),
            await client.post(chat, json={**body, "model": "broken"}, headers=right),
            await client.post(chat, content=b"{", headers=garbled),
            await client.get("/v1/models", headers={"X-Api-Key": FILED}),
            await client.get("/.well-known/local-model-gateway.json", headers=right),
            await client.get("/llms.txt", headers=right),
            await client.get("/nowhere", headers=right),
        )
    return [(one.status_code, json.dumps(dict(one.headers)) + one.text) for one in answers]


def files_with(folder: Path, needle: bytes) -> list[str]:
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and needle in path.read_bytes()
    ]


async def test_followed_logs_go_on_over_a_rotation(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "local-model-gateway" / "logs"
    folder.mkdir(parents=True)
    file = folder / "gateway.log"
    file.write_text('{"at": "t", "level": "info", "message": "first"}\n')
    async with stub.child(stub.shell(tmp_path), "logs", "-f", "--json") as (process, lines):
        with anyio.fail_after(stub.LIMIT_S):
            assert json.loads(await anext(lines))["message"] == "first"
            with file.open("a") as stream:
                stream.write('{"message": "second"}\n')
            assert json.loads(await anext(lines))["message"] == "second"
            file.rename(folder / "gateway.log.1")
            file.write_text('{"message": "third"}\n')
            assert json.loads(await anext(lines))["message"] == "third"
        process.terminate()
