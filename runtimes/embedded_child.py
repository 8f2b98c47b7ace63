"""The default engine's process: llama.cpp's own HTTP server out of the xllamacpp wheel.

It is a child process because the library holds the interpreter's lock while it loads, and because a
failed assertion in it ends the process. It is started as a file and imports nothing of this project, so
that it works from a source tree and from the wheel alike.
"""

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EXIT_BAD_MODEL, EXIT_NOT_INSTALLED, EXIT_ORPHANED = 66, 69, 75
OWNER_CHECK_S = 2.0


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop."""
    asked = _arguments(argv)
    stdin = _own_stdin()
    if asked.heartbeat is not None:
        _watch_owner(stdin, asked.heartbeat, asked.orphan_grace)
    problem = _model_problem(asked.model)
    if problem:
        _say(problem)
        return EXIT_BAD_MODEL
    # Makes the library report the load in steps on stdout; it never connects anywhere for it.
    os.environ.setdefault("LLAMA_SERVER_ROUTER_PORT", "1")
    try:
        import xllamacpp  # noqa: PLC0415 - optional, and the arguments are checked without it
    except ImportError as error:
        _say(f"the embedded engine is not installed ({error}); add the extra `embedded`")
        return EXIT_NOT_INSTALLED
    server = xllamacpp.Server(_parameters(xllamacpp, asked))
    _say(f"ready at {server.listening_address}")
    # Afterwards: up to 2026.7 the library took these signals over and only stopped its HTTP thread.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    while True:
        time.sleep(3600)


def _say(line: str) -> None:
    """A line for the engine's log, which is where stdout goes."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="embedded_child", description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--threads", type=int, default=_threads())
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--gpu-layers", type=int, default=-1)
    parser.add_argument("--embeddings", action="store_true")
    parser.add_argument("--no-mmap", action="store_true")
    parser.add_argument(
        "--heartbeat", type=Path, help="a file that the owner touches while it lives"
    )
    parser.add_argument("--orphan-grace", type=float, default=60.0)
    return parser.parse_args(argv)


def _threads() -> int:
    """The library's threads spin: on a small machine that is shared, a second one made it three times slower."""
    cores = os.cpu_count() or 1
    return max(1, cores // 2)


def _model_problem(model: Path) -> str | None:
    """The library says the same thing of every bad file; this says what is wrong with it."""
    try:
        with model.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        return f"cannot read the model {model}: {error.strerror}"
    return None if magic == b"GGUF" else f"{model} is not a GGUF file"


def _put(parameters: Any, value: object, *names: str) -> None:  # Any: the library has no types
    """Attribute names follow llama.cpp and drift between releases."""
    for name in names:
        if hasattr(parameters, name):
            setattr(parameters, name, value)
            return
    _say(f"this xllamacpp has none of {', '.join(names)}; left as it is")


def _parameters(xllamacpp: Any, asked: argparse.Namespace) -> Any:  # Any: the library has no types
    made = xllamacpp.CommonParams()
    made.model.path = str(asked.model)
    if hasattr(made, "hostnames"):
        made.hostnames = ["127.0.0.1"]
    else:
        made.hostname = "127.0.0.1"
    made.port = asked.port
    # Never 0: that means the length the model was trained with, and its whole cache at once.
    made.n_ctx = asked.context * asked.slots
    made.n_parallel = asked.slots
    # Prefill reports and notices a cancel once a batch.
    made.n_batch = asked.batch
    made.cpuparams.n_threads = made.cpuparams_batch.n_threads = asked.threads
    made.n_gpu_layers = asked.gpu_layers
    made.model_alias = {asked.alias}
    made.endpoint_metrics = made.endpoint_slots = True
    made.endpoint_props = False
    if key := os.environ.get("LMG_RUNTIME_NONCE"):
        # Without one the server lets any web page of this machine's browser in.
        made.api_keys = [key]
    _put(made, False, "ui", "webui")
    _put(made, 0, "cache_ram_mib")
    if asked.embeddings:
        made.embedding = True
        made.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    if asked.no_mmap:
        _put(made, 0 if hasattr(made, "load_mode") else False, "load_mode", "use_mmap")
    return made


def _own_stdin() -> int:
    """Take stdin away from the library, which would end the process as soon as it closes."""
    ours = os.dup(0)
    reader, writer = os.pipe()
    os.dup2(reader, 0)
    os.set_inheritable(writer, False)
    return ours


def _watch_owner(stdin: int, heartbeat: Path, grace_s: float) -> None:
    threading.Thread(target=_until_orphaned, args=(stdin, heartbeat, grace_s), daemon=True).start()


def _until_orphaned(stdin: int, heartbeat: Path, grace_s: float) -> None:
    """End the process once its owner is gone and nobody has adopted it for a while."""
    while os.read(stdin, 4096):
        pass
    closed_at = time.time()
    while True:
        touched_at = closed_at
        with contextlib.suppress(OSError):
            touched_at = max(closed_at, heartbeat.stat().st_mtime)
        if time.time() - touched_at > grace_s:
            _say("the gateway is gone and nobody adopted this engine; ending")
            os._exit(EXIT_ORPHANED)
        time.sleep(OWNER_CHECK_S)


if __name__ == "__main__":
    sys.exit(main())
