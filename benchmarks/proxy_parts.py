"""Where the gateway's CPU goes: the same small request through ever more of its parts.

python -m benchmarks.proxy_parts [SECONDS]
"""

import socket
import sys
import tempfile
from pathlib import Path

import anyio
import psutil
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks import proxy
from local_model_gateway import config, serve
from openai_shim import answers
from runtimes import base, upstream

PARTS = {
    "server": "uvicorn on h11, Starlette's router, a fixed answer",
    "guard": "and the guard around it",
    "watch": "and a task that watches the client",
    "relay": "and the engine asked, its stream folded",
    "whole": "and the queue, its rows, the telemetry: the gateway",
}
SPEC = base.RuntimeSpec("stub", "stub", ("stub",), "stub")
ANSWER = b'{"x":"' + b"y" * 230 + b'"}'


class Part:
    """An endpoint that does so much and no more."""

    def __init__(self, name: str, engine_port: int) -> None:
        self._name = name
        self._running = base.Running(f"http://127.0.0.1:{engine_port}", None)
        self._engines = upstream.Upstream()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        body = await answers.body_of(receive)
        if self._name in {"server", "guard"}:
            await answers.json(send, 200, ANSWER)
            return
        async with anyio.create_task_group() as group:
            group.start_soon(answers.left, receive)
            answer = ANSWER
            if self._name == "relay":
                path = "/v1/chat/completions"
                answer = (await self._engines.complete(self._running, SPEC, path, body)).body
            await answers.json(send, 200, answer)
            group.cancel_scope.cancel()


async def run(name: str, engine_port: int) -> None:
    """Serve one part until killed."""
    server = config.Server(port=0)
    listening = serve.bind(server)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    route = Route("/v1/chat/completions", Part(name, engine_port), methods=["POST"])
    app: ASGIApp = Starlette(routes=[route])
    port = serve.port_of(listening)
    if name != "server":
        app = serve.guarded(app, server, port)
    async with anyio.create_task_group() as group:
        await group.start(
            lambda task_status: serve.serve(
                app, listening, server, stop=anyio.Event(), task_status=task_status
            )
        )
        print(f"listening on 127.0.0.1:{port}", flush=True)


def main(seconds: float) -> None:
    """Measure each part at three concurrencies."""
    print(f"{'CPU ms a request':10}{'c=1':>8}{'c=8':>8}{'c=32':>8}")
    with (
        tempfile.TemporaryDirectory() as folder,
        proxy.child("benchmarks.stub_engine", "0") as (_, engine),
    ):
        for name, what in PARTS.items():
            argv = ["benchmarks.proxy_parts", "serve", name, str(engine)]
            if name == "whole":
                argv = ["benchmarks.proxy_gateway", str(engine), str(Path(folder) / "state")]
            with proxy.child(*argv) as (process, port):
                system = proxy.System(name, port, psutil.Process(process.pid))
                proxy.load(system, "whole", 4, 0.5)
                shown = ""
                for concurrency in (1, 8, 32):
                    run_ = proxy.load(system, "whole", concurrency, seconds)
                    shown += f"{1000 * run_['cpu_s'] / max(1, run_['requests']):8.3f}"
                print(f"{name:16}{shown}   {what}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        anyio.run(run, sys.argv[2], int(sys.argv[3]))
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 4.0)
