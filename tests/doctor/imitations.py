"""What each engine says of itself, as small servers: status, headers and body by path.

As a program, `python -m tests.doctor.imitations vllm=8000 sglang=30000` serves them on those ports.
"""

import contextlib
import http.server
import json
import signal
import sys
import threading
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Imitation:
    """An engine's answers; anything else is 404."""

    engine: str
    answers: Mapping[str, Any]
    server: str = "uvicorn"
    models: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


def _listed(owner: str, *names: str) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": name, "owned_by": owner} for name in names]}


IMITATIONS = (
    Imitation(
        "ollama",
        {
            "/": "Ollama is running",
            "/api/version": {"version": "0.32.1"},
            "/api/tags": {"models": [{"name": "qwen3:32b"}, {"name": "gemma4:12b"}]},
            "/v1/models": _listed("library", "qwen3:32b"),
        },
        models=("gemma4:12b", "qwen3:32b"),
    ),
    Imitation(
        "llama-server",
        {"/": "<html>", "/v1/models": _listed("llamacpp", "a.gguf"), "/props": {}},
        server="llama.cpp",
        models=("a.gguf",),
    ),
    Imitation(
        "lmstudio",
        {"/": "", "/api/v1/models": {"models": [{"key": "qwen/qwen3"}]}},
        models=("qwen/qwen3",),
    ),
    Imitation(
        "vllm",
        {"/version": {"version": "0.32.0"}, "/v1/models": _listed("vllm", "Qwen/Qwen3")},
        models=("Qwen/Qwen3",),
    ),
    # These two imitate Ollama, and are told apart by naming themselves.
    Imitation(
        "sglang",
        {
            "/server_info": {"model_path": "m", "version": "0.9"},
            "/api/tags": {"models": []},
            "/api/version": {"version": "0.7.0"},
            "/v1/models": _listed("sglang", "m"),
        },
        models=("m",),
    ),
    Imitation(
        "koboldcpp",
        {
            "/": "Ollama is running",
            "/.well-known/serviceinfo": {"software": {"name": "KoboldCpp", "version": "1.99"}},
            "/v1/models": _listed("koboldcpp", "koboldcpp/x"),
        },
        models=("koboldcpp/x",),
    ),
    Imitation(
        "tabbyapi",
        {
            "/props": {},
            "/.well-known/serviceinfo": {"software": {"name": "TabbyAPI"}},
            "/v1/models": _listed("tabbyAPI", "x"),
        },
        models=("x",),
    ),
    Imitation(
        "localai",
        {"/readyz": "", "/system": {"backends": []}, "/v1/models": _listed("", "x")},
        models=("x",),
    ),
    Imitation(
        "mlx-lm",
        {"/v1/models": _listed("", "mlx/x")},
        server="BaseHTTP/0.6 Python/3.12",
        models=("mlx/x",),
    ),
    Imitation("modular-max", {"/v1/models": _listed("modular", "x")}, models=("x",)),
    Imitation(
        "llama-server-router",
        {
            "/": "<html>",
            "/models": {"data": [{"id": "b", "status": {"value": "unloaded"}}]},
            "/props": {"build_info": "b9120"},
        },
        server="llama.cpp",
        models=("b",),
    ),
    Imitation("openai", {"/v1/models": _listed("somebody", "x")}, models=("x",)),
    Imitation(
        "local-model-gateway",
        {"/.well-known/local-model-gateway.json": {"schema": "lmg.manifest/1", "version": "1"}},
    ),
)
OTHERS = (
    Imitation("none", {"/": "a web page"}),
    Imitation("none", {"/": "Ollama is running, they say"}),
    Imitation("none", {"/v1/models": ["not", "an", "object"]}),
    Imitation("none", {"/v1/models": {"data": "nonsense"}}),
    Imitation("none", {"/.well-known/serviceinfo": [1, 2]}),
)


@contextlib.contextmanager
def served(imitation: Imitation, port: int = 0) -> Generator[int]:
    """The imitation on a free port, or on this one."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def version_string(self) -> str:
            return imitation.server

        def do_GET(self) -> None:
            found = imitation.answers.get(self.path)
            body = found.encode() if isinstance(found, str) else json.dumps(found).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def main() -> None:
    """Serve until told to stop."""
    by_name = {one.engine: one for one in IMITATIONS}
    with contextlib.ExitStack() as stack:
        for word in sys.argv[1:]:
            engine, _, port = word.partition("=")
            stack.enter_context(served(by_name[engine], int(port)))
        print("listening", flush=True)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
