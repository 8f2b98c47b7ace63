"""Several real engines behind one coordinator, with a record of who was resident when."""

import contextlib
import functools
import json
import os
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from anyio import to_thread

from coordinator import loop, settings, store, work
from recipes import loader
from recipes.front_matter import Kind
from runtimes import base, embedded, launch, memory, registry, upstream
from runtimes.settings import EngineRecipe, RuntimeSettings
from tests.real_engines import install

SENTENCE = (
    "Nothing I say here means anything: my few weights were written by hand, never trained. Still, each word "
    "was decoded in a real engine on this machine. Add your own model to get sense."
)
RECIPES = {
    name: EngineRecipe.model_validate(recipe.front.engine)
    for name, recipe in loader.every(Kind.ENGINE).items()
}


def counted(tokens: int) -> str:
    """What the hand-made model says when it is asked to count."""
    return "".join(f" {1 + number % 100}" for number in range(tokens))


def wanted(engine: str) -> None:
    """Skip a test whose engine is not installed; in CI nothing may be skipped."""
    if install.installed(engine):
        return
    why = f"{engine} is not installed; `make test-engines` installs and runs it"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def engines_left(folder: Path) -> list[str]:
    """Processes that were started from this folder and still run."""
    left = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and str(folder) in process.cwd():
                left.append(" ".join(process.cmdline()))
    return left


@dataclass
class Recorded:
    """A lifecycle that notes when its engine could hold memory."""

    inner: base.Lifecycle
    name: str
    spans: list[tuple[str, float, float]]
    loads_s: list[float] = field(default_factory=list)
    began: float = 0.0

    async def look(self, known: base.ProcessRecord | None) -> base.Running | None:
        return await self.inner.look(known)

    async def start(self, report: Callable[[base.LoadProgress], None]) -> base.Running:
        self.began = time.monotonic()
        running = await self.inner.start(report)
        self.loads_s.append(time.monotonic() - self.began)
        return running

    async def stop(self) -> None:
        await self.inner.stop()
        self.spans.append((self.name, self.began, time.monotonic()))

    async def died(self) -> base.Exit:
        return await self.inner.died()

    def log_tail(self, lines: int = 20) -> tuple[str, ...]:
        return self.inner.log_tail(lines)

    def record(self) -> base.ProcessRecord | None:
        return self.inner.record()

    def memory_used(self) -> int | None:
        return self.inner.memory_used()


@dataclass
class Fleet:
    """A coordinator over real engines."""

    coordinator: loop.Coordinator
    engines: upstream.Upstream
    members: registry.Registry
    recorded: dict[str, Recorded]
    spans: list[tuple[str, float, float]]

    async def ask(
        self, runtime: str, prompt: str, *, path: str = "/v1/chat/completions", **more: Any
    ) -> str:
        """One whole answer, through a lease."""
        spec = self.members.resolve(runtime)
        body = {
            "model": runtime,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            **more,
        }
        request = work.WorkRequest(runtime, runtime, path, owner="test", surface="test")
        async with self.coordinator.lease(request) as lease:
            assert await lease.granted(200)
            done = await self.engines.complete(lease.running, spec, path, json.dumps(body).encode())
            lease.finish()
        assert done.status == 200, done.body
        content: str = json.loads(done.body)["choices"][0]["message"]["content"]
        return content

    def overlaps(self) -> list[str]:
        """Pairs of engines that could hold memory at the same time."""
        ordered = sorted(self.spans, key=lambda span: span[1])
        return [
            f"{one[0]} and {two[0]}"
            for number, one in enumerate(ordered)
            for two in ordered[number + 1 :]
            if two[1] < one[2]
        ]


@contextlib.asynccontextmanager
async def opened(
    folder: Path,
    sections: dict[str, dict[str, Any]],
    *,
    pool_bytes: int | None,
    knobs: settings.Knobs | None = None,
) -> AsyncGenerator[Fleet]:
    """Open everything; every engine is gone when the block is left."""
    machine = await to_thread.run_sync(memory.Machine.of_this_machine)
    places = launch.Places(logs=folder / "logs", models=folder / "models")
    parsed = {name: RuntimeSettings.model_validate(section) for name, section in sections.items()}
    built = await to_thread.run_sync(
        functools.partial(registry.build, parsed, RECIPES, places, measure=machine.measure)
    )
    spans: list[tuple[str, float, float]] = []
    recorded = {
        name: Recorded(managed.lifecycle, name, spans) for name, managed in built.runtimes.items()
    }
    members = registry.Registry(
        {name: registry.Managed(built.runtimes[name].spec, one) for name, one in recorded.items()},
        built.by_alias,
    )
    limits = settings.CoordinatorSettings(
        knobs=knobs or settings.Knobs(), pool_bytes=pool_bytes, settle_cap_s=20
    )
    async with (
        store.Store.open(folder / "state", limits) as kept,
        upstream.Upstream() as engines,
        loop.Coordinator.open(members, kept, engines, machine, limits) as coordinator,
    ):
        yield Fleet(coordinator, engines, members, recorded, spans)


@dataclass(frozen=True)
class Models:
    """The hand-made models of this test session."""

    folder: Path

    async def gguf(self, mib: int | None = None) -> Path:
        """The tiny one, or one with filler."""
        path = self.folder / (f"filler-{mib}.gguf" if mib else "tiny.gguf")
        await embedded.make_tiny(path, *(["--mib", str(mib)] if mib else []))
        return path

    async def hf(self) -> Path:
        """The tiny one as a folder."""
        path = self.folder / "tiny-hf"
        await embedded.make_tiny(path, "--hf")
        return path
