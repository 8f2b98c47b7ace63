"""GPUs that this machine does not have: their driver's library is made here, the processes are real."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from local_model_gateway.doctor import memory
from local_model_gateway.doctor.finding import Finding, Status
from tests.cli import stub
from tests.doctor import cases
from tests.runtimes.test_devices import GIB, Library

HOG = (
    "import sys; held = bytearray(b'x') * (300 << 20); print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def bystander() -> Iterator[int]:
    """A process that is no engine."""
    words = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as process:
        yield process.pid


def with_gpu(monkeypatch: pytest.MonkeyPatch, by_pid: dict[int, int]) -> None:
    library = Library("NVIDIA H100", (80 * GIB, 30 * GIB), by_pid)
    monkeypatch.setattr(memory, "_library", lambda: (library, None))


def without(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    monkeypatch.setattr(memory, "_library", lambda: (None, why))


def test_a_gpu_is_named_with_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(monkeypatch, {})
    finding = cases.only(memory.graphics, cases.case(tmp_path), "GPU")
    assert finding.what == "NVIDIA H100, 80.0 GiB, 30.0 GiB free"


def test_a_process_that_holds_the_gpu_and_is_no_engine_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bystander: int
) -> None:
    with_gpu(monkeypatch, {bystander: 41 * GIB})
    finding = cases.only(memory.holders, cases.case(tmp_path), "GPU-HELD")
    assert finding.status is Status.NOTE
    assert f"pid {bystander}, holds 41.0 GiB of the GPU" in finding.what


def test_what_the_gateways_own_children_hold_is_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bystander: int
) -> None:
    with_gpu(monkeypatch, {bystander: 41 * GIB})
    subject = cases.case(tmp_path, picture={"gateway": {"pid": os.getpid()}})
    assert bystander in subject.family
    assert not mentioned(memory.holders(subject), bystander)


def test_a_few_bytes_of_the_gpu_are_nobodys_business(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bystander: int
) -> None:
    with_gpu(monkeypatch, {bystander: 10 << 20})
    assert not mentioned(memory.holders(cases.case(tmp_path)), bystander)


def test_processes_by_another_systems_numbers_are_not_blamed_on_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bystander: int
) -> None:
    with_gpu(monkeypatch, {bystander: 41 * GIB, 4_194_303: 7 * GIB})
    found = list(memory.holders(cases.case(tmp_path)))
    skipped = next(one for one in found if one.id == "GPU-PROCESSES")
    assert "7.0 GiB of the GPU" in skipped.what
    assert not mentioned(found, bystander)


@pytest.mark.parametrize("sign", ["driver", "bus"])
def test_a_gpu_whose_driver_does_not_answer_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sign: str
) -> None:
    root = tmp_path / "root"
    device = root / "sys/bus/pci/devices/0000:01:00.0"
    device.mkdir(parents=True)
    if sign == "bus":
        (device / "vendor").write_text("0x10de\n")
        (device / "class").write_text("0x030200\n")
    else:
        (root / "proc/driver/nvidia").mkdir(parents=True)
        (root / "proc/driver/nvidia/version").write_text("NVRM version: 1\n")
    without(monkeypatch, memory._REASONS[memory._MISMATCH])
    finding = cases.only(memory.graphics, cases.case(tmp_path, root=root), "GPU-DRIVER")
    assert "its driver was updated" in finding.what
    assert finding.status is Status.FAIL


def test_a_machine_without_a_gpu_says_so_and_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "not installed")
    subject = cases.case(tmp_path, root=tmp_path / "empty")
    (finding,) = memory.graphics(subject)
    assert finding.what == "none found: models run on the processors"
    assert finding.status is Status.OK


def test_what_models_may_hold_is_told_without_a_gateway(tmp_path: Path) -> None:
    subject = cases.case(
        tmp_path,
        "pool: {memory: 8GiB}\nruntimes:\n  a: {engine: vllm, model: org/x, memory: 3GiB}\n",
    )
    finding = cases.only(memory.budget, subject, "MEMORY")
    assert finding.what.startswith("8.0 GiB for models")
    assert finding.what.endswith("largest model needs 3.0 GiB")


async def test_an_engine_that_holds_memory_outside_the_queue_is_found(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.symlink_to(os.path.realpath(sys.executable))
    async with await anyio.open_process([str(program), "-c", HOG]) as process:
        assert process.stdout is not None
        with anyio.fail_after(stub.LIMIT_S):
            await process.stdout.receive()
        found = await to_thread.run_sync(lambda: list(memory.holders(cases.case(tmp_path))))
        process.kill()
    (mine,) = mentioned(found, process.pid)
    assert (mine.id, mine.status) == ("GPU-BYPASS", Status.FAIL)


def mentioned(found: "Iterator[Finding] | list[Finding]", pid: int) -> list[Finding]:
    return [finding for finding in found if f"pid {pid}" in finding.what]
