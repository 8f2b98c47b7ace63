"""Builds lifecycles around the fake engine, the way the registry builds them around real ones."""

import contextlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx2

from runtimes import base, launch, registry
from runtimes.settings import EngineRecipe, RuntimeSettings
from tests.support.fake_engine import spawn, witness

RECIPE: dict[str, Any] = {
    "lifecycle": "process",
    "argv": ["fake-engine"],
    "model_is": "none",
    "ready": {"path": "/health", "body": {"status": "ok"}},
    "max_concurrency": 4,
    "health_every": 0.2,
    "health_timeout": 1,
    "health_strikes": 2,
}


def recipe(**changes: Any) -> EngineRecipe:
    """A recipe for the fake engine."""
    return EngineRecipe.model_validate({**RECIPE, **changes})


@dataclass
class Workshop:
    """One gateway's worth of runtimes in a folder of a test."""

    folder: Path
    reports: list[base.LoadProgress] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return self.folder / "witness"

    @property
    def places(self) -> launch.Places:
        return launch.Places(logs=self.folder / "logs", models=self.folder / "models")

    def fake(
        self,
        name: str = "one",
        *,
        section: dict[str, Any] | None = None,
        engine: EngineRecipe | None = None,
        **knobs: object,
    ) -> registry.Managed:
        """A runtime whose engine is the fake one, with these knobs."""
        knobs = {"model": name, "witness": self.log, "gpu": self.folder / "gpu", **knobs}
        settings = {
            "engine": "fake",
            "cmd": [*spawn.command(**knobs), "--port", "{port}"],
            "env": {"PYTHONPATH": str(spawn.ROOT)},
            "stop_timeout": 5.0,
            "load_timeout": 30.0,
            **(section or {}),
        }
        (self.folder / "logs").mkdir(exist_ok=True)
        built = registry.build(
            {name: RuntimeSettings.model_validate(settings)},
            {"fake": engine or recipe()},
            self.places,
        )
        return built.runtimes[name]

    def report(self, progress: base.LoadProgress) -> None:
        """For `start`."""
        self.reports.append(progress)

    @contextlib.asynccontextmanager
    async def started(self, name: str = "one", **knobs: Any) -> AsyncIterator["Up"]:
        """A runtime that is up, and stopped again when the block is left."""
        made = self.fake(name, **knobs)
        with anyio.fail_after(50):
            running = await made.lifecycle.start(self.report)
        try:
            yield Up(made.spec, made.lifecycle, running)
        finally:
            with anyio.CancelScope(shield=True):
                await made.lifecycle.stop()

    def events(self, name: str) -> list[witness.Event]:
        """What the fake engines wrote, of one kind."""
        return witness.named(self.log, name)

    async def until(self, event: str, count: int = 1) -> list[witness.Event]:
        """Wait until it was written so often."""
        await eventually(lambda: len(self.events(event)) >= count)
        return self.events(event)


@dataclass(frozen=True)
class Up:
    """A runtime that is ready."""

    spec: base.RuntimeSpec
    lifecycle: base.Lifecycle
    running: base.Running

    @property
    def record(self) -> base.ProcessRecord:
        found = self.running.process
        assert found is not None
        return found

    async def chat(self, prompt: str) -> httpx2.Response:
        body = {
            "messages": [{"role": "user", "content": prompt}],
            "model": self.spec.upstream_model,
        }
        async with httpx2.AsyncClient(base_url=self.running.base_url, timeout=20) as client:
            return await client.post(
                "/v1/chat/completions", json=body, headers=dict(self.running.headers)
            )


async def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until something outside of this process is so."""
    with anyio.fail_after(seconds):
        while not condition():
            await anyio.sleep(0.02)


def gone(pid: int) -> bool:
    """Whether there is no such process; a zombie that nobody collected is still there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
