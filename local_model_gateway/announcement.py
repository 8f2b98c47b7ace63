"""The note that a running gateway leaves in its state directory, so that the command line finds it."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from local_model_gateway import paths

FILE = "gateway.json"
SCHEMA = "lmg.gateway/1"
SLACK_S = 30.0
"""A gateway's process begins before it says so; what began this much later is another one."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """Where a gateway answers."""

    url: str
    pid: int
    started_at: float
    version: str


def write(state_dir: Path, announced: Announcement) -> None:
    """Leave the note, readable by this user only."""
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = state_dir / f".{FILE}.{os.getpid()}"
    note = {"schema": SCHEMA, **asdict(announced), "born": _born(announced.pid)}
    content = json.dumps(note) + "\n"
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(content)
    made.replace(state_dir / FILE)


def remove(state_dir: Path) -> None:
    """Take the note away, unless another gateway has left its own by now."""
    announced = read(state_dir)
    if announced is not None and announced.pid == os.getpid():
        (state_dir / FILE).unlink(missing_ok=True)


def read(state_dir: Path) -> Announcement | None:
    """The note of a gateway whose process is there; None where there is none that makes sense.

    A crash leaves its note behind, and sooner or later a stranger has the number in it.
    """
    try:
        content = json.loads((state_dir / FILE).read_bytes())
        announced = Announcement(
            url=str(content["url"]),
            pid=int(content["pid"]),
            started_at=float(content["started_at"]),
            version=str(content["version"]),
        )
        born = content.get("born")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    # Only ever this machine: a note that says otherwise is not ours, and our key is not for it.
    if not announced.url.startswith("http://") or not alive(announced.pid):
        return None
    return announced if _began_before(announced, born) else None


def _began_before(announced: Announcement, born: object) -> bool:
    """Whether the process of this number is the one that left the note."""
    now = _born(announced.pid)
    if isinstance(born, str) and now is not None:
        return born == now
    # Late: only where the kernel does not tell, or the note is an older one.
    import psutil  # noqa: PLC0415 - costs every command more than the note itself

    try:
        began = psutil.Process(announced.pid).create_time()
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
    return began <= announced.started_at + SLACK_S


def _born(pid: int) -> str | None:
    """When a process began, by a clock that nobody sets; Linux tells."""
    fields = _stat(pid)
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    return f"{boot} {fields[19]}" if len(fields) > 19 else None


def alive(pid: int) -> bool:
    """Whether a process of this number runs. One that only waits to be collected by its parent does not."""
    if sys.platform == "win32":  # where signal 0 is a Ctrl-C
        import psutil  # noqa: PLC0415 - as above

        return psutil.pid_exists(pid)
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    # Where the parent collects nothing, as a container's first process often does.
    return _stat(pid)[:1] != ["Z"]


def _stat(pid: int) -> list[str]:
    """What Linux tells of a process, after its number and its name."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def find(env: Mapping[str, str]) -> Announcement | None:
    """The gateway of the usual state directory."""
    return read(paths.state_dir(env))
