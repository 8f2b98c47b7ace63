"""NVIDIA's management library through ctypes: no dependency, and nothing happens where it is absent.

Every getter is asked alone, because on machines whose GPU shares the host's memory some of them answer
"not supported" while others work; not supported is not zero.
"""

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
SUCCESS, INSUFFICIENT_SIZE = 0, 7
NO_VALUE = (1 << 64) - 1
UNIFIED_NAMES = ("GB10", "Orin", "Thor", "Xavier", "Tegra")
"""One driver claimed success with wrong values on these, so the name counts as well."""
MOST_PROCESSES = 4096


@dataclass(frozen=True, slots=True)
class Card:
    """One GPU; None is what it does not tell."""

    index: int
    name: str
    total_bytes: int | None
    free_bytes: int | None
    by_pid: Mapping[int, int]
    busy: float | None = None
    watts: float | None = None
    celsius: int | None = None

    @property
    def unified(self) -> bool:
        """Whether its memory is the host's."""
        return self.total_bytes is None or any(word in self.name for word in UNIFIED_NAMES)


class _Memory(ctypes.Structure):
    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


class _Process(ctypes.Structure):
    _fields_ = (
        ("pid", ctypes.c_uint),
        ("used", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


def library() -> Any | None:  # Any: a ctypes library
    """The library, initialised; None on a machine without it."""
    try:
        loaded = ctypes.CDLL(LIBRARY)
        return loaded if loaded.nvmlInit_v2() == SUCCESS else None
    except (OSError, AttributeError):
        return None


def cards(nvml: Any) -> list[Card]:  # Any: a ctypes library
    """All GPUs, as they are now."""
    count = ctypes.c_uint()
    if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != SUCCESS:
        return []
    found = []
    for index in range(count.value):
        device = ctypes.c_void_p()
        if nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)) == SUCCESS:
            found.append(_card(nvml, device, index))
    return found


def _card(nvml: Any, device: ctypes.c_void_p, index: int) -> Card:  # Any: a ctypes library
    name = ctypes.create_string_buffer(96)
    nvml.nvmlDeviceGetName(device, name, ctypes.c_uint(96))
    memory, busy = _Memory(), _Utilization()
    knows_memory = nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) == SUCCESS
    knows_busy = nvml.nvmlDeviceGetUtilizationRates(device, ctypes.byref(busy)) == SUCCESS
    watts, celsius = ctypes.c_uint(), ctypes.c_uint()
    knows_watts = nvml.nvmlDeviceGetPowerUsage(device, ctypes.byref(watts)) == SUCCESS
    knows_celsius = nvml.nvmlDeviceGetTemperature(device, 0, ctypes.byref(celsius)) == SUCCESS
    return Card(
        index=index,
        name=name.value.decode("utf-8", "replace"),
        total_bytes=memory.total if knows_memory and memory.total else None,
        free_bytes=memory.free if knows_memory and memory.total else None,
        by_pid=_processes(nvml, device),
        busy=busy.gpu / 100 if knows_busy else None,
        watts=watts.value / 1000 if knows_watts else None,
        celsius=celsius.value if knows_celsius else None,
    )


def _processes(nvml: Any, device: ctypes.c_void_p) -> dict[int, int]:  # Any: a ctypes library
    count = ctypes.c_uint(0)
    code = nvml.nvmlDeviceGetComputeRunningProcesses_v3(device, ctypes.byref(count), None)
    if code not in (SUCCESS, INSUFFICIENT_SIZE) or not 0 < count.value < MOST_PROCESSES:
        return {}
    # Some room: more may have started since the count.
    count = ctypes.c_uint(count.value + 16)
    rows = (_Process * count.value)()
    if nvml.nvmlDeviceGetComputeRunningProcesses_v3(device, ctypes.byref(count), rows) != SUCCESS:
        return {}
    return {row.pid: row.used for row in rows[: count.value] if 0 < row.used < NO_VALUE}
