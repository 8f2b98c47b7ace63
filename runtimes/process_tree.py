"""Who belongs to an engine: its descendants, its session, and whoever carries its mark.

Everything here reads the process table and may block; callers run it in a thread.
"""

import contextlib
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "LMG_RUNTIME_NONCE"
"""The environment variable that an engine and all that it forks inherit."""

_LINUX = sys.platform.startswith("linux")
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True, slots=True)
class Member:
    """One process; a pid alone may be somebody else a moment later."""

    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True)
class Row:
    """What the process table says of one process."""

    member: Member
    parent: int
    group: int
    session: int
    zombie: bool


def table() -> dict[int, Row]:
    """Every process that can be seen."""
    if _LINUX:
        rows = (_linux_row(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    else:
        rows = (_portable_row(process) for process in psutil.process_iter())
    return {row.member.pid: row for row in rows if row is not None}


def row_of(pid: int) -> Row | None:
    """What the table says of one process, zombies included."""
    return _linux_row(str(pid)) if _LINUX else _portable(pid)


def start_ticks(pid: int) -> int | None:
    """When a process started, in units that only compare with each other; None if it is gone."""
    row = row_of(pid)
    return None if row is None or row.zombie else row.member.start_ticks


def alive(members: Iterable[Member]) -> set[Member]:
    """Those that still run; a zombie does not."""
    return {each for each in members if start_ticks(each.pid) == each.start_ticks}


def members(root: Member, nonce: str, known: Iterable[Member] = ()) -> set[Member]:
    """The live processes of an engine, also when their parents have ended.

    Group and session only count while the root itself holds its pid: afterwards the number may name
    another's session, and then only the mark and what was seen before do.
    """
    rows = table()
    held = root.pid in rows and rows[root.pid].member == root
    found = {
        row.member.pid
        for row in rows.values()
        if held and root.pid in (row.member.pid, row.group, row.session)
    }
    found |= {each.pid for each in known if each.pid in rows and rows[each.pid].member == each}
    found |= {pid for pid in rows if pid not in found and nonce and _carries(pid, nonce)}
    _add_children(found, rows)
    found.discard(os.getpid())
    return {rows[pid].member for pid in found if not rows[pid].zombie}


def owners(port: int) -> set[int]:
    """Who listens on this port, as far as it can be seen."""
    with contextlib.suppress(psutil.Error, OSError):
        return {
            each.pid
            for each in psutil.net_connections(kind="tcp")
            if each.pid
            and each.status == psutil.CONN_LISTEN
            and each.laddr
            and each.laddr.port == port
        }
    return set()


def listens(pids: Sequence[int], port: int) -> bool | None:
    """Whether one of them owns the listening socket of this port; None if nobody can tell."""
    found = owners(port)
    return bool(found & set(pids)) if found else None


def resident_bytes(pids: Iterable[int]) -> int | None:
    """What they hold: private pages of each, and the largest mapping of files, which they share."""
    private, mapped, seen = 0, 0, False
    for pid in pids:
        parts = _linux_memory(pid) if _LINUX else _portable_memory(pid)
        if parts is not None:
            private, mapped, seen = private + parts[0], max(mapped, parts[1]), True
    return private + mapped if seen else None


def cpu_seconds(pids: Iterable[int]) -> float:
    """How long they have computed so far, in all."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            spent = psutil.Process(pid).cpu_times()
            total += spent.user + spent.system
    return total


def _add_children(found: set[int], rows: dict[int, Row]) -> None:
    children: dict[int, list[int]] = {}
    for row in rows.values():
        children.setdefault(row.parent, []).append(row.member.pid)
    waiting = list(found)
    while waiting:
        for child in children.get(waiting.pop(), []):
            if child not in found:
                found.add(child)
                waiting.append(child)


def _linux_row(name: str) -> Row | None:
    try:
        text = Path(f"/proc/{name}/stat").read_bytes()
    except OSError:
        return None
    # The command's name stands in brackets and may hold anything, so everything counts from the last one.
    fields = text[text.rindex(b")") + 2 :].split()
    return Row(
        member=Member(int(name), int(fields[19])),
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        zombie=fields[0] in (b"Z", b"X"),
    )


def _linux_memory(pid: int) -> tuple[int, int] | None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    sizes = {
        line.split(":")[0]: int(line.split()[1]) << 10 for line in lines if line.startswith("Rss")
    }
    private = sizes.get("RssAnon", 0) + sizes.get("RssShmem", 0)
    return private, sizes.get("RssFile", 0)


def _portable(pid: int) -> Row | None:
    try:
        return _portable_row(psutil.Process(pid))
    except psutil.Error:
        return None


def _portable_row(process: psutil.Process) -> Row | None:
    try:
        with process.oneshot():
            return Row(
                member=Member(process.pid, round(process.create_time() * _TICKS)),
                parent=process.ppid(),
                group=os.getpgid(process.pid),
                session=os.getsid(process.pid),
                zombie=process.status() == psutil.STATUS_ZOMBIE,
            )
    except (psutil.Error, OSError):
        return None


def _portable_memory(pid: int) -> tuple[int, int] | None:
    try:
        return psutil.Process(pid).memory_info().rss, 0
    except psutil.Error:
        return None


def _carries(pid: int, nonce: str) -> bool:
    try:
        if _LINUX:
            return f"{MARK}={nonce}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes() + b"\0"
        return psutil.Process(pid).environ().get(MARK) == nonce
    except (psutil.Error, OSError):
        return False
