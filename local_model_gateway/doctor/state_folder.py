"""Checks of the folder that the queue is kept in: ours, private, on a local disk, with room."""

import os
import shlex
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from local_model_gateway import paths, phrases
from local_model_gateway.doctor.finding import Case, Finding, Fix, fail, mend, note, ok, show

SUBJECT = "State"
LITTLE_DISK = 1024**3
NO_DISK = 100 * 1024**2
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs"}
)


def state(case: Case) -> Iterator[Finding]:
    """Whether the queue can be kept where it is to be kept."""
    folder, shown = _nearest(case.state_dir), paths.shown(case.state_dir)
    blocked = _blocked(folder, shown) or _closed(folder, shown)
    if blocked is not None:
        yield blocked
        return
    if folder == case.state_dir and folder.stat().st_mode & _OTHERS:
        yield note(
            "STATE-OPEN",
            SUBJECT,
            f"other users may look into {shown}",
            "Stored jobs and their results are kept there.",
            mend(f"chmod 700 {_word(folder)}"),
        )
    system = _file_system(folder, case.root)
    if system in _NETWORK_FILE_SYSTEMS:
        yield fail(
            "STATE-NETWORK",
            SUBJECT,
            f"{shown} is on a network file system ({system})",
            "The database's locks do not hold there, and it would be damaged.",
            show(case.command("config path")),
        )
        return
    yield _room(folder, shown)


def storage(case: Case) -> Iterator[Finding]:
    """Whether the running gateway can write its queue."""
    problem = (case.picture or {}).get("storage_problem")
    if problem:
        yield fail(
            "STORAGE-UNAVAILABLE",
            SUBJECT,
            f"the queue cannot be written: {problem}",
            "Jobs are refused; running streams go on.",
            show(f"df -h {_word(_nearest(case.state_dir))}"),
        )


def _blocked(folder: Path, shown: str) -> Finding | None:
    if folder.is_dir():
        return None
    return fail(
        "STATE-BLOCKED",
        SUBJECT,
        f"{paths.shown(folder)} is a file, where a folder has to be",
        f"The queue is to be kept in {shown}; the gateway does not start without it.",
        mend(f"mv {_word(folder)} {_word(paths.free_beside(folder))}"),
    )


def _closed(folder: Path, shown: str) -> Finding | None:
    if os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return None
    ours = folder.stat().st_uid == os.geteuid()
    return fail(
        "STATE-READ-ONLY",
        SUBJECT,
        f"{shown} cannot be written",
        "The queue has to survive a restart, so the gateway does not start without it.",
        mend(f"chmod u+rwx {_word(folder)}") if ours else show(f"ls -ld {_word(folder)}"),
    )


def _room(folder: Path, shown: str) -> Finding:
    free = shutil.disk_usage(folder).free
    said, why = f"{phrases.size(free)} free at {shown}", "Jobs are refused once nothing fits."
    fix: Fix = show(f"df -h {_word(folder)}")
    if free < NO_DISK:
        return fail("DISK-FULL", SUBJECT, said, why, fix)
    if free < LITTLE_DISK:
        return note("DISK-LOW", SUBJECT, said, why, fix)
    return ok("STATE", SUBJECT, f"{shown}, {phrases.size(free)} free")


def _nearest(folder: Path) -> Path:
    """The folder, or what it would be made in."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _word(path: Path) -> str:
    return shlex.quote(str(path))


def _file_system(folder: Path, root: Path) -> str:
    """The kind of file system, as Linux names it; empty elsewhere."""
    mounts = root / "proc/self/mounts"
    if not mounts.exists():
        return ""
    resolved, best, kind = folder.resolve(), "", ""
    for line in mounts.read_text(errors="replace").splitlines():
        _, point, found, *_ = line.split(" ")
        place = point.replace("\\040", " ")
        if resolved.is_relative_to(place) and len(place) >= len(best):
            best, kind = place, found
    return kind
