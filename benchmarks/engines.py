"""How long engines take to start, to answer and to be gone, and what memory does meanwhile.

`python -m benchmarks.engines [--rounds N] [--mib 0,52,200]` on the hand-made models. MLX and transformers are
timed where `make test-engines` has installed them. Figures depend on the machine; compare within one run.
"""

import argparse
import functools
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2

from recipes import loader
from recipes.front_matter import Kind
from runtimes import base, embedded, launch, memory, registry
from runtimes.settings import EngineRecipe, RuntimeSettings
from tests.real_engines import install

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Figures:
    """One start and stop."""

    start_s: float
    first_answer_s: float
    stop_s: float
    settle_s: float
    used_bytes: int


async def measure(managed: registry.Managed, machine: memory.Machine) -> Figures:
    """Start, ask once, stop, wait for the memory."""
    free = await machine.free()
    began = time.perf_counter()
    running = await managed.lifecycle.start(lambda _: None)
    started = time.perf_counter()
    await ask(managed, running)
    answered = time.perf_counter()
    used = managed.lifecycle.memory_used() or 0
    await managed.lifecycle.stop()
    stopped = time.perf_counter()
    await machine.settle(used, free, 30)
    settled = time.perf_counter()
    return Figures(started - began, answered - started, stopped - answered, settled - stopped, used)


async def ask(managed: registry.Managed, running: base.Running) -> None:
    """The hand-made model's one sentence."""
    body = {
        "model": managed.spec.upstream_model,
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 0,
        "max_tokens": 60,
    }
    async with httpx2.AsyncClient(headers=dict(running.headers), timeout=300) as client:
        answer = await client.post(running.base_url + managed.spec.quirks.chat_path, json=body)
    answer.raise_for_status()


async def runtimes(folder: Path, sizes: list[int]) -> dict[str, dict[str, Any]]:
    """What can be run here."""
    found: dict[str, dict[str, Any]] = {}
    for size in sizes:
        model = folder / f"model-{size}.gguf"
        await embedded.make_tiny(model, *(["--mib", str(size)] if size else []))
        for how, args in (("mapped", []), ("read", ["--no-mmap"])):
            name = f"llama.cpp {size or 'tiny'} {how}"
            found[name] = {
                "engine": "embedded",
                "model": str(model),
                "args": ["--threads", "1", *args],
            }
    hf = folder / "tiny-hf"
    await embedded.make_tiny(hf, "--hf")
    for engine, program in (("mlx-lm", "mlx_lm.server"), ("transformers", "transformers")):
        if install.installed(engine):
            executable = str(install.program(engine, program))
            found[engine] = {"engine": engine, "model": str(hf), "executable": executable}
    return found


async def run(rounds: int, sizes: list[int]) -> None:
    """Print one line a runtime: medians over the rounds."""
    machine = memory.Machine.of_this_machine()
    recipes = {
        name: EngineRecipe.model_validate(recipe.front.engine)
        for name, recipe in loader.every(Kind.ENGINE).items()
    }
    print("| runtime | start | first answer | stop | settle | memory |")
    print("|---|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        sections = await runtimes(Path(folder), sizes)
        places = launch.Places(Path(folder) / "logs", Path(folder) / "models")
        parsed = {name: RuntimeSettings.model_validate(one) for name, one in sections.items()}
        built = registry.build(parsed, recipes, places, measure=machine.measure)
        for name, managed in built.runtimes.items():
            seen = [await measure(managed, machine) for _ in range(rounds)]
            print(line(name, seen), flush=True)


def line(name: str, seen: list[Figures]) -> str:
    """Medians."""
    cells = [
        f"{statistics.median(getattr(one, column) for one in seen):.2f} s"
        for column in ("start_s", "first_answer_s", "stop_s", "settle_s")
    ]
    used = statistics.median(one.used_bytes for one in seen) / MIB
    return f"| {name} | {' | '.join(cells)} | {used:.0f} MiB |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--mib", default="0,52,200", help="sizes of the llama.cpp models; 0 is the tiny one"
    )
    asked = parser.parse_args()
    sizes = [int(size) for size in asked.mib.split(",")]
    anyio.run(functools.partial(run, asked.rounds, sizes))
