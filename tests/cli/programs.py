"""Programs that are called like engines, take their options and no others, and answer as a stand-in does."""

import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.fake_engine import knobs, server

ROOT = Path(__file__).parents[2]
FIRST_LINES = f"""#!/bin/sh
'''exec' "{sys.executable}" "$0" "$@"
' '''
"""
"""What makes a file of Python a program: a shell first, as no `#!` takes a path with a space in it."""


@dataclass(frozen=True, slots=True)
class Program:
    """One engine's command line: what comes first, options with a value, options without."""

    begin: tuple[str, ...]
    values: str
    switches: str
    model: str = "-m"
    name: str | None = None
    """What it lists its model as; None: the model as it was given."""
    dialect: str = "openai"


LLAMA_SERVER = Program(
    (),
    "-m --model --host --port -a --alias -c --ctx-size -np --parallel -b --batch-size -ngl --n-gpu-layers "
    "--temp --mmproj --pooling -t --threads --flash-attn -fa --cache-type-k --chat-template-kwargs",
    "--metrics --slots --embeddings --jinja --no-mmap --mlock --no-webui --kv-unified",
    name="-a",
)
PROGRAMS = {
    "llama-server": LLAMA_SERVER,
    "vllm": Program(
        ("serve",),
        "--model --host --port --served-model-name --max-model-len --max-num-seqs --dtype "
        "--gpu-memory-utilization --tool-call-parser --api-key --hf-token --tokenizer",
        "--enforce-eager --enable-auto-tool-choice --enable-sleep-mode",
        model="--model",
        name="--served-model-name",
    ),
    "python3": Program(
        ("-m", "sglang.launch_server"),
        "--model-path --host --port --served-model-name --context-length --max-running-requests --tp",
        "--enable-metrics --trust-remote-code",
        model="--model-path",
        name="--served-model-name",
        dialect="sglang",
    ),
    "mlx_lm.server": Program((), "--model --host --port --max-tokens --temp", "", model="--model"),
    "koboldcpp": Program(
        (),
        "--model --host --port --contextsize --gpulayers --threads",
        "--skiplauncher --quiet --multiuser",
        model="--model",
        dialect="koboldcpp",
    ),
    "local-ai": Program(
        ("run",),
        "--address --models-path --max-active-backends --threads",
        "",
        model="--models-path",
        dialect="localai",
    ),
    "ramalama": Program(
        ("--nocontainer", "serve"), "--host --port --ctx-size --threads --temp", "", model="--model"
    ),
    "max": Program(
        ("serve",),
        "--model --host --port --max-length --max-batch-size --devices",
        "",
        model="--model",
    ),
    "transformers": Program(("serve",), "--host --port --device", "", model="--model"),
}
"""As their documentation has it; a word that is not here ends the program with status 2, as theirs would."""


def installed(folder: Path, *names: str) -> Path:
    """The folder with these programs in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        file = folder / name
        file.write_text(
            f"{FIRST_LINES}import sys\nsys.path.insert(0, {str(ROOT)!r})\n"
            "from tests.cli import programs\nprograms.main(sys.argv)\n"
        )
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return folder


def main(argv: Sequence[str]) -> None:
    """Serve as the program that this is called."""
    name = Path(argv[0]).name
    program = PROGRAMS.get(name, LLAMA_SERVER if name.startswith("llama-server") else None)
    assert program is not None, name
    rest = list(argv[1:])
    if tuple(rest[: len(program.begin)]) != program.begin:
        sys.exit(f"usage: {name} {' '.join(program.begin)} …")
    given, loose = _options(rest[len(program.begin) :], program)
    model = loose or given.get(program.model) or given.get("--model") or ""
    if name == "local-ai":
        model = "some.gguf"
    if name == "koboldcpp":
        model = f"koboldcpp/{Path(model).stem}"
    listed = given.get(program.name or "") or given.get("--alias") or model
    home = Path(argv[0]).parent
    chosen: dict[str, Any] = {  # Any: each knob has its own type
        "port": int((given.get("--port") or given["--address"]).rpartition(":")[2]),
        "model": listed.partition(",")[0],
        "dialect": program.dialect,
        "slots": int(given.get("-np") or given.get("--parallel") or 4),
        "context": int(given.get("-c") or given.get("--ctx-size") or 8192),
        "api_key": os.environ.get("LLAMA_API_KEY") or os.environ.get("VLLM_API_KEY"),
        "witness": home / "witness.jsonl",
        "term_waits": (home / "slow-to-end").exists(),
        "ignore_term": (home / "deaf-to-term").exists(),
    }
    server.main(knobs.Knobs(**chosen))


def _options(words: list[str], program: Program) -> tuple[dict[str, str], str | None]:
    values, switches = program.values.split(), program.switches.split()
    given: dict[str, str] = {}
    loose = None
    while words:
        word, equals, value = words.pop(0).partition("=")
        if word in values:
            given[word] = value if equals else words.pop(0)
        elif word not in switches:
            if word.startswith("-") or loose is not None:
                sys.stderr.write(f"error: invalid argument: {word}\n")
                sys.exit(2)
            loose = word
    return given, loose
