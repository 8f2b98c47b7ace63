"""Processes that hold a model outside the gateway's queue."""

from collections.abc import Iterator
from dataclasses import dataclass

import psutil

SMALLEST_BYTES = 256 * 1024 * 1024
_ENGINES = (
    "llama-server",
    "ollama",
    "vllm",
    "sglang",
    "koboldcpp",
    "tabbyapi",
    "local-ai",
    "mlx_lm",
    "lm-studio",
    "lms",
    "exllama",
    "text-generation-launcher",
)


@dataclass(frozen=True, slots=True)
class Holder:
    """An engine's process that nobody here started."""

    pid: int
    program: str
    memory_bytes: int
    ports: tuple[int, ...]


def outside(gateway_pid: int | None) -> list[Holder]:
    """Engines that hold memory and do not descend from the gateway, largest first."""
    ours = _family(gateway_pid)
    found = [holder for holder in _holders() if holder.pid not in ours]
    return sorted(found, key=lambda holder: -holder.memory_bytes)


def listening_on(port: int) -> Holder | None:
    """Who has this port, as far as this user may see."""
    for pid, taken in _listening():
        if taken == port:
            return _described(psutil.Process(pid), (port,))
    return None


def _family(pid: int | None) -> set[int]:
    if pid is None:
        return set()
    try:
        gateway = psutil.Process(pid)
        return {pid, *(child.pid for child in gateway.children(recursive=True))}
    except psutil.Error:
        return set()


def _holders() -> Iterator[Holder]:
    ports: dict[int, list[int]] = {}
    for pid, port in _listening():
        ports.setdefault(pid, []).append(port)
    for process in psutil.process_iter():
        try:
            words = [process.name(), *process.cmdline()[:3]]
        except psutil.Error:
            continue
        if any(engine in word.lower() for word in words for engine in _ENGINES):
            holder = _described(process, tuple(sorted(ports.get(process.pid, ()))))
            if holder is not None and holder.memory_bytes >= SMALLEST_BYTES:
                yield holder


def _listening() -> list[tuple[int, int]]:
    """Process and port, of every listener that we may see."""
    try:
        every = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return []  # some systems show sockets to the administrator only
    return [
        (one.pid, one.laddr.port)
        for one in every
        if one.status == psutil.CONN_LISTEN and one.pid and one.laddr
    ]


def _described(process: psutil.Process, ports: tuple[int, ...]) -> Holder | None:
    try:
        return Holder(process.pid, process.name(), process.memory_info().rss, ports)
    except psutil.Error:
        return None
