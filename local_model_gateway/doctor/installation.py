"""Checks of the program itself: which one runs, on what, and whether a shell finds it."""

import importlib.metadata
import os
import resource
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from local_model_gateway import __version__
from local_model_gateway.doctor.finding import Case, Finding, Fix, fail, mend, note, ok, show

SUBJECT = "Install"
NAME = "local-model-gateway"
OLDEST_PYTHON = (3, 11)
FEW_FILES = 4096
_UPGRADES = {"uv/tools": f"uv tool upgrade {NAME}", "pipx/venvs": f"pipx upgrade {NAME}"}
"""Where an installer keeps a program's own environment → what brings a newer one."""


def program(case: Case) -> Iterator[Finding]:
    """Which program runs, on what, and whether a shell would find it, or another one."""
    python = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        yield fail(
            "PYTHON-OLD",
            SUBJECT,
            f"Python {python}",
            "3.11 or newer is needed.",
            show("command -v python3.14 python3.13 python3.12 python3.11"),
        )
        return
    yield ok("INSTALL", SUBJECT, f"{NAME} {__version__}{_installer()}, Python {python}{_upgrade()}")
    beside = Path(sys.executable).with_name("lmg")
    on_path = shutil.which("lmg", path=case.env.get("PATH"))
    if on_path is None:
        yield note(
            "PATH-MISSING",
            SUBJECT,
            "a shell does not find `lmg`",
            "The commands below begin with it.",
            _link(case, beside),
        )
    elif beside.exists() and not _same(Path(on_path), beside):
        yield note(
            "PATH-SHADOW",
            SUBJECT,
            f"`lmg` on the PATH is {on_path}, not {beside}",
            "Commands typed in a shell may be of another version.",
            show(f"{shlex.quote(str(on_path))} --version"),
        )


def neighbours(_: Case) -> Iterator[Finding]:
    """Two names of ours are taken on the package index; mixed folders break both programs."""
    owners = importlib.metadata.packages_distributions()
    for package in ("broker", "mcp_server"):
        others = {name for name in owners.get(package, ()) if name and name != NAME}
        if others and NAME in owners.get(package, ()):
            other = min(others)
            yield fail(
                "PACKAGE-COLLISION",
                SUBJECT,
                f"the package {other} is installed into the same folder `{package}`",
                "One of the two programs imports the other's files.",
                show(f"{shlex.quote(sys.executable)} -m pip show --files {other}"),
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
            show("ulimit -Hn"),
        )


def _installer() -> str:
    """` by uv`; nothing where it runs from a checkout or nobody wrote it down."""
    try:
        found = importlib.metadata.distribution(NAME)
        editable = '"editable"' in (found.read_text("direct_url.json") or "")
        name = (found.read_text("INSTALLER") or "").strip()
    except (importlib.metadata.PackageNotFoundError, OSError):
        return " from a checkout"
    return " from a checkout" if editable else f" by {name}" if name else ""


def _upgrade() -> str:
    return next(
        (f"   upgrade: {command}" for place, command in _UPGRADES.items() if place in sys.prefix),
        "",
    )


def _link(case: Case, beside: Path) -> Fix | None:
    """Into a folder of the user's own that shells look in already; else for this one shell."""
    if not beside.exists():
        return None
    place = case.home / ".local" / "bin"
    on_path = str(place) in case.env.get("PATH", "").split(os.pathsep)
    if on_path and place.is_dir() and not os.path.lexists(place / "lmg"):
        return mend(f"ln -s {shlex.quote(str(beside))} {shlex.quote(str(place / 'lmg'))}")
    return mend(f'export PATH={shlex.quote(str(beside.parent))}:"$PATH"')


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()
