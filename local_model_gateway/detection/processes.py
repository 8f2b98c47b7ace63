"""The process table, read once: who holds a model, who listens where, and which gateways run."""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import psutil

SMALLEST_BYTES = 256 * 1024 * 1024
_ENGINES = re.compile(
    # As a word of its own: `train_llms.py` and `filmstrip` are no engines.
    r"(?<![a-z0-9])(llama-server|ollama|vllm|sglang|koboldcpp|tabbyapi|local-ai|mlx[._]lm|lm-studio|lms"
    r"|exllama(v[23])?|text-generation-launcher)(?![a-z0-9])"
)
_FEW_WORDS = 4
"""What a program is stands in its first words; further on there are names of models and files."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds memory and that nobody here started."""

    pid: int
    program: str
    memory_bytes: int
    ports: tuple[int, ...]
    engine: bool = True
    """Whether it is one of the engines that we know."""
    on_gpu: bool = False
    """Whether the memory is a GPU's own, as its driver tells."""


@dataclass(frozen=True, slots=True)
class Row:
    """One process."""

    pid: int
    parent: int
    program: str
    words: tuple[str, ...]
    status: str

    @property
    def engine(self) -> bool:
        """Whether it is one of the engines that we know."""
        first = (self.program, *self.words[:_FEW_WORDS])
        return any(_ENGINES.search(word.lower()) for word in first)

    @property
    def gateway(self) -> bool:
        """Whether it is a gateway that serves."""
        named = "local_model_gateway" in self.words or any(
            word.endswith("/lmg") or word == "lmg" for word in self.words[:2]
        )
        return named and ("start" in self.words or "--foreground" in self.words)


@dataclass(slots=True)
class Table:
    """Processes and listening sockets as they were when somebody first asked; asked from several threads."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _rows: dict[int, Row] | None = None
    _listeners: dict[int, int] | None = None

    def rows(self) -> Mapping[int, Row]:
        """Every process that can be seen."""
        with self._lock:
            if self._rows is None:
                self._rows = _read()
            return self._rows

    def listeners(self) -> Mapping[int, int]:
        """Port → process, of every listener that we may see."""
        with self._lock:
            if self._listeners is None:
                self._listeners = _listening()
            return self._listeners

    def ports(self, pid: int) -> tuple[int, ...]:
        """Where this process listens."""
        return tuple(sorted(port for port, owner in self.listeners().items() if owner == pid))

    def listening_on(self, port: int) -> Row | None:
        """Who has this port, as far as this user may see."""
        pid = self.listeners().get(port)
        return None if pid is None else self.rows().get(pid)

    def family(self, pid: int | None) -> frozenset[int]:
        """The process and everything that descends from it."""
        rows = self.rows()
        if pid is None or pid not in rows:
            return frozenset()
        children: dict[int, list[int]] = {}
        for row in rows.values():
            children.setdefault(row.parent, []).append(row.pid)
        found, waiting = {pid}, [pid]
        while waiting:
            for child in children.get(waiting.pop(), []):
                if child not in found:
                    found.add(child)
                    waiting.append(child)
        return frozenset(found)


def outside(
    gateway_pid: int | None,
    table: Table | None = None,
    on_gpu: Mapping[int, int] | None = None,
) -> list[Holder]:
    """Who holds memory and does not descend from the gateway, largest first.

    `on_gpu` is what the driver tells of each process: there, any program counts; of the machine's own
    memory, only engines do.
    """
    table, on_gpu = table or Table(), on_gpu or {}
    ours, found = table.family(gateway_pid), []
    for row in table.rows().values():
        held = on_gpu.get(row.pid, 0)
        if row.pid in ours or not (held or row.engine):
            continue
        memory_bytes = held or _resident(row.pid)
        if memory_bytes >= SMALLEST_BYTES:
            found.append(
                Holder(
                    pid=row.pid,
                    program=row.program,
                    memory_bytes=memory_bytes,
                    ports=table.ports(row.pid),
                    engine=row.engine,
                    on_gpu=bool(held),
                )
            )
    return sorted(found, key=lambda holder: -holder.memory_bytes)


def _read() -> dict[int, Row]:
    found = {}
    for process in psutil.process_iter():
        try:
            with process.oneshot():
                found[process.pid] = Row(
                    process.pid,
                    process.ppid(),
                    process.name(),
                    _words(process),
                    process.status(),
                )
        except psutil.Error:
            continue
    return found


def _words(process: psutil.Process) -> tuple[str, ...]:
    try:
        return tuple(process.cmdline())
    except psutil.Error:
        return ()  # another user's, on systems that keep that to them


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def _listening() -> dict[int, int]:
    try:
        every = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return {}  # some systems show sockets to the administrator only
    return {
        one.laddr.port: one.pid
        for one in every
        if one.status == psutil.CONN_LISTEN and one.pid and one.laddr
    }
