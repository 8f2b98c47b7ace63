"""Checks of the program itself and of the machine below it."""

import importlib.metadata
import os
import resource
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from local_model_gateway import __version__, paths, phrases
from local_model_gateway.doctor.finding import Case, Finding, fail, note, ok

SUBJECT = "Install"
OLDEST_PYTHON = (3, 11)
LITTLE_DISK = 1024**3
NO_DISK = 100 * 1024**2
FEW_FILES = 4096
_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs"}
)


def program(_: Case) -> Iterator[Finding]:
    """Which program runs, on what, and whether another one would answer to the same name."""
    python = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        yield fail("PYTHON-OLD", SUBJECT, f"Python {python}", "3.11 or newer is needed")
        return
    yield ok("INSTALL", SUBJECT, f"local-model-gateway {__version__}, Python {python}")
    on_path = shutil.which("lmg")
    beside = Path(sys.executable).with_name("lmg")
    if on_path and beside.exists() and Path(on_path).resolve() != beside.resolve():
        yield note(
            "PATH-SHADOW",
            SUBJECT,
            f"`lmg` on the PATH is {on_path}, not {beside}",
            "Commands typed in a shell may be of another version.",
            f"{beside} --version",
        )


def neighbours(_: Case) -> Iterator[Finding]:
    """Two names of ours are taken on the package index; mixed folders break both programs."""
    owners = importlib.metadata.packages_distributions()
    for package in ("broker", "mcp_server"):
        others = {
            name for name in owners.get(package, ()) if name and name != "local-model-gateway"
        }
        if others and "local-model-gateway" in owners.get(package, ()):
            other = min(others)
            yield fail(
                "PACKAGE-COLLISION",
                SUBJECT,
                f"the package {other} is installed into the same folder `{package}`",
                "One of the two programs imports the other's files.",
                "uv tool install local-model-gateway",
            )


def files(_: Case) -> Iterator[Finding]:
    """Every client and every engine takes some."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < FEW_FILES:
        yield note(
            "FILE-LIMIT",
            SUBJECT,
            f"at most {hard} open files",
            "With many clients at once, new ones will be refused.",
            "ulimit -Hn",
        )


def state(case: Case) -> Iterator[Finding]:
    """Whether the queue can be kept where it is to be kept."""
    folder = _nearest(case.state_dir)
    shown = paths.shown(case.state_dir)
    if not _writable(folder):
        yield fail(
            "STATE-READ-ONLY",
            "State",
            f"{shown} cannot be written",
            "The queue has to survive a restart, so the gateway does not start without it.",
            f"ls -ld {folder}",
        )
        return
    system = _file_system(folder)
    if system in _NETWORK_FILE_SYSTEMS:
        yield fail(
            "STATE-NETWORK",
            "State",
            f"{shown} is on a network file system ({system})",
            "The database's locks do not hold there, and it would be damaged.",
            case.command("config path"),
        )
    free = shutil.disk_usage(folder).free
    if free < LITTLE_DISK:
        made = fail if free < NO_DISK else note
        yield made(
            "DISK-FULL" if free < NO_DISK else "DISK-LOW",
            "State",
            f"{phrases.size(free)} free at {shown}",
            "Jobs are refused when the queue cannot be written.",
            f"df -h {folder}",
        )
    elif system not in _NETWORK_FILE_SYSTEMS:
        yield ok("STATE", "State", f"{shown}, {phrases.size(free)} free")


def _nearest(folder: Path) -> Path:
    """The folder, or what it would be made in."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _writable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _file_system(folder: Path) -> str:
    """The kind of file system, as Linux names it; empty elsewhere."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return ""
    resolved, best, kind = folder.resolve(), "", ""
    for line in mounts.read_text(errors="replace").splitlines():
        _, point, found, *_ = line.split(" ")
        place = point.replace("\\040", " ")
        if resolved.is_relative_to(place) and len(place) >= len(best):
            best, kind = place, found
    return kind
