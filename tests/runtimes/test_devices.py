"""Readers of memory, on machines that this one is not: sysfs and control groups in a folder, a library made here."""

import ctypes
from pathlib import Path
from typing import Any

import psutil
import pytest

from runtimes import devices, nvml
from runtimes.devices import Devices, Kind

GIB = 1 << 30


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    class Memory:
        total, available = 128 * GIB, 100 * GIB

    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory())


def write(root: Path, files: dict[str, object]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


class Library:
    """As much of NVIDIA's library as is asked for."""

    def __init__(
        self, name: str, memory: tuple[int, int] | None, processes: dict[int, int]
    ) -> None:
        self.name, self.memory, self.processes = name, memory, processes

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:  # noqa: N802
        count._obj.value = 1
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, device: Any) -> int:  # noqa: N802
        return 0

    def nvmlDeviceGetName(self, device: Any, name: Any, size: Any) -> int:  # noqa: N802
        name.value = self.name.encode()
        return 0

    def nvmlDeviceGetMemoryInfo(self, device: Any, info: Any) -> int:  # noqa: N802
        if self.memory is None:
            return 3  # not supported
        info._obj.total, info._obj.free = self.memory
        return 0

    def nvmlDeviceGetUtilizationRates(self, device: Any, rates: Any) -> int:  # noqa: N802
        rates._obj.gpu = 40
        return 0

    def nvmlDeviceGetPowerUsage(self, device: Any, watts: Any) -> int:  # noqa: N802
        return 3

    def nvmlDeviceGetTemperature(self, device: Any, sensor: int, celsius: Any) -> int:  # noqa: N802
        celsius._obj.value = 61
        return 0

    def nvmlDeviceGetComputeRunningProcesses_v3(self, device: Any, count: Any, rows: Any) -> int:  # noqa: N802
        wanted, count._obj.value = count._obj.value, len(self.processes)
        if rows is None or wanted < len(self.processes):
            return nvml.INSUFFICIENT_SIZE
        for row, (pid, used) in zip(rows, self.processes.items(), strict=False):
            row.pid, row.used = pid, used
        return 0


def test_a_gpu_with_memory_of_its_own_is_the_pool(tmp_path: Path) -> None:
    library = Library("NVIDIA H100", (80 * GIB, 30 * GIB), {7: 40 * GIB, 8: 2 * GIB})
    reading = Devices(tmp_path, library).read()
    assert (reading.kind, reading.total_bytes, reading.free_bytes) == (
        Kind.NVIDIA,
        80 * GIB,
        30 * GIB,
    )
    assert (reading.busy, reading.watts, reading.celsius) == (0.4, None, 61)
    assert Devices(tmp_path, library).used_by([7, 99]) == 40 * GIB


@pytest.mark.parametrize(
    ("name", "memory"),
    [("NVIDIA GB10", None), ("Orin (nvgpu)", (1, 1)), ("NVIDIA Something", None)],
)
def test_memory_that_is_the_hosts_is_read_there(
    tmp_path: Path, name: str, memory: tuple[int, int] | None
) -> None:
    reading = Devices(tmp_path, Library(name, memory, {7: 12 * GIB})).read()
    assert reading.kind is Kind.NVIDIA_UNIFIED
    assert (reading.total_bytes, reading.free_bytes) == (128 * GIB, 100 * GIB)
    assert reading.unified


def test_a_process_whose_use_is_not_told_counts_as_unknown(tmp_path: Path) -> None:
    library = Library("NVIDIA H100", (80 * GIB, 30 * GIB), {7: nvml.NO_VALUE})
    assert Devices(tmp_path, library).read().by_pid == {}


def test_a_machine_without_a_gpu_shows_its_memory_and_no_error(tmp_path: Path) -> None:
    reading = Devices(tmp_path, None, "linux").read()
    assert (reading.kind, reading.free_bytes, reading.busy) == (Kind.HOST, 100 * GIB, None)


def test_apples_memory_is_shared(tmp_path: Path) -> None:
    assert Devices(tmp_path, None, "darwin").read().unified


def test_an_amd_card_is_read_from_sysfs(tmp_path: Path) -> None:
    card = "sys/class/drm/card0/device/"
    root = write(
        tmp_path,
        {
            card + "mem_info_vram_total": 24 * GIB,
            card + "mem_info_vram_used": 4 * GIB,
            card + "mem_info_gtt_total": 16 * GIB,
            card + "mem_info_gtt_used": GIB,
            card + "gpu_busy_percent": 12,
        },
    )
    reading = Devices(root).read()
    assert (reading.total_bytes, reading.free_bytes, reading.busy) == (24 * GIB, 20 * GIB, 0.12)


def test_an_apu_counts_what_it_maps_of_the_host(tmp_path: Path) -> None:
    card = "sys/class/drm/card0/device/"
    root = write(
        tmp_path,
        {
            card + "mem_info_vram_total": GIB,
            card + "mem_info_vram_used": 0,
            card + "mem_info_gtt_total": 96 * GIB,
            card + "mem_info_gtt_used": 40 * GIB,
        },
    )
    assert Devices(root).read().free_bytes == 57 * GIB


def test_what_amds_driver_tells_of_a_process_counts_once(tmp_path: Path) -> None:
    info = "drm-driver:\tamdgpu\ndrm-client-id:\t{}\ndrm-memory-vram:\t{} KiB\ndrm-memory-gtt:\t1024 KiB"
    card = "sys/class/drm/card0/device/"
    root = write(
        tmp_path,
        {
            card + "mem_info_vram_total": 24 * GIB,
            card + "mem_info_vram_used": 4 * GIB,
            "proc/7/fdinfo/5": info.format(1, 2048),
            "proc/7/fdinfo/6": info.format(1, 2048),
            "proc/8/fdinfo/5": info.format(2, 4096),
            "proc/8/fdinfo/0": "pos:\t0",
        },
    )
    assert Devices(root).used_by([7, 8]) == (2048 + 1024 + 4096 + 1024) << 10
    assert Devices(root).used_by([9]) is None


def test_a_process_that_the_gpu_does_not_know_is_unknown_and_not_zero(tmp_path: Path) -> None:
    library = Library("NVIDIA H100", (80 * GIB, 30 * GIB), {7: 40 * GIB})
    assert Devices(tmp_path, library).used_by([99]) is None


def test_a_control_group_of_version_2_limits_the_pool(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/user.slice/gateway/"
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/user.slice/gateway",
            group + "memory.max": 32 * GIB,
            group + "memory.current": 12 * GIB,
            group + "memory.stat": f"anon 1\ninactive_file {2 * GIB}",
            "sys/fs/cgroup/user.slice/memory.max": "max",
            "sys/fs/cgroup/user.slice/memory.current": 20 * GIB,
        },
    )
    reading = Devices(root).read()
    assert (reading.total_bytes, reading.free_bytes) == (32 * GIB, 22 * GIB)


def test_a_limit_of_a_group_above_holds_too(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/box/inner",
            "sys/fs/cgroup/box/memory.max": 8 * GIB,
            "sys/fs/cgroup/box/memory.current": GIB,
        },
    )
    assert Devices(root).read().free_bytes == 7 * GIB


@pytest.mark.parametrize(
    ("limit", "free"), [(16 * GIB, 15 * GIB), (9223372036854771712, 100 * GIB)]
)
def test_a_control_group_of_version_1_may_have_no_limit(
    tmp_path: Path, limit: int, free: int
) -> None:
    group = "sys/fs/cgroup/memory/docker/abc/"
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc",
            group + "memory.limit_in_bytes": limit,
            group + "memory.usage_in_bytes": GIB,
        },
    )
    assert Devices(root).read().free_bytes == free


def test_pressure_is_unknown_where_the_kernel_does_not_tell(tmp_path: Path) -> None:
    assert Devices(tmp_path).pressure() is None
    line = "some avg10=12.50 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00"
    assert Devices(write(tmp_path, {"proc/pressure/memory": line})).pressure() == 0.125


def test_this_machine_can_be_read() -> None:
    reading = devices.Devices.of_this_machine().read()
    assert reading.total_bytes


def test_the_structures_have_the_librarys_layout() -> None:
    assert ctypes.sizeof(nvml._Process) == 24
    assert ctypes.sizeof(nvml._Memory) == 24
