"""Other programs' configurations become ours, and what does not is said with its line."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from local_model_gateway import config, config_reader
from local_model_gateway.importing import (
    carried,
    command_lines,
    engine_router,
    llama_swap,
    source,
)
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
    aliases: ["gpt-4o-mini", {id: "named", unlisted: true}]
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
  shared:
    <<: &shared {ttl: 30}
    cmd: llama-server -m /m/shared.gguf -c 4096 --port ${PORT} -ot "a|b=CPU"
    cmdStop: kill ${PID}
    capabilities: {tools: true, in: [text, image], reranker: true}
    description: Only for  drawings.
    unlisted: true
  from-env:
    cmd: llama-server -m ${env.MODELS}/x.gguf
routing:
  router: {use: group, settings: {groups: {always: {persistent: true, members: [shared]}}}}
selectors:
  best: {strategy: warm, targets: [shared]}
profiles: {}
peers:
  cloud: {proxy: "https://api.example.com/v1", apiKey: "${env.CLOUD}", models: [org/one], filters: {}}
  here: {proxy: "http://127.0.0.1:9", models: [two]}
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
  shell:
    type: generic_process
    start_cmd: "$HOME/bin/llama-server -m 'a model.gguf' -np 2 -c 8192"
    cwd: /srv
    stop_signal: SIGINT
  pipe: {type: generic_process, start_cmd: "llama-server -m x | tee log"}
  folder: {type: generic_process, env: {}, start_cmd: [local-ai, run, --models-path, /m]}
  blank: {type: generic_process, start_cmd: [llama-server, -m, <YOUR MODEL>]}
models:
  - {id: qwen2.5-7b-instruct, engine: llamacpp, context_length: 8192}
  - {id: "llama3.1:8b", engine: ollama, context_length: 131072}
  - {id: tabby-model, engine: tabby}
  - {id: of-a-unit, engine: unit}
  - {id: of-none, engine: nowhere}
  - {id: of-off, engine: off}
  - {id: of-shell, engine: shell, memory_gb: 7, quality_tier: 3}
  - {id: of-shell-again, engine: shell}
  - {id: of-pipe, engine: pipe}
  - {id: x.gguf, engine: folder}
  - {id: of-blank, engine: blank}
aliases: {gpt-4o-mini: qwen2.5-7b-instruct, lost: nobody}
"""
PRESETS = """
version = 1
[*]
n-gpu-layers = 99  # all
LLAMA_ARG_CTX_SIZE = 4096
[qwen3-32b]
model = qwen3.gguf;the good one
c = 32768
np = 2
jinja = true
flash-attn = on
no-mmap = 1
kv-offload = off
cont-batching = true
stop-timeout = 7
alias = qwen, qw
load-on-startup = true
api-key = canary-0123456789
[hub]
hf-repo = ggml-org/gemma
"""


async def imported(
    tmp_path: Path, name: str, text: str
) -> tuple[config.Config, dict[str, tuple[int, str]]]:
    """What was taken over, and by key what was not: its line, and why."""
    shell = stub.shell(tmp_path)
    file = tmp_path / name
    file.write_text(text)
    env = {"MODELS": "/srv", "CLOUD": "secret-0123456789"}
    dry = await shell.here("import", str(file), "--dry-run", "--json", **env)
    assert not (tmp_path / "config").exists()
    ran = await shell.here("import", str(file), "--json", **env)
    assert (ran.code, ran.json["content"]) == (0, dry.json["content"]), ran.out
    assert "canary" not in ran.out
    target = Path(ran.json["written"])
    written = target.read_bytes()
    again = await shell.here("import", str(file), "--json", **env)
    assert (again.code, again.json["changed"], target.read_bytes()) == (0, False, written)
    assert again.json["left_out"] == ran.json["left_out"]
    document = config_reader.parse(written, Path("x.yaml"), {**env, "HOME": "/home/me"})
    lines = text.splitlines()
    left = {one["key"]: (one["line"], one["why"]) for one in ran.json["left_out"]}
    for key, (line, _) in left.items():
        last = key.rpartition(".")[2].rpartition(" ")[2].strip("[]")
        assert last in lines[line - 1] or last in lines[line], f"{key} is not in line {line}"
    return await to_thread.run_sync(config.validate, document), left


async def test_llama_swap(tmp_path: Path) -> None:
    loaded, _left = await imported(tmp_path, "config.yaml", SWAP)
    assert list(loaded.runtimes) == ["gpt-oss-120b", "vllm-one", "shared", "from-env", "org-one"]
    one = loaded.runtimes["gpt-oss-120b"]
    assert one.aliases == ["gpt-oss:120b", "gpt-4o-mini", "named"]
    assert (one.engine, one.model) == ("llama-server", "/m/gpt-oss.gguf")
    assert one.executable == "/opt/llama-server-b9120"
    assert (one.context, one.max_concurrency) == (8192, 2), "the engine's memory stays what it was"
    assert one.args == ["--temp", "0.7"]
    assert one.env == {"CUDA_VISIBLE_DEVICES": "0,1"}
    assert (one.idle_unload, one.load_timeout) == (60.0, 500.0)
    vllm = loaded.runtimes["vllm-one"]
    assert (vllm.engine, vllm.model, vllm.idle_unload) == ("vllm", "Qwen/Qwen3", "never")
    assert (vllm.context, vllm.cmd) == (4096, None)
    shared = loaded.runtimes["shared"]
    assert (shared.idle_unload, shared.pinned, shared.notice) == (30.0, True, "Only for drawings.")
    assert (shared.context, shared.max_concurrency) == (4096, 1)
    assert shared.args == ["-ot", "a|b=CPU"], "no shell reads it, so that is no pipe"
    assert shared.capabilities == ["chat", "completions", "tools", "vision"]
    assert loaded.runtimes["from-env"].model == "/srv/x.gguf"
    cloud = loaded.runtimes["org-one"]
    assert (cloud.engine, cloud.url, cloud.model) == (
        "openai",
        "https://api.example.com",
        "org/one",
    )
    assert cloud.api_key is not None
    assert cloud.api_key.get_secret_value() == "secret-0123456789"


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("hooks", "lmg load"),
        ("apiKeys", "server.keys"),
        ("routing", "memory"),
        ("selectors", "always means its own model"),
        ("docker-one", "it runs `docker`"),
        ("broken", "the macro ${nobody}"),
        ("gpt-oss:120b.filters.stripParams", "passed on as they come"),
        ("gpt-oss:120b.concurrencyLimit", "2 at a time"),
        ("shared.cmdStop", "ends the engine's processes itself"),
        ("shared.capabilities.reranker", "/v1/rerank"),
        ("shared.unlisted", "every model is listed"),
        ("from-env.cmd", "context"),
        ("peers.cloud.filters", "passed on"),
        ("peers.here", "memory nobody would count"),
    ],
)
async def test_what_llama_swap_has_and_we_have_not_is_named(
    tmp_path: Path, key: str, says: str
) -> None:
    _, left = await imported(tmp_path, "config.yaml", SWAP)
    assert says in left[key][1]


async def test_local_engine_router(tmp_path: Path) -> None:
    loaded, left = await imported(tmp_path, "router.yaml", ROUTER)
    names = ["qwen2.5-7b-instruct", "llama3.1-8b", "tabby-model", "of-a-unit", "of-shell", "x.gguf"]
    assert list(loaded.runtimes) == names
    one = loaded.runtimes["qwen2.5-7b-instruct"]
    assert (one.engine, one.model, one.context) == ("llama-server", "/models/qwen.gguf", 8192)
    assert one.aliases == ["gpt-4o-mini"]
    assert (one.load_timeout, one.env) == (300.0, {"CUDA_VISIBLE_DEVICES": "0"})
    ollama = loaded.runtimes["llama3.1-8b"]
    assert (ollama.engine, ollama.model, ollama.url) == ("ollama", "llama3.1:8b", None)
    assert ollama.context is None, "what the router only displays would be loaded here"
    assert loaded.runtimes["tabby-model"].engine == "tabbyapi"
    unit = loaded.runtimes["of-a-unit"]
    assert (unit.engine, unit.unit, unit.url) == ("service", "my.service", "http://127.0.0.1:8099")
    shell = loaded.runtimes["of-shell"]
    assert (shell.executable, shell.model) == ("/home/me/bin/llama-server", "/srv/a model.gguf")
    assert (shell.context, shell.max_concurrency, shell.memory) == (4096, 2, 7 << 30)
    assert shell.aliases == ["of-shell-again"], "one process is one model, whatever it is called"
    folder = loaded.runtimes["x.gguf"]
    assert (folder.engine, folder.model, folder.env) == ("localai", "/m/x.gguf", {})
    for key, says in {
        "of-blank": "<YOUR MODEL> is still to be filled in",
        "something_new": "no counterpart",
        "api_keys": "server.keys",
        "port": "8077",
        "of-none": "'nowhere'",
        "of-off": "switched off",
        "of-pipe": "for a shell",
        "engines.shell.stop_signal": "SIGTERM",
        "of-shell.quality_tier": "by name",
        "llama3.1:8b.context_length": "its own setting",
        "aliases.lost": "'nobody'",
    }.items():
        assert says in left[key][1]


async def test_local_engine_routers_older_sections_are_read_too(tmp_path: Path) -> None:
    text = "ollama: {base_url: 'http://127.0.0.1:11435'}\nmodels:\n- {id: m, engine: ollama}\n"
    loaded, left = await imported(tmp_path, "router.yaml", text)
    assert (loaded.runtimes["m"].engine, loaded.runtimes["m"].url) == (
        "ollama",
        "http://127.0.0.1:11435",
    )
    assert left == {}


async def test_llama_server_presets(tmp_path: Path) -> None:
    loaded, left = await imported(tmp_path, "models.ini", PRESETS)
    assert list(loaded.runtimes) == ["qwen3-32b"]
    one = loaded.runtimes["qwen3-32b"]
    assert (one.model, one.context) == (f"{tmp_path}/qwen3.gguf", 16384)
    assert (one.max_concurrency, one.stop_timeout) == (2, 7.0)
    assert one.aliases == ["qwen", "qw"]
    assert one.args == [
        *("--n-gpu-layers", "99", "--jinja", "--flash-attn", "on", "--no-mmap"),
        *("--no-kv-offload", "--cont-batching"),
    ]
    assert "fetched from a hub (ggml-org/gemma)" in left["hub"][1]
    assert "lmg load" in left["[qwen3-32b] load-on-startup"][1]
    assert "server.keys" in left["[qwen3-32b] api-key"][1]


@pytest.mark.parametrize(
    ("lies", "named", "found"),
    [
        (".cache/huggingface/hub/models--org--m/snapshots/abc/m-Q4_K_M.gguf", "org/m", True),
        (".cache/huggingface/hub/models--org--m/snapshots/abc/m-q8_0.gguf", "org/m:Q8_0", True),
        (".cache/huggingface/hub/models--org--m/snapshots/abc/m-q8_0.gguf", "org/m:Q4_K_M", False),
        (
            ".cache/huggingface/hub/models--org--m/snapshots/a/m-Q6-00001-of-00002.gguf",
            "org/m",
            True,
        ),
        (
            ".cache/huggingface/hub/models--org--m/snapshots/a/m-Q6-00002-of-00002.gguf",
            "org/m",
            False,
        ),
        (".cache/llama.cpp/org_m_m-Q4_K_M.gguf", "org/m:q4_k_m", True),
        (".cache/llama.cpp/org_other_m-Q4_K_M.gguf", "org/m:q4_k_m", False),
        (".cache/llama.cpp/org_m_m-Q4_K_M.gguf", "../m", False),
    ],
)
async def test_what_was_fetched_from_a_hub_before_is_found_where_it_lies(
    tmp_path: Path, lies: str, named: str, found: bool
) -> None:
    file = tmp_path / lies
    file.parent.mkdir(parents=True)
    file.write_bytes(b"GGUF")
    (tmp_path / "m.ini").write_text(f"[one]\nhf-repo = {named}\nc = 4096\n")
    shell = stub.shell(tmp_path)
    ran = await shell.here("import", "m.ini", "--json", XDG_CACHE_HOME=str(tmp_path / ".cache"))
    assert ran.code == (0 if found else 1)
    assert (f"model: {file}" in json.loads(ran.out).get("content", "")) is found


async def test_a_projector_that_was_fetched_beside_the_model_comes_along(tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "models--org--m" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    for name in ("m-Q4_K_M.gguf", "mmproj-F16.gguf"):
        (folder / name).write_bytes(b"GGUF")
    (tmp_path / "m.yaml").write_text("models: {v: {cmd: llama-server -hf org/m -c 4096}}\n")
    ran = await stub.shell(tmp_path).here(
        "import", "m.yaml", "--json", HF_HUB_CACHE=str(tmp_path / "hub")
    )
    assert f'args: ["--mmproj", "{folder}/mmproj-F16.gguf"]' in ran.json["content"]
    assert '"vision"' in ran.json["content"]


async def test_a_name_that_is_taken_is_left_to_its_owner(tmp_path: Path) -> None:
    folder = tmp_path / "config" / "local-model-gateway"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("runtimes:\n  a: {engine: embedded, aliases: [b]}\n")
    (folder / "config.yaml").chmod(0o600)
    (tmp_path / "m.ini").write_text("".join(f"[{x}]\nm = /m/{x}.gguf\nc = 512\n" for x in "abc"))
    ran = await stub.shell(tmp_path).here("import", "m.ini", "--json")
    assert (ran.code, ran.json["models"]) == (0, ["c"])
    assert [one["key"] for one in ran.json["left_out"]] == ["a", "b"]
    assert all("config.yaml:2" in one["why"] for one in ran.json["left_out"])


async def test_a_file_elsewhere_is_a_configuration_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "m.ini").write_text("[a]\nm = /m/a.gguf\nc = 512\n")
    shell = stub.shell(tmp_path)
    await shell.here("import", "m.ini")
    for changed in (True, False):
        ran = await shell.here("import", "m.ini", "--output", "whole.yaml", "--json")
        assert (ran.code, ran.json["changed"]) == (0, changed)
    loaded = await to_thread.run_sync(config.load, tmp_path / "whole.yaml", {})
    assert list(loaded.runtimes) == ["a"]


async def test_a_file_elsewhere_is_nothing_to_a_gateway_or_to_remove(tmp_path: Path) -> None:
    (tmp_path / "m.ini").write_text("[a]\nm = /m/a.gguf\nc = 512\n")
    ran = await stub.shell(tmp_path).here("import", "m.ini", "--output", "whole.yaml")
    assert (ran.code, ran.out.strip().splitlines()[1:]) == (0, [])


async def test_a_files_name_stays_in_the_first_line(tmp_path: Path) -> None:
    file = tmp_path / "m\nserver: {port: 1}\n#\x85.ini"
    file.write_text("[a]\nm = /m/a.gguf\nc = 512\n")
    ran = await stub.shell(tmp_path).here("import", str(file), "--json")
    assert ran.code == 0, ran.out
    first, second = ran.json["content"].split("\n")[:2]
    assert "from m?server: {port: 1}?#?.ini (" in first
    assert second == "version: 1"


async def test_people_get_file_and_line_and_the_way_back(tmp_path: Path) -> None:
    (tmp_path / "swap.yaml").write_text(SWAP)
    env = {"MODELS": "/srv", "CLOUD": "x"}
    ran = await stub.shell(tmp_path).here("import", "swap.yaml", **env)
    assert "  swap.yaml:4: apiKeys: keys are not copied" in ran.out
    assert "Undo  lmg remove imported-llama-swap" in ran.out


@pytest.mark.parametrize(
    "text",
    [
        *("version: 1\n", "models: {}\n", "[]\n", "a: [\n", "models: [1]\n", "a: !!python/x 1\n"),
        *("a: 2024-99-99\n", "a: !!int abc\n", "a: 0x_\n", "a: !!int ''\n", "a: !!timestamp x\n"),
        "a: &a [x, x]\nb: &b [*a, *a]\n" + "c: [*b, *b]\n" * 3,
        "[" * 3000,
    ],
)
async def test_anything_else_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    ran = await stub.shell(tmp_path).here("import", str(file))
    assert ran.code == 1
    assert len(ran.err.strip().splitlines()) == 1


def places(data: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to everything below."""
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if at else ()
    for key, value in pairs:
        yield (*at, key)
        if isinstance(value, dict | list):
            yield from places(value, (*at, key))


@pytest.mark.parametrize("junk", [5, -1, True, "x", "<x>", [1], [[]], {"a": 1}, None])
@pytest.mark.parametrize("text", [SWAP, ROUTER])
def test_whatever_stands_anywhere_in_a_file_is_taken_or_named_and_nothing_breaks(
    text: str, junk: object
) -> None:
    file = Path("/x/a.yaml")
    for place in places(source.read_yaml(text, file).data):
        changed = source.read_yaml(text, file)
        below: Any = changed.data
        for key in place[:-1]:
            below = below[key]
        below[place[-1]] = junk
        for kind in (llama_swap, engine_router):
            if kind.recognises(changed.data):
                found = kind.read(changed)
                assert all(one.why for one in found.left)
                assert all(section["engine"] for section in found.runtimes.values())


@pytest.mark.parametrize(
    ("command", "section"),
    [
        (
            "python3 -m sglang.launch_server --model-path m --port 1 --tp 2 --context-length 4096",
            {"engine": "sglang", "context": 4096, "args": ["--tp", "2"]},
        ),
        (
            "/venv/bin/python /venv/bin/vllm serve m --api-key canary --max-num-seqs=4",
            {"engine": "vllm", "max_concurrency": 4, "executable": "/venv/bin/vllm"},
        ),
        (
            "python -m vllm.entrypoints.openai.api_server --model m --port 8000 --dtype half",
            {
                "engine": "vllm",
                "cmd": [
                    *("python", "-m", "vllm.entrypoints.openai.api_server", "--model", "{model}"),
                    *("--host", "127.0.0.1", "--port", "{port}", "--served-model-name", "{alias}"),
                    *("--dtype", "half"),
                ],
            },
        ),
        (
            "/usr/bin/python -m mlx_lm.server --model m",
            {
                "engine": "mlx-lm",
                "cmd": [
                    *("/usr/bin/python", "-m", "mlx_lm.server", "--model", "{model}"),
                    *("--host", "127.0.0.1", "--port", "{port}"),
                ],
            },
        ),
        ("mlx_lm.server --model=m --port=1", {"engine": "mlx-lm"}),
        ("max serve --model-path m --max-length 2048", {"engine": "modular-max", "context": 2048}),
        (
            "ramalama serve --port 8080 m",
            {
                "engine": "ramalama",
                "cmd": [
                    *("ramalama", "serve", "--host", "127.0.0.1", "--port", "{port}", "{model}"),
                ],
            },
        ),
        (
            "ramalama --nocontainer serve -p 8080 --threads 4 m",
            {"engine": "ramalama", "args": ["--threads", "4"]},
        ),
        (
            "koboldcpp --model m --contextsize 4096 --quiet --gpulayers 99",
            {"engine": "koboldcpp", "context": 4096, "args": ["--gpulayers", "99"]},
        ),
        (
            "transformers serve m --device cpu",
            {"engine": "transformers", "args": ["--device", "cpu"]},
        ),
        (
            "CUDA_VISIBLE_DEVICES=1 exec env A=b llama-server -m m -c 512 --embeddings",
            {
                "engine": "llama-server",
                "context": 512,
                "max_concurrency": 1,
                "capabilities": ["embeddings"],
                "env": {"CUDA_VISIBLE_DEVICES": "1", "A": "b"},
            },
        ),
        (
            "bash -c 'exec llama-server -m m -c 512 -a x'",
            {"engine": "llama-server", "context": 512, "max_concurrency": 1},
        ),
    ],
)
def test_a_start_command_becomes_the_section_that_amounts_to_it(
    command: str, section: dict[str, object]
) -> None:
    found = command_lines.understood(command_lines.words_of(command))
    assert found.section == {**section, "model": "m"}


def test_a_model_below_a_folder_of_models_is_found_there() -> None:
    words = [
        "local-ai",
        "run",
        "--models-path",
        "/m",
        "--address",
        ":8080",
        "--threads",
        "4",
        "llama",
    ]
    section = command_lines.understood(words).section
    assert section == {"engine": "localai", "model": "/m/llama", "args": ["--threads", "4"]}


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("", "no command"),
        ("docker run x", "`docker`"),
        ("llama-server -m <GGUF> -c 1", "to be filled in"),
        ("llama-server -m '<PATH TO GGUF>' -c 1", "<PATH TO GGUF>"),
        ("llama-server", "no model"),
        ("llama-server -hf ggml-org/gemma", "hub"),
        ("llama-server -m m --api-prefix /x", "--api-prefix"),
        ("vllm serve", "no model"),
        ("vllm serve m --headless", "several machines"),
        ("sh -c 'cd /x && llama-server -m m'", "for a shell"),
        ("sh -c x", "`x`"),
        ("koboldcpp --config x.kcpps m", "--config"),
        ("llama-server -m 'm", "words"),
    ],
)
def test_a_command_that_is_not_understood_is_left_to_a_person(command: str, why: str) -> None:
    with pytest.raises(carried.NotCarried, match=re.escape(why)):
        command_lines.understood(command_lines.words_of(command))


@pytest.mark.parametrize("script", ["llama-server -m m\nsleep 9", "llama-server \\\n# why\n-m m"])
def test_a_shell_with_several_lines_does_more_than_start_an_engine(script: str) -> None:
    with pytest.raises(carried.NotCarried, match="several lines"):
        command_lines.understood(["bash", "-c", script])


def test_a_shells_one_command_may_go_on_in_the_next_line() -> None:
    script = "# why\n\nexec llama-server \\\n  -m m \\\n  -c 512\n"
    assert command_lines.understood(["bash", "-c", script]).section["model"] == "m"


THEIRS = {
    "swap.yaml": """
macros: {args: "--temp '${file:/canary}'"}
models:
  "a${file:/canary}":
    cmd: llama-server -m /m/${env:canary} -c 512 ${args}
    aliases: ["b${file:/canary}"]
    env: ["X=${file:/canary}"]
    useModelName: "${file:/canary}"
peers:
  far: {proxy: "http://far/${file:/canary}", models: ["m${file:/canary}"]}
""",
    "router.yaml": """
engines:
  o: {type: ollama, base_url: "http://far/${file:/canary}"}
  g: {type: generic_process, start_cmd: [llama-server, -m, "/${file:/canary}", -c, "512"], env: {X: "${file:/canary}"}}
models:
  - {id: "a${file:/canary}", engine: o}
  - {id: b, engine: g}
aliases: {"c${file:/canary}": b}
""",
    "m.ini": "[a${file:/canary}]\nm = /m/${file:/canary}\nc = 512\na = b${file:/canary}\n",
}


@pytest.mark.parametrize("name", THEIRS)
async def test_no_text_of_another_programs_file_becomes_a_reference_of_ours(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text(THEIRS[name])
    ran = await stub.shell(tmp_path).here("import", name, "--json")
    assert (ran.code, ran.json["left_out"]) == (0, []), ran.out
    content = ran.json["content"]
    assert content.count("canary}") > 2
    assert not re.search(r"(?<!\$)\$\{(file|env):", content.partition("\n")[2])


def test_what_looks_like_a_reference_of_ours_stays_text() -> None:
    assert carried.literal("${file:/etc/passwd} ${x} $y") == "$${file:/etc/passwd} ${x} $y"
