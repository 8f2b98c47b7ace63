"""A gateway with canned answers behind the real guard, and the command line run as a child against it."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from local_model_gateway import cli, config, serve

LIMIT_S = 40.0

RUNTIME: dict[str, Any] = {
    "name": "tiny",
    "engine": "embedded",
    "aliases": ["tiny", "small"],
    "state": "ready",
    "slots": 2,
    "running": 1,
    "queued": 3,
    "context_tokens": 2048,
    "footprint_bytes": 3 * 1024**3,
    "pinned": False,
    "notice": None,
    "draining_for": None,
    "load_phase": None,
    "load_fraction": None,
    "usual_load_s": 12.0,
    "usual_tokens_per_s": 30.0,
    "failures": 0,
    "retry_in_s": None,
    "last_error": None,
    "capabilities": ["chat"],
}
WORK: dict[str, Any] = {
    "id": "work_a",
    "alias": "tiny",
    "runtime": "tiny",
    "state": "queued",
    "surface": "openai",
    "durability": "connection",
    "priority": 50,
    "waited_s": 4.0,
    "running_s": None,
    "position": 1,
    "eta_s": [9.0, 110.0],
    "waits_for": "swap",
    "behind": "big",
}
STATUS: dict[str, Any] = {
    "schema": "lmg.status/1",
    "ready": True,
    "stopping": False,
    "paused": False,
    "version": 1,
    "pool_bytes": 8 * 1024**3,
    "held_bytes": 3 * 1024**3,
    "running": [{**WORK, "id": "work_r", "state": "running", "running_s": 33.0}],
    "queue": [WORK],
    "runtimes": [
        RUNTIME,
        {**RUNTIME, "name": "big", "aliases": ["big"], "state": "stopped", "running": 0}
        | {"footprint_bytes": 90 * 1024**3, "failures": 2, "retry_in_s": 30.0}
        | {"last_error": {"class": "oom", "exit_code": 1, "log_tail": []}},
    ],
    "finished_today": {"succeeded": 12, "failed": 1},
    "finished_ever": {"succeeded": 12, "failed": 1},
    "storage_problem": None,
    "at": 1.0,
    "gateway": {"version": "0.1.0", "pid": 1, "url": "", "started_at": 1.0, "uptime_s": 190.0},
}


@dataclass(slots=True)
class Stub:
    """What the commands asked for."""

    url: str = ""
    status: dict[str, Any] = field(default_factory=lambda: dict(STATUS))
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    refuse: tuple[int, str, str] | None = None
    events: tuple[bytes, ...] = ()

    async def answer(self, request: Request) -> Response:
        body = await request.body()
        path = request.url.path
        self.asked.append((request.method, path, json.loads(body) if body else None))
        if self.refuse is not None:
            status, code, message = self.refuse
            return JSONResponse({"error": {"message": message, "code": code}}, status)
        if path == "/v1/chat/completions":
            return StreamingResponse(
                _each(self.events),
                media_type="text/event-stream",
                headers={"x-lmg-queue-ms": "1500", "x-lmg-load-ms": "2500"},
            )
        return JSONResponse(self._canned(path))

    def _canned(self, path: str) -> Any:
        canned = {
            "/status": self.status,
            "/v1/models": {"data": [{"id": "tiny", "engine": "embedded", "state": "ready"}]},
            "/v1/jobs": {"data": []},
        }
        last = {
            "unload": {"runtime": path.split("/")[-2], "waits_for_leases": 2},
            "load": {"runtime": "tiny", "state": "ready"},
            "log": {"runtime": "tiny", "lines": ["one", "two"]},
            "cancel": {"id": "work_a", "outcome": "cancelled"},
            "priority": {"id": "work_a", "priority": 80},
        }
        other = {"paused": path.endswith("/pause"), "status": "ok"}
        return canned.get(path) or last.get(path.rpartition("/")[2], other)


async def _each(events: tuple[bytes, ...]) -> AsyncGenerator[bytes]:
    for event in events:
        yield event


@contextlib.asynccontextmanager
async def served(**canned: Any) -> AsyncGenerator[Stub]:
    """The stub on a free port."""
    stub = Stub(**canned)
    settings = config.Server(port=0)
    listening = serve.bind(settings)
    port = serve.port_of(listening)
    stub.url = f"http://127.0.0.1:{port}"
    methods = ["GET", "POST", "DELETE"]
    app = Starlette(routes=[Route("/{rest:path}", stub.answer, methods=methods)])
    guarded = serve.guarded(app, settings, port)
    stop = anyio.Event()

    async def run(*, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        await serve.serve(
            guarded, listening, settings, stop=stop, grace_s=1, task_status=task_status
        )

    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(LIMIT_S):
            await tasks.start(run)
        try:
            yield stub
        finally:
            stop.set()


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Shell:
    """A home of its own, in which commands run as children."""

    home: Path
    env: Mapping[str, str]
    enter: Sequence[str] = ()
    """What goes before each command, such as the way into a network of its own."""

    def argv(self, *words: str) -> list[str]:
        """The whole command line."""
        return [*self.enter, sys.executable, "-m", "local_model_gateway", *words]

    async def lmg(self, *words: str, stdin: bytes = b"", **env: str) -> Ran:
        """One command, without a terminal."""
        with anyio.fail_after(LIMIT_S):
            done = await anyio.run_process(
                self.argv(*words),
                input=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                check=False,
                cwd=self.home,
                env={**self.env, **env},
            )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    async def here(self, *words: str, **env: str) -> Ran:
        """The same in this process: a tenth of the time, for verbs that neither start nor become others."""
        return await to_thread.run_sync(self._here, words, env)

    def _here(self, words: Sequence[str], env: Mapping[str, str]) -> Ran:
        out, err = io.StringIO(), io.StringIO()
        before, folder = dict(os.environ), Path.cwd()
        os.environ.clear()
        os.environ.update({**self.env, **env})
        os.chdir(self.home)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = cli.run(words)
        finally:
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(before)
        return Ran(code, out.getvalue(), err.getvalue())


def shell(home: Path) -> Shell:
    """A shell in which nothing of the real user is seen."""
    root = Path(__file__).parent.parent.parent
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": str(root),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_CACHE_HOME": str(home / "cache"),
    }
    return Shell(home, env)


@contextlib.asynccontextmanager
async def child(
    shell: Shell, *words: str, **env: str
) -> AsyncGenerator[tuple[anyio.abc.Process, AsyncGenerator[str]]]:
    """A command that goes on, and its lines; killed at the end if it still runs."""
    process = await anyio.open_process(
        shell.argv(*words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=shell.home,
        env={**shell.env, **env},
    )
    try:
        yield process, _lines(process)
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.aclose()


async def _lines(process: anyio.abc.Process) -> AsyncGenerator[str]:
    assert process.stdout is not None
    rest = b""
    async for piece in process.stdout:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line.decode()
