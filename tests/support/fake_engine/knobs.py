"""Everything that can be asked of the fake engine: flags for its life, triggers for one request."""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LOAD_STYLES = ("none", "llama", "shards", "dots")
CRASH_MOMENTS = ("never", "start", "load", "ready")
DIALECTS = (
    "openai", "ollama", "tabbyapi", "lmstudio", "koboldcpp", "llama-router", "localai",
    "sglang", "vllm",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Triggers:
    """What a prompt asks of the request that carries it."""

    names: frozenset[str] = frozenset()
    tokens: int | None = None
    delay_ms: float | None = None
    prefill_ms: float = 0.0

    def __contains__(self, name: str) -> bool:
        return name in self.names


def triggers(prompt: str) -> Triggers:
    """The `[[name]]` and `[[name:value]]` marks in a prompt."""
    found = dict(re.findall(r"\[\[([a-z0-9-]+)(?::([0-9.]+))?\]\]", prompt))
    return Triggers(
        names=frozenset(found),
        tokens=int(found["tokens"]) if "tokens" in found else None,
        delay_ms=float(found["delay-ms"]) if "delay-ms" in found else None,
        prefill_ms=float(found.get("prefill-ms") or 0),
    )


@dataclass
class Knobs(argparse.Namespace):
    """The parsed flags, typed; a test may also make one to render an argv with `argv`."""

    port: int = 0
    host: str = "127.0.0.1"
    model: str = "fake-model"
    list_as: str | None = None
    context: int = 8192
    slots: int = 4
    dialect: str = "openai"
    asleep: bool = False
    api_key: str | None = None
    witness: Path | None = None
    gpu: Path | None = None
    load_s: float = 0.0
    load_style: str = "none"
    load_steps: int = 10
    load_hang: bool = False
    load_hang_at: float = 0.5
    late_bind: bool = False
    early_health: bool = False
    empty_health: bool = False
    memory_mib: int = 0
    memory_ledger: Path | None = None
    crash: str = "never"
    crash_after_s: float = 0.0
    crash_text: str = ""
    crash_count: Path | None = None
    crash_times: int = 1_000_000
    exit_code: int = 1
    deaf_after: int | None = None
    deaf_burns: bool = False
    ignore_term: bool = False
    term_waits: bool = False
    exit_delay_s: float = 0.0
    fork_child: bool = False
    fork_detached: bool = False
    fork_ignores_term: bool = False
    orphan_guard: bool = False
    tokens: int = 8
    token_delay_ms: float = 0.0
    stall_after: int | None = None
    garbage: bool = False
    http_500: bool = False
    no_done: bool = False
    no_usage: bool = False
    no_embeddings: bool = False
    close_idle_s: float | None = None
    blind_to_leavers: bool = False
    log_lines: int = 0
    access_log: bool = False


_HELP = {
    "port": "0 takes a free one and prints it",
    "model": "its id in /v1/models; any other name in a request gets 404",
    "list_as": "lie: list this id instead",
    "slots": "one more than this waits inside and is logged as over_slots",
    "dialect": "also speak the load/unload routes of this engine",
    "asleep": "start without a model; one is loaded by the dialect's own route",
    "api_key": "answer 401 without this bearer token",
    "witness": "append-only log of what happened, JSON lines",
    "gpu": "hold a lock on this file while holding memory; a second holder is logged as overlap",
    "load_s": "how long loading takes",
    "load_style": "how progress is printed",
    "load_hang": "stop in load and stay there",
    "load_hang_at": "the fraction at which it hangs",
    "late_bind": "no listening socket before it is ready",
    "early_health": "lie: /health is 200 while loading",
    "empty_health": "/health has an empty body",
    "memory_mib": "memory that the load takes: real, or in the ledger if one is given",
    "memory_ledger": "pretend: write the amount here for `memory_ledger.Pool` to read",
    "crash": "when to exit by itself",
    "crash_after_s": "with --crash ready: how long after",
    "crash_text": "a last log line before the crash",
    "crash_count": "file that counts the crashes, for --crash-times",
    "crash_times": "crash that often, then behave",
    "deaf_after": "answer nothing after this many requests (SIGUSR1 does it at any time, SIGUSR2 undoes it)",
    "deaf_burns": "compute for ever while deaf, as with a prompt that takes minutes",
    "term_waits": "on SIGTERM finish the running requests first",
    "exit_delay_s": "time between SIGTERM and exit",
    "fork_child": "fork a worker in the same process group",
    "fork_detached": "fork a worker in a session of its own",
    "orphan_guard": "exit when stdin closes",
    "stall_after": "every stream goes silent after this many tokens",
    "blind_to_leavers": "do not notice that a non-streaming client left",
    "access_log": "print a line for each request, as most engines do",
    "log_lines": "print this many lines at start",
}


def parser() -> argparse.ArgumentParser:
    """One flag for each field of `Knobs`."""
    made = argparse.ArgumentParser(prog="python -m tests.support.fake_engine")
    choices = {"load_style": LOAD_STYLES, "crash": CRASH_MOMENTS, "dialect": DIALECTS}
    for name, kind in Knobs.__annotations__.items():
        flag, note = "--" + name.replace("_", "-"), _HELP.get(name, "")
        default = getattr(Knobs, name)
        if kind is bool:
            made.add_argument(flag, action="store_true", default=default, help=note)
            continue
        made.add_argument(
            flag, type=_converter(kind), default=default, choices=choices.get(name), help=note
        )
    return made


def _converter(kind: object) -> type:
    for candidate in (Path, int, float):
        if kind is candidate or kind == candidate | None:
            return candidate
    return str


def parse(argv: Sequence[str] | None = None) -> Knobs:
    """Read the command line; exits 2 on a flag that does not exist."""
    return parser().parse_args(argv, namespace=Knobs())


def argv(**chosen: object) -> list[str]:
    """The flags for a test's spawn: `argv(load_s=1, ignore_term=True)`."""
    rendered: list[str] = []
    for name, value in chosen.items():
        if name not in Knobs.__annotations__:
            raise TypeError(f"the fake engine has no knob {name}")
        flag = "--" + name.replace("_", "-")
        if value is True:
            rendered.append(flag)
        elif value is not False and value is not None:
            rendered += [flag, str(value)]
    return rendered
