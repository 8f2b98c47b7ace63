"""How much memory the machine has, who holds it, and which of it is the pool that models share.

Everything here reads files or libraries and may block; callers run it in a thread. Whatever is not known
is None, never 0.
"""

import enum
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from runtimes import nvml, process_tree

NO_LIMIT = 1 << 60  # cgroup v1 writes a number near 2^63 for "none"


class Kind(enum.StrEnum):
    """What kind of memory a pool is."""

    NVIDIA = "nvidia"
    NVIDIA_UNIFIED = "nvidia-unified"
    AMD = "amd"
    APPLE = "apple"
    HOST = "host"


@dataclass(frozen=True, slots=True)
class Reading:
    """The pool at one moment."""

    kind: Kind
    name: str
    total_bytes: int | None
    free_bytes: int | None
    by_pid: Mapping[int, int] = field(default_factory=dict)
    """What the device itself says that processes hold; empty where it does not say."""
    busy: float | None = None
    watts: float | None = None
    celsius: float | None = None

    @property
    def unified(self) -> bool:
        """Whether the GPU's memory is the host's."""
        return self.kind in (Kind.NVIDIA_UNIFIED, Kind.APPLE)


class Devices:
    """Finds the pool of this machine and reads it."""

    def __init__(
        self,
        root: Path = Path("/"),
        library: Any = None,  # Any: a ctypes library
        platform: str = sys.platform,
    ) -> None:
        self._root, self._platform = root, platform
        self._nvml = library

    @classmethod
    def of_this_machine(cls) -> "Devices":
        """With the GPU library if there is one."""
        return cls(library=nvml.library())

    def read(self) -> Reading:
        """The pool now: the GPUs' own memory where they have some, else the host's."""
        if self._nvml is not None and (cards := nvml.cards(self._nvml)):
            return self._nvidia(cards)
        amd = self._amd()
        if amd is not None:
            return amd
        total, free = self.host()
        kind = Kind.APPLE if self._platform == "darwin" else Kind.HOST
        return Reading(kind, "memory of this machine", total, free)

    def free_bytes(self) -> int | None:
        """What a new engine could have."""
        return self.read().free_bytes

    def used_by(self, pids: Iterable[int]) -> int | None:
        """What these processes hold of the pool; None where that cannot be told."""
        wanted = set(pids)
        now = self.read()
        on_device = [size for pid, size in now.by_pid.items() if pid in wanted]
        match now.kind:
            case Kind.NVIDIA:
                # In a container the driver may know our processes by other numbers: that is not zero.
                return sum(on_device) if on_device else None
            case Kind.AMD:
                return self._amd_used(wanted)
            case Kind.NVIDIA_UNIFIED:
                # The driver's allocations are nobody's resident pages: both count.
                held = process_tree.resident_bytes(wanted)
                return None if held is None else held + sum(on_device)
            case Kind.APPLE | Kind.HOST:
                return process_tree.resident_bytes(wanted)

    def host(self) -> tuple[int | None, int | None]:
        """Total and available memory of this machine, within what our control group may use."""
        memory = psutil.virtual_memory()
        total, free = int(memory.total), int(memory.available)
        for limit, used in self._cgroup():
            total, free = min(total, limit), min(free, max(0, limit - used))
        return total, free

    def pressure(self) -> float | None:
        """Share of the last ten seconds in which somebody waited for memory; Linux only."""
        for line in self._lines("proc/pressure/memory"):
            if line.startswith("some "):
                return float(line.split("avg10=")[1].split()[0]) / 100
        return None

    # ---- NVIDIA ---------------------------------------------------------------------------------

    def _nvidia(self, cards: Sequence[nvml.Card]) -> Reading:
        by_pid: dict[int, int] = {}
        for card in cards:
            for pid, size in card.by_pid.items():
                by_pid[pid] = by_pid.get(pid, 0) + size
        name = ", ".join(card.name for card in cards)
        busy = max((card.busy for card in cards if card.busy is not None), default=None)
        watts = [card.watts for card in cards if card.watts is not None]
        celsius = max((card.celsius for card in cards if card.celsius is not None), default=None)
        if any(card.unified for card in cards):
            total, free = self.host()
            kind = Kind.NVIDIA_UNIFIED
        else:
            total = sum(card.total_bytes or 0 for card in cards)
            free = sum(card.free_bytes or 0 for card in cards)
            kind = Kind.NVIDIA
        return Reading(
            kind, name, total, free, by_pid, busy, sum(watts) if watts else None, celsius
        )

    # ---- AMD ------------------------------------------------------------------------------------

    def _amd(self) -> Reading | None:
        """By sysfs: no library is needed. What an APU maps from the host counts too."""
        total = used = 0
        busy = None
        for card in sorted(self._root.glob("sys/class/drm/card*/device")):
            own = _number(card / "mem_info_vram_total")
            if own is None:
                continue
            mapped = _number(card / "mem_info_gtt_total") or 0
            # An APU has a small carve-out and takes the rest from the host's memory.
            shares = mapped > own
            total += own + (mapped if shares else 0)
            used += (_number(card / "mem_info_vram_used") or 0) + (
                (_number(card / "mem_info_gtt_used") or 0) if shares else 0
            )
            percent = _number(card / "gpu_busy_percent")
            busy = percent / 100 if percent is not None else busy
        return (
            Reading(Kind.AMD, "AMD GPU", total, max(0, total - used), busy=busy) if total else None
        )

    def _amd_used(self, pids: Iterable[int]) -> int | None:
        """By what the kernel's graphics driver tells of each open device."""
        clients: dict[str, int] = {}
        for pid in pids:
            for info in self._root.glob(f"proc/{pid}/fdinfo/*"):
                told = _fields(info)
                # One client may hold several descriptors, which all tell the same.
                if "drm-client-id" in told:
                    parts = (told.get(f"drm-memory-{kind}", "0 KiB") for kind in ("vram", "gtt"))
                    clients[told["drm-client-id"]] = sum(
                        int(part.split()[0]) << 10 for part in parts
                    )
        return sum(clients.values()) if clients else None

    # ---- control groups -------------------------------------------------------------------------

    def _cgroup(self) -> list[tuple[int, int]]:
        """(limit, used) of every control group around us, of both versions."""
        found = []
        for line in self._lines("proc/self/cgroup"):
            number, controllers, path = [*line.split(":", 2), "", ""][:3]
            if number == "0":
                found += self._limits("sys/fs/cgroup", path, "memory.max", "memory.current")
            elif "memory" in controllers.split(","):
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
                found += self._limits("sys/fs/cgroup/memory", path, *names)
        return found

    def _limits(self, mount: str, path: str, limit: str, used: str) -> list[tuple[int, int]]:
        # Limits of the groups above hold as well; in a container the path may not exist at all.
        found = []
        place = self._root / mount / path.lstrip("/")
        top = self._root / mount
        while True:
            most, now = _number(place / limit), _number(place / used)
            if most is not None and now is not None and 0 < most < NO_LIMIT:
                # Cached file pages are given up under pressure, so they do not count as used.
                now -= min(now, self._file_pages(place))
                found.append((most, now))
            if place == top or top not in place.parents:
                return found
            place = place.parent

    def _file_pages(self, place: Path) -> int:
        try:
            lines = (place / "memory.stat").read_text().splitlines()
        except OSError:
            return 0
        sizes = dict(line.split(" ", 1) for line in lines if " " in line)
        return int(sizes.get("total_inactive_file", sizes.get("inactive_file", 0)))

    def _lines(self, path: str) -> list[str]:
        try:
            return (self._root / path).read_text().splitlines()
        except OSError:
            return []


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _fields(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}
