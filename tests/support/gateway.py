"""The real gateway as a child process: started, asked over HTTP, killed."""

import contextlib
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import httpx2
import psutil
import yaml

from tests.support.fake_engine import knobs

ROOT = Path(__file__).parents[2]
START_WITHIN_S = 60.0


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fake(name: str, folder: Path, *, memory: str = "6GiB", **chosen: Any) -> dict[str, Any]:
    """The configuration of a runtime that is a fake engine, with a witness and one GPU for all."""
    chosen = {"witness": folder / "witness.jsonl", "gpu": folder / "gpu", **chosen}
    slots = int(chosen.get("slots", 1))
    argv = [*knobs.argv(**{**chosen, "model": name, "slots": slots}), "--port", "{port}"]
    return {
        "engine": "llama-server",
        "model": name,
        "cmd": [sys.executable, "-m", "tests.support.fake_engine", *map(str, argv)],
        "env": {"PYTHONPATH": str(ROOT)},
        "memory": memory,
        "max_concurrency": slots,
        "upstream_model": name,
        "stop_timeout": "5s",
    }


@dataclass
class Gateway:
    """One state directory, and the process that owns it now."""

    folder: Path
    config: dict[str, Any]
    port: int = field(default_factory=free_port)
    process: anyio.abc.Process | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    starts: int = 0

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def witness(self) -> Path:
        """The log of all fake engines."""
        return self.folder / "witness.jsonl"

    @property
    def log(self) -> str:
        """What the process has said so far, all starts together."""
        path = self.folder / "gateway.log"
        return path.read_text() if path.exists() else ""

    async def start(self, **env: str) -> None:
        """Start and wait until it is ready (or, with a failpoint, dead)."""
        await self.spawn(**env)
        await self.ready()

    async def spawn(self, **env: str) -> None:
        """Start only."""
        self.starts += 1
        path = self.write(self.config)
        with (self.folder / "gateway.log").open("ab") as log:
            self.process = await anyio.open_process(
                [sys.executable, "-m", "local_model_gateway", "start", "--config", str(path)],
                stdin=-3,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "HOME": str(self.folder), **self.env, **env},
                start_new_session=True,
            )

    def write(self, config: dict[str, Any]) -> Path:
        """Put a configuration where the gateway reads it, as editors do: whole, by renaming."""
        whole = {
            "version": 1,
            "server": {"port": self.port},
            "state_dir": str(self.folder / "state"),
            "pool": {"memory": "8GiB"},
            **config,
        }
        path, fresh = self.folder / "config.yaml", self.folder / "config.new"
        fresh.write_text(yaml.safe_dump(whole))
        fresh.chmod(0o600)
        return fresh.replace(path)

    async def ready(self) -> None:
        """Wait until it has looked at everything that an earlier one left."""
        with anyio.fail_after(START_WITHIN_S):
            async with httpx2.AsyncClient(trust_env=False) as client:
                while True:
                    with contextlib.suppress(httpx2.TransportError):
                        if (await client.get(f"{self.url}/ready")).status_code == 200:
                            return
                    if self.process is None or self.process.returncode is not None:
                        raise AssertionError(f"the gateway ended:\n{self.log}")
                    await anyio.sleep(0.02)

    async def kill(self) -> None:
        """As a power cut would."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def died(self) -> int:
        """Wait until it ended by itself."""
        assert self.process is not None
        with anyio.fail_after(START_WITHIN_S):
            return await self.process.wait()

    async def stop(self) -> int:
        """SIGTERM, and its exit code."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.terminate()
        with anyio.fail_after(START_WITHIN_S):
            return await self.process.wait()

    def client(self, timeout_s: float = 60.0) -> httpx2.AsyncClient:
        """An HTTP client for it."""
        return httpx2.AsyncClient(base_url=self.url, timeout=timeout_s, trust_env=False)

    def left_behind(self) -> list[psutil.Process]:
        """Engines of this state directory that are still alive."""
        mine = str(self.folder)
        found = []
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            ours = "tests.support.fake_engine" in words and any(mine in word for word in words)
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found


@asynccontextmanager
async def gateway(
    config: dict[str, Any], folder: Path | None = None, **env: str
) -> AsyncGenerator[Gateway]:
    """A gateway that is stopped at the end, and whose engines are gone then."""
    own = folder or Path(tempfile.mkdtemp(prefix="lmg-"))
    here = Gateway(own, config, env=env)
    try:
        yield here
    finally:
        with anyio.CancelScope(shield=True):
            if here.process is not None and here.process.returncode is None:
                here.process.terminate()
                with anyio.move_on_after(30) as late:
                    await here.process.wait()
                if late.cancelled_caught:
                    here.process.kill()
                    await here.process.wait()
            for process in here.left_behind():
                process.kill()
