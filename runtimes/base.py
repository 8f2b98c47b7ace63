"""What a managed engine is to the rest of the gateway: a spec, a lifecycle, and what a lifecycle reports."""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Quirks:
    """How this engine differs from the OpenAI wire, as data from its recipe."""

    health_path: str = "/health"
    sends_done: bool = True
    usage_in_stream: bool = True
    strict_fields: bool = False
    chat_path: str = "/v1/chat/completions"
    completions_path: str | None = "/v1/completions"
    embeddings_path: str | None = "/v1/embeddings"
    prompt_progress: bool = False
    """Understands llama.cpp's `return_progress`."""
    tokenize_path: str | None = None


@dataclass(frozen=True, slots=True)
class RuntimeSpec:
    """Everything the coordinator and the surfaces need to know of one configured runtime."""

    name: str
    engine: str
    aliases: tuple[str, ...]
    """What clients may call it; the first is its main alias and equals `name` unless configured."""
    upstream_model: str
    """What the engine itself calls the model."""
    max_concurrency: int = 1
    memory_bytes: int | None = None
    """The configured or predicted footprint; None is unknown and means the whole pool."""
    gpu_work: bool = True
    """False for remote endpoints: always ready, no memory, no swap."""
    exclusive: bool = False
    """One-shot work that needs the whole pool."""
    pinned: bool = False
    idle_unload_s: float | None = 600.0
    load_timeout_s: float = 900.0
    """Without progress, not in all."""
    stop_timeout_s: float = 30.0
    context_tokens: int | None = None
    capabilities: frozenset[str] = frozenset({"chat"})
    """Of: chat, completions, embeddings, tools, vision."""
    notice: str | None = None
    """Plain words a person should see beside this model ("talks nonsense, on purpose")."""
    quirks: Quirks = field(default_factory=Quirks)


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """What identifies a child over a restart of the gateway: a pid alone may be somebody else by then."""

    pid: int
    start_ticks: int
    port: int
    nonce: str


@dataclass(frozen=True, slots=True)
class Running:
    """A healthy engine."""

    base_url: str
    """`http://127.0.0.1:PORT`, without a path."""
    process: ProcessRecord | None
    headers: Mapping[str, str] = field(default_factory=dict)
    """What the engine itself wants on each request (its own key); never the client's."""
    context_tokens: int | None = None
    """What the engine itself says that it was started with; None where it does not say."""


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """How far a load is; a `fraction` of None means that the engine does not tell."""

    phase: str
    fraction: float | None = None


class FailureClass(enum.StrEnum):
    """Why an engine did not come up, or went down, as far as its exit and its log tell."""

    OUT_OF_MEMORY = "oom"
    PORT_IN_USE = "port_in_use"
    MODEL_MISSING = "model_missing"
    BAD_FLAG = "bad_flag"
    NOT_INSTALLED = "not_installed"
    LOAD_STALLED = "load_stalled"
    UNRESPONSIVE = "unresponsive"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Exit:
    """How an engine ended."""

    exit_code: int | None
    failure_class: FailureClass
    log_tail: tuple[str, ...]
    """At most 20 redacted lines."""


class EngineFailed(Exception):
    """The engine did not become ready, or died; what it left behind has been stopped and reaped."""

    code = "engine_load_failed"

    def __init__(self, runtime: str, exit: Exit, message: str) -> None:  # noqa: A002 - the domain's word
        super().__init__(message)
        self.runtime, self.exit = runtime, exit


class Lifecycle(Protocol):
    """One managed engine. The coordinator's loop is its only caller, one method at a time (but `died`).

    Every method ends by its own deadline or by cancellation. A cancelled `start` has stopped
    and reaped whatever it had begun before the cancellation leaves it.
    """

    async def look(self, known: ProcessRecord | None) -> Running | None:
        """After a restart: adopt the healthy engine that `known` describes, or reap what is left of it."""

    async def start(self, report: Callable[[LoadProgress], None]) -> Running:
        """Start and wait until healthy. Raises `EngineFailed` at once when the process dies."""

    async def stop(self) -> None:
        """TERM, grace, KILL, every descendant reaped, port closed. Never raises for an engine already gone."""

    async def died(self) -> Exit:
        """Wait until a ready engine ends or is found deaf, and say how. Cancelled when it is stopped on purpose."""

    def log_tail(self, lines: int = 20) -> tuple[str, ...]:
        """The newest log lines, redacted."""

    def record(self) -> ProcessRecord | None:
        """The child as soon as it exists, also while loading, so that a crash of ours can be cleaned up after."""

    def memory_used(self) -> int | None:
        """Bytes that the engine's process tree holds now (RSS, or per-process GPU memory); None if unknown."""
