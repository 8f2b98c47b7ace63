"""One engine for each kind of lifecycle, ready to be started, killed and asked what it holds."""

import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2

from recipes import loader
from recipes.front_matter import Kind
from runtimes import base, embedded, launch, registry
from runtimes.settings import EngineRecipe, RuntimeSettings
from tests.runtimes import engines
from tests.support.fake_engine import spawn, witness

MODEL = "fake-model"
SHIPPED = loader.every(Kind.ENGINE)  # read here, not on an event loop
QUICK = {"health_every": 0.2, "health_timeout": 1.0, "health_strikes": 2}


@dataclass
class Case:
    """One kind of lifecycle over a real process."""

    folder: Path
    recipe: EngineRecipe
    section: dict[str, Any]
    kill: Callable[[base.Running], None]
    """Make the engine, or its model, go away by itself."""
    log: Path | None = None
    broken: dict[str, Any] | None = None
    """Changes to the section that make a start fail; None where a start cannot fail like this."""
    adopts: bool = True

    def make(self, **changes: Any) -> registry.Managed:
        """A lifecycle as a fresh gateway would build it."""
        settings = RuntimeSettings.model_validate({**self.section, **changes})
        places = launch.Places(self.folder / "logs", self.folder / "models")
        return registry.build({"one": settings}, {settings.engine: self.recipe}, places).runtimes[
            "one"
        ]

    def loads(self) -> int:
        """How often a model was loaded."""
        return len(witness.named(self.log, "loading")) if self.log else 0


def shipped(name: str, **changes: Any) -> EngineRecipe:
    """A shipped recipe, with the patience of a test."""
    front = SHIPPED[name].front.engine
    return EngineRecipe.model_validate({**front, **QUICK, **changes})


async def ask(made: registry.Managed, running: base.Running) -> str:
    """A short chat through a ready engine."""
    body = {
        "model": made.spec.upstream_model,
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 4,
        "temperature": 0,
    }
    async with httpx2.AsyncClient(
        base_url=running.base_url, headers=dict(running.headers), timeout=20
    ) as http:
        answer = await http.post(made.spec.quirks.chat_path, json=body)
    answer.raise_for_status()
    said: str = answer.json()["choices"][0]["message"]["content"]
    return said


def _kill_process(running: base.Running) -> None:
    assert running.process is not None
    os.kill(running.process.pid, signal.SIGKILL)


@contextlib.asynccontextmanager
async def process(folder: Path) -> AsyncGenerator[Case]:
    """The fake engine, spawned."""
    log = folder / "witness"
    knobs: dict[str, object] = {"model": "one", "witness": log, "load_s": 0.3}
    section = {
        "engine": "fake",
        "cmd": [*spawn.command(**knobs), "--port", "{port}"],
        "env": {"PYTHONPATH": str(spawn.ROOT)},
        "stop_timeout": 5.0,
    }
    broken = {"cmd": [*spawn.command(**knobs, crash="load"), "--port", "{port}"]}
    yield Case(folder, engines.recipe(), section, _kill_process, log, broken)


@contextlib.asynccontextmanager
async def embedded_(folder: Path) -> AsyncGenerator[Case]:
    """Real llama.cpp."""
    with anyio.fail_after(30):
        await embedded.make_tiny(folder / "models" / f"tiny-{embedded.TINY_VERSION}.gguf")
    section = {"engine": "embedded"}
    yield Case(
        folder, shipped("embedded"), section, _kill_process, None, {"args": ["--no-such-flag"]}
    )


@contextlib.asynccontextmanager
async def oneshot(folder: Path) -> AsyncGenerator[Case]:
    """A program that answers one prompt."""
    program = [sys.executable, "-c", "import sys; print('you said', sys.argv[1])", "{prompt}"]
    front = ["{python}", "-P", "{oneshot}", "--port", "{port}", "--alias", "{alias}", "--"]
    section = {"engine": "llama-cli", "cmd": [*front, *program]}
    recipe = shipped("llama-cli")
    yield Case(folder, recipe, section, _kill_process, None, {"cmd": front})


@contextlib.asynccontextmanager
async def service(folder: Path) -> AsyncGenerator[Case]:
    """Scripts of the user's that start and stop the fake engine."""
    log, pidfile = folder / "witness", folder / "pid"
    port = await anyio.to_thread.run_sync(_free_port)
    argv = spawn.command(model="one", witness=log, load_s=0.3, port=port)
    script = folder / "service"
    script.write_text(_SERVICE.format(argv=argv, pidfile=str(pidfile), root=str(spawn.ROOT)))
    base_argv = [sys.executable, str(script)]
    section = {
        "engine": "mine",
        "url": f"http://127.0.0.1:{port}",
        "start_cmd": [*base_argv, "start"],
        "stop_cmd": [*base_argv, "stop"],
        "status_cmd": [*base_argv, "status"],
        "stop_timeout": 10.0,
    }
    recipe = EngineRecipe.model_validate(
        {"lifecycle": "service", "model_is": "none", "ready": {"body": {"status": "ok"}}, **QUICK}
    )
    broken = {"start_cmd": [*base_argv, "fail"]}

    def kill(_: base.Running) -> None:
        os.kill(int(pidfile.read_text()), signal.SIGKILL)

    try:
        yield Case(folder, recipe, section, kill, log, broken)
    finally:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int(pidfile.read_text()), signal.SIGKILL)


_SERVICE = """
import os, signal, subprocess, sys
what, argv, pidfile = sys.argv[1], {argv!r}, {pidfile!r}
pid = int(open(pidfile).read()) if os.path.exists(pidfile) else 0
def alive():
    try:
        state = open(f"/proc/{{pid}}/stat").read().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"
if what == "start":
    child = subprocess.Popen(argv, cwd={root!r}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, start_new_session=True)
    open(pidfile, "w").write(str(child.pid))
    print("started", child.pid)
elif what == "stop" and pid and alive():
    os.kill(pid, signal.SIGTERM)
elif what == "status":
    sys.exit(0 if pid and alive() else 3)
elif what == "fail":
    print("unit not found")
    sys.exit(5)
"""


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def swapped(
    dialect: str, recipe: str, *, adopts: bool = True, checks_name: bool = True
) -> Callable[[Path], Any]:
    """A server that stays up while its model comes and goes, in one engine's own shapes."""

    @contextlib.asynccontextmanager
    async def case(folder: Path) -> AsyncGenerator[Case]:
        log = folder / "witness"
        async with spawn.running(
            model=MODEL, witness=log, dialect=dialect, asleep=True, load_s=0.3, memory_mib=8
        ) as engine:
            section = {
                "engine": recipe,
                "model": MODEL,
                "url": engine.base_url,
                "stop_timeout": 5.0,
            }
            made = Case(
                folder, shipped(recipe), section, lambda _: os.kill(engine.pid, signal.SIGKILL), log
            )
            made.adopts = adopts
            if not checks_name:
                # Its server has one model, whatever it is called: what can fail is the server.
                made.broken = {"url": "http://127.0.0.1:9"}
            else:
                made.broken = {"model": "no-such-model", "load_timeout": 1.0}
            yield made

    return case


def double(dialect: str, recipe: str, model: str) -> Callable[[Path], Any]:
    """A process with the health and list routes of one engine, under that engine's shipped recipe."""

    @contextlib.asynccontextmanager
    async def case(folder: Path) -> AsyncGenerator[Case]:
        log = folder / "witness"
        knobs: dict[str, object] = {
            "model": model,
            "witness": log,
            "dialect": dialect,
            "load_s": 0.3,
        }
        section = {
            "engine": recipe,
            "model": f"{MODEL}.gguf",
            "upstream_model": model,
            "cmd": [*spawn.command(**knobs), "--port", "{port}"],
            "env": {"PYTHONPATH": str(spawn.ROOT)},
            "stop_timeout": 5.0,
        }
        broken = {"cmd": [*spawn.command(**knobs, crash="load"), "--port", "{port}"]}
        yield Case(folder, shipped(recipe), section, _kill_process, log, broken)

    return case


@contextlib.asynccontextmanager
async def remote(folder: Path) -> AsyncGenerator[Case]:
    """A server that is simply there."""
    log = folder / "witness"
    async with spawn.running(model=MODEL, witness=log, late_bind=True) as engine:
        section = {
            "engine": "openai",
            "model": MODEL,
            "url": engine.base_url,
            "allow_unmanaged": True,
        }
        case = Case(folder, shipped("openai"), section, lambda _: None, log, adopts=False)
        case.broken = {"allow_unmanaged": False}
        yield case


CASES: dict[str, Callable[[Path], Any]] = {
    "process": process,
    "embedded": embedded_,
    "oneshot": oneshot,
    "service": service,
    "ollama": swapped("ollama", "ollama"),
    "tabbyapi": swapped("tabbyapi", "tabbyapi"),
    "lmstudio": swapped("lmstudio", "lmstudio"),
    "llama-router": swapped("llama-router", "llama-server-router"),
    "vllm-sleep": swapped("vllm", "vllm-sleep", checks_name=False),
    "sglang-memory": swapped("sglang", "sglang-memory-saver", adopts=False, checks_name=False),
    "koboldcpp-admin": swapped("koboldcpp", "koboldcpp-admin"),
    "localai-server": swapped("localai", "localai-server", checks_name=False),
    "sglang": double("sglang", "sglang", MODEL),
    "koboldcpp": double("koboldcpp", "koboldcpp", f"koboldcpp/{MODEL}"),
    "localai": double("localai", "localai", f"{MODEL}.gguf"),
    "remote": remote,
}
