"""The note that a running gateway leaves in its state directory, so that the command line finds it."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from local_model_gateway import paths

FILE = "gateway.json"
SCHEMA = "lmg.gateway/1"


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
    content = json.dumps({"schema": SCHEMA, **asdict(announced)}) + "\n"
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
    """The note of a gateway that may still run; None where there is none that makes sense."""
    try:
        content = json.loads((state_dir / FILE).read_bytes())
        announced = Announcement(
            url=str(content["url"]),
            pid=int(content["pid"]),
            started_at=float(content["started_at"]),
            version=str(content["version"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # Only ever this machine: a note that says otherwise is not ours, and our key is not for it.
    return announced if announced.url.startswith("http://") else None


def alive(pid: int) -> bool:
    """Whether a process of this number runs. One that only waits to be collected by its parent does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Where the parent collects nothing, as a container's first process often does; Linux tells."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False


def find(env: Mapping[str, str]) -> Announcement | None:
    """The gateway of the usual state directory, if its process still exists."""
    announced = read(paths.state_dir(env))
    return announced if announced is not None and alive(announced.pid) else None
