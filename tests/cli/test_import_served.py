"""A configuration of each kind, imported, and every model of it asked through a real gateway."""

from collections.abc import Sequence
from pathlib import Path

import httpx2
import pytest

from tests.cli import programs, stub

SWAP = """\
# Two models on one card and a small one beside them.
healthCheckTimeout: 60
startPort: 10001
sendLoadingState: true
macros:
  server: >
    BIN/llama-server
    --port ${PORT} --host 0.0.0.0 -ngl 99
  ctx: 8192
  models: MODELS
defaults: &defaults
  ttl: 300
  checkEndpoint: /health
models:
  "qwen3:32b":
    <<: *defaults
    macros: {ctx: 16384}
    cmd: |
      ${server}
      # the newer file
      --model ${models}/qwen3.gguf
      --ctx-size ${ctx} -np 2 --jinja \\
      --temp 0.6
    aliases: [gpt-4o, {id: gpt-4o-mini}]
    env: ["CUDA_VISIBLE_DEVICES=0"]
    filters: {stripParams: "temperature, top_p"}
  coder:
    <<: *defaults
    cmd: ${server} -m models/coder.gguf -c ${ctx} --alias something-else
    useModelName: coder-upstream
    proxy: http://127.0.0.1:${PORT}
  vllm-model:
    cmd: env VLLM_LOGGING_LEVEL=INFO BIN/vllm serve MODELS/hf-folder --port 8999 --max-model-len 4096 --dtype half
    proxy: http://127.0.0.1:8999
    concurrencyLimit: 4
  mlx:
    cmd: BIN/mlx_lm.server --model MODELS/hf-folder --port ${PORT}
    checkEndpoint: /v1/models
groups:
  small: {swap: false, exclusive: false, members: [coder]}
hooks:
  on_startup: {preload: [coder]}
"""
ROUTER = """\
host: 127.0.0.1
port: 8077
log_level: INFO
drain_timeout_s: 30.0
engines:
  llamacpp:
    type: generic_process
    enabled: true
    base_url: http://127.0.0.1:8080
    start_cmd: [BIN/llama-server, -m, MODELS/qwen3.gguf, --port, "8080", --host, 127.0.0.1, -ngl, "99"]
    env: {CUDA_VISIBLE_DEVICES: "0"}
    ready_path: /health
    ready_check: "status==ok"
    start_timeout_s: 300
    stop_timeout_s: 5
  sglang:
    type: generic_process
    base_url: http://127.0.0.1:30000
    start_cmd: "BIN/python3 -m sglang.launch_server --model-path MODELS/hf-folder --port 30000 --host 127.0.0.1"
    ready_path: /health
  kobold:
    type: generic_process
    base_url: http://127.0.0.1:5001
    start_cmd: [BIN/koboldcpp, --model, models/coder.gguf, --port, "5001", --host, 127.0.0.1, --gpulayers, "99"]
    cwd: CWD
models:
  - {id: qwen2.5-7b-instruct, engine: llamacpp, display_name: Qwen, context_length: 8192}
  - {id: org/sg-model, engine: sglang, context_length: 4096}
  - {id: kobold, engine: kobold, context_length: 4096}
aliases:
  gpt-4o: qwen2.5-7b-instruct
  claude: org/sg-model
"""
PRESETS = """\
version = 1

; what every model gets
[*]
ngl = 99
jinja = true
LLAMA_ARG_CTX_SIZE = 8192

[qwen3:32b]
model = MODELS/qwen3.gguf
c = 16384
np = 2
no-mmap = true   # read, do not map
alias = gpt-4o
stop-timeout = 5

[embedder]
m = models/coder.gguf
embeddings = on
pooling = mean
"""


@pytest.mark.parametrize(
    ("name", "text", "chat", "embed", "left"),
    [
        (
            "config.yaml",
            SWAP,
            ("qwen3:32b", "gpt-4o", "gpt-4o-mini", "coder", "vllm-model", "mlx"),
            (),
            ("defaults", "groups", "hooks", "qwen3:32b.filters.stripParams"),
        ),
        (
            "router.yaml",
            ROUTER,
            ("qwen2.5-7b-instruct", "gpt-4o", "org/sg-model", "claude", "kobold"),
            (),
            ("drain_timeout_s", "port"),
        ),
        ("models.ini", PRESETS, ("qwen3:32b", "gpt-4o"), ("embedder",), ()),
    ],
)
async def test_every_model_of_an_imported_file_answers_behind_a_real_gateway(
    tmp_path: Path,
    name: str,
    text: str,
    chat: Sequence[str],
    embed: Sequence[str],
    left: Sequence[str],
) -> None:
    shell = _home(tmp_path, name, text)
    await shell.lmg("up", "--yes")
    try:
        ran = await shell.here("import", name, "--json")
        assert ran.json["gateway"] == {"running": True, "taken": True}, ran.out
        assert {one["key"] for one in ran.json["left_out"]} == set(left)
        for model in chat:
            answer = await shell.here("run", model, "hello", "--json")
            assert (answer.code, bool(answer.json.get("text"))) == (0, True), answer.out
        url = (await shell.here("status", "--json")).json["gateway"]["url"]
        async with httpx2.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
            for model in embed:
                body = {"model": model, "input": "hello"}
                answered = await client.post("/v1/embeddings", json=body)
                assert (answered.status_code, len(answered.json()["data"])) == (200, 1)
        removed = await shell.here("remove", Path(ran.json["written"]).stem, "--json")
        assert removed.json["gateway"] == {"running": True, "taken": True}
    finally:
        await shell.lmg("down", "--drain", "0s")


def _home(tmp_path: Path, name: str, text: str) -> stub.Shell:
    programs.installed(tmp_path / "bin", *programs.PROGRAMS)
    models = tmp_path / "models"
    (models / "hf-folder").mkdir(parents=True)
    for file in ("qwen3.gguf", "coder.gguf"):
        (models / file).write_bytes(b"GGUF")
    for word, path in (("BIN", tmp_path / "bin"), ("MODELS", models), ("CWD", tmp_path)):
        text = text.replace(word, str(path))
    (tmp_path / name).write_text(text)
    mine = tmp_path / "config" / "local-model-gateway" / "config.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("server: {port: 0}\npool: {memory: 8GiB}\n")
    mine.chmod(0o600)
    shell = stub.shell(tmp_path)
    # llama-server of a preset file is the one on the PATH.
    searched = f"{tmp_path / 'bin'}:{shell.env['PATH']}"
    return stub.Shell(shell.home, {**shell.env, "PATH": searched})
