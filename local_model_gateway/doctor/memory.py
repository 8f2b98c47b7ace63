"""Checks of the memory that models share: what there is, what the largest needs, and who else holds some."""

import ctypes
import functools
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from local_model_gateway import paths, phrases
from local_model_gateway.detection import processes
from local_model_gateway.doctor import served
from local_model_gateway.doctor.finding import Case, Finding, Fix, fail, mend, note, ok, show, skip
from runtimes import devices, nvml

_DISPLAY = "0x03"
_NVIDIA = "0x10de"
_MISMATCH = 18
_REASONS = {
    9: "its driver is not loaded",
    _MISMATCH: "its driver was updated, and the old one runs until the machine is started again",
    999: "the driver says only that something is wrong",
}
"""What the library says when it cannot begin."""


def budget(case: Case) -> Iterator[Finding]:
    """Whether the largest model can ever fit; by what was measured, else by what is written down."""
    if case.settings is None:
        return
    now = _reading(case)
    pool = (case.picture or {}).get("pool_bytes")
    if not isinstance(pool, int):
        pool = case.settings.pool.of(now.total_bytes)
    needs = _needs(case)
    if pool is None:
        return
    name = max(needs, key=lambda one: needs[one], default=None)
    if name is not None and needs[name] > pool:
        yield fail(
            "MODEL-TOO-BIG",
            "Memory",
            f"{name} needs {phrases.size(needs[name])} of {phrases.size(pool)}",
            "It would be loaded alone, and most likely fail; take a smaller one, or lower pool.reserve.",
            show(case.command(_estimate(case, name))),
        )
        return
    free = f", {phrases.size(now.free_bytes)} free now" if now.free_bytes is not None else ""
    largest = f"; largest model needs {phrases.size(needs[name])}" if name is not None else ""
    yield ok("MEMORY", "Memory", f"{phrases.size(pool)} for models{free}{largest}")


def graphics(case: Case) -> Iterator[Finding]:
    """Which GPU there is, and whether its driver works."""
    problem = _driver_problem(case.root)
    if problem is not None:
        yield fail(
            "GPU-DRIVER",
            "GPU",
            f"an NVIDIA GPU is there, but {problem}",
            "Engines fall back to the processors, or do not start.",
            show("nvidia-smi"),
        )
        return
    now = _reading(case)
    if now.kind is devices.Kind.HOST:
        yield ok("GPU", "GPU", "none found: models run on the processors")
        return
    shared = " shared with the system" if now.unified else ""
    yield ok(
        "GPU",
        "GPU",
        f"{now.name}, {phrases.size(now.total_bytes)}{shared}, {phrases.size(now.free_bytes)} free",
    )


def holders(case: Case) -> Iterator[Finding]:
    """Who holds memory that the gateway did not give out."""
    on_gpu = _reading(case).by_pid
    unknown = {pid: size for pid, size in on_gpu.items() if pid not in case.table.rows()}
    if unknown:
        # In a container the driver counts processes by the host's numbers, which here name others.
        on_gpu = {}
        yield skip(
            "GPU-PROCESSES",
            "Bypass",
            f"{phrases.size(sum(unknown.values()))} of the GPU are held by processes of another system",
        )
    pid = case.gateway_pid or (case.announced.pid if case.announced else None)
    given = served.processes(case)
    found = [one for one in processes.outside(pid, case.table, on_gpu) if one.pid not in given]
    for holder in found:
        yield _held(case, holder)
    if not found:
        yield ok("BYPASS", "Bypass", "no engine holds memory outside the queue")


def _held(case: Case, holder: processes.Holder) -> Finding:
    ports = "".join(f" on :{port}" for port in holder.ports[:1])
    place = " of the GPU" if holder.on_gpu else ""
    what = f"{holder.program}, pid {holder.pid}{ports}, holds {phrases.size(holder.memory_bytes)}{place}"
    if not holder.engine:
        return note(
            "GPU-HELD",
            "Bypass",
            what,
            "A model that needs more than is left waits until it is given back.",
            show(_described(holder.pid)),
        )
    return fail(
        "GPU-BYPASS",
        "Bypass",
        f"{what} outside the queue",
        "Its memory is missing when the gateway loads a model.",
        adopt(case, holder.pid, holder.ports),
    )


def _estimate(case: Case, name: str) -> str:
    """What says more: the gateway where one runs, else what is written down."""
    return f"load {shlex.quote(name)} --estimate" if case.picture is not None else "config show"


def adopt(case: Case, pid: int, ports: Sequence[int]) -> Fix:
    """How a stray engine comes into the queue; it asks before it ends anything."""
    if not ports:
        return show(_described(pid))
    words = f"adopt {pid}"
    return show(case.command(f"{words} --dry-run")) if _alone(case) else mend(case.command(words))


def _alone(case: Case) -> bool:
    """Whether one file is the whole configuration: a person writes into it, and no verb does."""
    files = case.settings.files if case.settings else ()
    return any(not file.is_relative_to(paths.config_dir(case.env)) for file in files)


def _described(pid: int) -> str:
    return f"ps -o pid,etime,args -p {pid}"


def _needs(case: Case) -> dict[str, int]:
    """Bytes of each model as far as they are known: measured, written down, or at least the file."""
    assert case.settings is not None
    found: dict[str, int] = {}
    for name, settings in case.settings.runtimes.items():
        if settings.memory is not None:
            found[name] = settings.memory
        elif settings.model is not None and settings.model.endswith(".gguf"):
            file = Path(settings.model).expanduser()
            found[name] = file.stat().st_size if file.is_file() else 0
    for row in case.runtimes:
        if isinstance(row.get("footprint_bytes"), int):
            found[str(row["name"])] = row["footprint_bytes"]
    return {name: size for name, size in found.items() if size}


@functools.lru_cache(maxsize=1)
def _library() -> tuple[object | None, str | None]:
    """The driver's library, or why it cannot be used."""
    try:
        loaded = ctypes.CDLL(nvml.LIBRARY)
        code = int(loaded.nvmlInit_v2())
    except (OSError, AttributeError):
        return None, f"{nvml.LIBRARY} is not installed"
    if code == nvml.SUCCESS:
        return loaded, None
    return None, _REASONS.get(code, f"{nvml.LIBRARY} refused with code {code}")


def _driver_problem(root: Path) -> str | None:
    """None where there is no such GPU, or all is well with it."""
    _, problem = _library()
    return problem if problem is not None and _has_nvidia(root) else None


def _has_nvidia(root: Path) -> bool:
    if (root / "proc/driver/nvidia/version").exists():
        return True
    for vendor in root.glob("sys/bus/pci/devices/*/vendor"):
        try:
            made_by, kind = vendor.read_text(), vendor.with_name("class").read_text()
        except OSError:
            continue
        if made_by.strip() == _NVIDIA and kind.startswith(_DISPLAY):
            return True
    return False


def _reading(case: Case) -> devices.Reading:
    library, _ = _library()
    return devices.Devices(case.root, library).read()
