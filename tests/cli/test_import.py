"""Other programs' configurations become ours, and what does not is said."""

import json
from pathlib import Path

import pytest
from anyio import to_thread

from local_model_gateway import config, config_reader
from local_model_gateway.importing import carried
from tests.cli import stub

SWAP = """
healthCheckTimeout: 500
logLevel: info
apiKeys: ["canary-0123456789"]
hooks: {on_startup: {preload: [a]}}
macros:
  latest: >
    /opt/llama-server-b9120 --port ${PORT}
  ctx: 4096
  args: "--ctx-size ${ctx}"
models:
  "gpt-oss:120b":
    macros: {ctx: 16384}
    cmd: |
      # ${latest} is above
      ${latest}
      --model /m/gpt-oss.gguf \\
      ${args} -np 2 --temp 0.7
    env: ["CUDA_VISIBLE_DEVICES=0,1"]
    aliases: ["gpt-4o-mini"]
    ttl: 60
    concurrencyLimit: 3
    name: "gpt-oss 120B"
    filters: {stripParams: "temperature"}
  vllm-one:
    cmd: vllm serve Qwen/Qwen3 --port 8000 --max-model-len 4096
    ttl: 0
  docker-one:
    cmd: docker run --rm -p ${PORT}:8080 image
  broken:
    cmd: ${nobody} --x
  from-env:
    cmd: llama-server -m ${env.MODELS}/x.gguf
"""
ROUTER = """
host: 127.0.0.1
port: 8077
api_keys: [canary-0123456789]
something_new: 1
engines:
  llamacpp:
    type: generic_process
    base_url: http://127.0.0.1:8080
    start_cmd: [/usr/local/bin/llama-server, -m, /models/qwen.gguf, --port, "8080"]
    env: {CUDA_VISIBLE_DEVICES: "0"}
    start_timeout_s: 300
  ollama: {type: ollama, base_url: "http://127.0.0.1:11434"}
  tabby: {type: api_swap, base_url: "http://127.0.0.1:5000", unload_path: /v1/model/unload}
  unit: {type: ds4, systemd_user_unit: my.service}
  off: {type: ollama, enabled: false}
models:
  - {id: qwen2.5-7b-instruct, engine: llamacpp, context_length: 8192}
  - {id: "llama3.1:8b", engine: ollama, context_length: 131072}
  - {id: tabby-model, engine: tabby}
  - {id: of-a-unit, engine: unit}
  - {id: of-none, engine: nowhere}
  - {id: of-off, engine: off}
aliases: {gpt-4o-mini: qwen2.5-7b-instruct}
"""
PRESETS = """
version = 1
[*]
n-gpu-layers = 99  # all
[qwen3-32b]
model = /m/qwen3.gguf
ctx-size = 32768
jinja = true
[hub]
hf-repo = ggml-org/gemma
"""


async def imported(tmp_path: Path, name: str, text: str) -> tuple[config.Config, list[str]]:
    shell = stub.shell(tmp_path)
    file = tmp_path / name
    file.write_text(text)
    file.chmod(0o600)
    dry = await shell.lmg("import", str(file), "--dry-run", "--json", MODELS="/srv")
    assert not (tmp_path / "config").exists()
    ran = await shell.lmg("import", str(file), "--json", MODELS="/srv")
    assert (ran.code, ran.json["content"]) == (0, dry.json["content"]), ran.out
    written = Path(ran.json["written"]).read_bytes()
    assert b"canary" not in written
    document = config_reader.parse(written, Path("x.yaml"), {"MODELS": "/srv"})
    return await to_thread.run_sync(config.validate, document), ran.json["left_out"]


async def test_llama_swap(tmp_path: Path) -> None:
    loaded, left_out = await imported(tmp_path, "config.yaml", SWAP)
    assert list(loaded.runtimes) == ["gpt-oss-120b", "vllm-one", "from-env"]
    one = loaded.runtimes["gpt-oss-120b"]
    assert one.aliases == ["gpt-oss:120b", "gpt-4o-mini"]
    assert (one.engine, one.model) == ("llama-server", "/m/gpt-oss.gguf")
    assert one.executable == "/opt/llama-server-b9120"
    assert (one.context, one.max_concurrency) == (8192, 3)
    assert one.args == ["--temp", "0.7"]
    assert one.env == {"CUDA_VISIBLE_DEVICES": "0,1"}
    assert (one.idle_unload, one.load_timeout) == (60.0, 500.0)
    vllm = loaded.runtimes["vllm-one"]
    assert (vllm.engine, vllm.model, vllm.idle_unload) == ("vllm", "Qwen/Qwen3", "never")
    assert vllm.cmd is not None
    assert vllm.cmd[:5] == ["vllm", "serve", "Qwen/Qwen3", "--port", "{port}"]
    assert loaded.runtimes["from-env"].model == "/srv/x.gguf"
    said = "\n".join(left_out)
    for words in (
        "`hooks`",
        "`apiKeys`",
        "docker-one: it runs `docker`",
        "broken: the macro",
        "filters",
    ):
        assert words in said
    assert "canary" not in said


async def test_local_engine_router(tmp_path: Path) -> None:
    loaded, left_out = await imported(tmp_path, "router.yaml", ROUTER)
    assert list(loaded.runtimes) == ["qwen2.5-7b-instruct", "llama3.1-8b", "tabby-model"]
    one = loaded.runtimes["qwen2.5-7b-instruct"]
    assert (one.engine, one.model, one.context) == ("llama-server", "/models/qwen.gguf", 8192)
    assert one.aliases == ["gpt-4o-mini"]
    assert one.load_timeout == 300.0
    ollama = loaded.runtimes["llama3.1-8b"]
    assert (ollama.engine, ollama.model, ollama.url) == ("ollama", "llama3.1:8b", None)
    assert loaded.runtimes["tabby-model"].engine == "tabbyapi"
    said = "\n".join(left_out)
    for words in (
        "`something_new`",
        "`api_keys`",
        "my.service",
        "'nowhere'",
        "switched off",
        "8077",
    ):
        assert words in said


async def test_llama_server_presets(tmp_path: Path) -> None:
    loaded, left_out = await imported(tmp_path, "models.ini", PRESETS)
    assert list(loaded.runtimes) == ["qwen3-32b"]
    one = loaded.runtimes["qwen3-32b"]
    assert (one.model, one.context) == ("/m/qwen3.gguf", 32768)
    assert one.args == ["--n-gpu-layers", "99", "--jinja"]
    assert "hub: it is fetched from a hub" in left_out[0]


@pytest.mark.parametrize(
    "text", ["version: 1\n", "models: {}\n", "[]\n", "a: [\n", "models: [1]\n"]
)
async def test_anything_else_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    ran = await stub.shell(tmp_path).lmg("import", str(file))
    assert ran.code in {1, 4}
    assert len(ran.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "engine"),
    [
        (["python3", "-m", "sglang.launch_server", "--model-path", "m", "--port", "1"], "sglang"),
        (["/usr/bin/python", "-m", "mlx_lm.server", "--model", "m"], "mlx-lm"),
        (["mlx_lm.server", "--model=m", "--port=1"], "mlx-lm"),
        (["max", "serve", "--model", "m"], "modular-max"),
        (["ramalama", "serve", "m"], "ramalama"),
        (["koboldcpp", "--model", "m"], "koboldcpp"),
    ],
)
def test_a_start_command_tells_its_engine_and_model(words: list[str], engine: str) -> None:
    section = carried.from_command(words)
    assert (section["engine"], section["model"]) == (engine, "m")
    command = json.dumps(section["cmd"])
    assert command.count("{port}") == 1
    assert '"1"' not in command


@pytest.mark.parametrize(
    "words", [[], ["docker", "run"], ["llama-server"], ["vllm", "serve"], ["sh", "-c", "x"]]
)
def test_a_command_that_is_not_understood_is_left_to_a_person(words: list[str]) -> None:
    with pytest.raises(carried.NotCarried):
        carried.from_command(words)
