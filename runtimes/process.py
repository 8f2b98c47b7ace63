"""Child processes: started in a session of their own, and ended with everything they started.

The only module that starts or signals processes.
"""

import contextlib
import ctypes
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.abc
from anyio import to_thread

from runtimes import base, process_tree, race
from runtimes.process_tree import Member

log = logging.getLogger(__name__)

POLL_S = 0.05
KILL_ROUNDS_S = (
    15.0  # a dying process with tens of GiB to unmap takes seconds, and no signal hurries it
)
PORT_CLOSE_S = 5.0
PR_SET_CHILD_SUBREAPER = 36
FORGOTTEN_S = 2.0  # our own children are collected within moments of their end

_NAMES = (
    "PATH HOME USER LOGNAME SHELL LANG LC_ALL LC_CTYPE TZ TMPDIR XDG_RUNTIME_DIR XDG_CACHE_HOME "
    "LD_LIBRARY_PATH DYLD_LIBRARY_PATH HF_HOME HF_HUB_CACHE TRANSFORMERS_CACHE SYSTEMROOT "
    "DBUS_SESSION_BUS_ADDRESS"
)
PASSED_ON = frozenset(_NAMES.split())
PASSED_ON_PREFIXES = (
    "CUDA_",
    "NVIDIA_",
    "ROCR_",
    "HIP_",
    "HSA_",
    "GGML_",
    "OMP_",
    "MLX_",
    "VLLM_",
    "OLLAMA_",
)
OFFLINE: Mapping[str, str] = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "PYTHONUNBUFFERED": "1",
}
"""An engine that is asked for an unknown name must not go and fetch it."""


_zombies: dict[Member, float] = {}
"""Children that have ended and were not collected yet → when that was first seen."""


class NotInstalled(Exception):
    """The program cannot be found where programs are looked for."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to start."""

    argv: Sequence[str]
    log: Path
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    holds_stdin: bool = False
    """The child sees its stdin close when the gateway ends."""


def find_program(name: str, path: str | None = None) -> str:
    """The absolute path of a program. Raises `NotInstalled`; never finds one in the working directory."""
    if os.sep in name:
        if not Path(name).is_absolute() or not os.access(name, os.X_OK):
            raise NotInstalled(f"{name} is not an absolute path of a program that may be run")
        return name
    places = (path if path is not None else os.environ.get("PATH", os.defpath)).split(os.pathsep)
    kept = [place for place in places if Path(place).is_absolute() and not _anyone_may_write(place)]
    found = shutil.which(name, path=os.pathsep.join(kept))
    if found is None:
        raise NotInstalled(f"{name} is not installed (not found on the PATH)")
    return found


def _anyone_may_write(place: str) -> bool:
    try:
        mode = Path(place).stat().st_mode
    except OSError:
        return False
    return bool(mode & 0o002)  # sticky or not: a name that is free there is anybody's to take


def environment(extra: Mapping[str, str], nonce: str) -> dict[str, str]:
    """An allow-list of our own environment, so that no key of the gateway reaches an engine."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)
    }
    return {**kept, **OFFLINE, **extra, process_tree.MARK: nonce}


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def user_id() -> int:
    """Who we are to a service manager."""
    return os.getuid()


def port_is_free(port: int) -> bool:
    """Whether somebody could listen on it now."""
    with socket.socket() as probe:
        # As servers do: a port whose last connections are only timing out is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def adopt_orphans() -> None:
    """On Linux, have what our children leave behind become our children, so that it can be reaped."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Child:
    """An engine's process tree, spawned by us or adopted from an earlier gateway."""

    def __init__(self, record: base.ProcessRecord, process: anyio.abc.Process | None) -> None:
        self.record = record
        self._process = process
        self._root = Member(record.pid, record.start_ticks)
        self._known: set[Member] = {self._root}

    @classmethod
    async def spawn(cls, command: Command, port: int, nonce: str) -> "Child":
        """Start it. Raises `NotInstalled`, or OSError if the system refuses."""
        program = await to_thread.run_sync(find_program, command.argv[0])
        await to_thread.run_sync(adopt_orphans)
        output = await to_thread.run_sync(_open_log, command.log)
        try:
            # Shielded: a process that exists but that nobody knows of could never be stopped.
            with anyio.CancelScope(shield=True):
                process = await anyio.open_process(
                    [program, *command.argv[1:]],
                    stdin=subprocess.PIPE if command.holds_stdin else subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=command.cwd,
                    env=environment(command.env, nonce),
                    start_new_session=True,
                )
                ticks = await to_thread.run_sync(process_tree.start_ticks, process.pid)
        finally:
            os.close(output)
        record = base.ProcessRecord(process.pid, ticks or 0, port, nonce)
        return cls(record, process)

    @classmethod
    async def find(cls, record: base.ProcessRecord) -> "Child | None":
        """The live engine that an earlier gateway recorded; None if that process is gone."""
        ticks = await to_thread.run_sync(process_tree.start_ticks, record.pid)
        return cls(record, None) if ticks is not None and ticks == record.start_ticks else None

    @property
    def exit_code(self) -> int | None:
        """Known once it has ended, and only if we started it."""
        return self._process.returncode if self._process else None

    async def wait(self) -> int | None:
        """Wait until the main process ends; its exit code, or None if it was not our child."""
        if self._process is not None:
            return await self._process.wait()
        await race.until(self._root_is_gone, POLL_S * 4)
        return None

    async def _root_is_gone(self) -> bool:
        return not await to_thread.run_sync(process_tree.alive, {self._root})

    async def tree(self, *, by_mark: bool = True) -> set[Member]:
        """Its live processes; what was seen once is remembered for the stop.

        Without the mark it costs a fraction, and misses only who left the family before the first look.
        """
        mark = self.record.nonce if by_mark else ""
        found = await to_thread.run_sync(process_tree.members, self._root, mark, tuple(self._known))
        self._known |= found
        return found

    async def owns_port(self) -> bool | None:
        """Whether this tree listens on its port; None where the system does not tell."""
        pids = [member.pid for member in await self.tree()]
        return await to_thread.run_sync(process_tree.listens, pids, self.record.port)

    async def stop(self, grace_s: float) -> None:
        """End the whole tree: TERM, grace, KILL, reaped, port closed. Cancellation does not stop it."""
        with anyio.CancelScope(shield=True):
            await self._signal(signal.SIGTERM)
            # A stopped process would take the TERM only when it goes on.
            await self._signal(signal.SIGCONT)
            await self._gone_within(grace_s)
            with anyio.move_on_after(KILL_ROUNDS_S):
                # In rounds: somebody may have forked between the look and the signal.
                while await self.tree():
                    await self._signal(signal.SIGKILL)
                    await self._gone_within(0.5)
            if left := await self.tree():
                log.error("processes %s of an engine outlived SIGKILL", sorted(m.pid for m in left))
            await self._reap()
            await _port_closed(self.record.port)

    async def _gone(self) -> bool:
        return not await self.tree()

    async def _gone_within(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await race.until(self._gone, POLL_S)

    async def _signal(self, number: signal.Signals) -> None:
        everyone = await self.tree()
        await to_thread.run_sync(_signal, self._root, everyone, number)

    async def _reap(self) -> None:
        if self._process is not None:
            with anyio.move_on_after(KILL_ROUNDS_S):
                await self._process.wait()
            if self._process.stdin is not None:
                with contextlib.suppress(OSError, anyio.BrokenResourceError):
                    await self._process.stdin.aclose()
        orphans = self._known - {self._root}

        async def collected() -> bool:
            return await to_thread.run_sync(_all_collected, orphans)

        with anyio.move_on_after(2):
            await race.until(collected, POLL_S)


def _signal(root: Member, everyone: Iterable[Member], number: signal.Signals) -> None:
    in_group = root in everyone
    if in_group:
        # The group at once: members that start while we go through a list would be missed.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(root.pid, number)
    for member in process_tree.alive(everyone):
        if not (in_group and _group(member.pid) == root.pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(member.pid, number)


def _all_collected(orphans: Iterable[Member]) -> bool:
    """Collect orphans that became our children; False while one of ours has not ended."""
    waiting = False
    for member in orphans:
        row = process_tree.row_of(member.pid)
        # Not by the pid alone: by now it may be another child of ours, whose end others wait for.
        if row is not None and row.member == member and row.parent == os.getpid():
            with contextlib.suppress(ChildProcessError):
                waiting |= os.waitpid(member.pid, os.WNOHANG)[0] == 0
    return not waiting


def collect_forgotten() -> int:
    """Collect zombies that became our children and that nobody waits for; how many there were.

    Being everybody's parent of last resort also brings us the orphans of other children, such as tool
    servers and what a start script leaves. One that is still a zombie after a while is nobody's.
    """
    now, mine, collected = time.monotonic(), os.getpid(), 0
    zombies = {
        row.member for row in process_tree.table().values() if row.zombie and row.parent == mine
    }
    for member in set(_zombies) - zombies:
        del _zombies[member]
    for member in zombies:
        if now - _zombies.setdefault(member, now) > FORGOTTEN_S:
            with contextlib.suppress(ChildProcessError):
                collected += os.waitpid(member.pid, os.WNOHANG)[0] != 0
    return collected


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def _open_log(path: Path) -> int:
    """A file and never a pipe: a full pipe freezes the engine, and a closed one ends it with us."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.exists() and path.stat().st_size:
        path.replace(path.with_name(path.name + ".1"))
    return os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_TRUNC | os.O_CLOEXEC, 0o600)


async def _port_closed(port: int) -> None:
    """A port that still accepts would let the next engine's health check see the old one."""
    with anyio.move_on_after(PORT_CLOSE_S):
        while True:
            try:
                stream = await anyio.connect_tcp("127.0.0.1", port)
            except OSError:
                return
            await stream.aclose()
            await anyio.sleep(POLL_S)


async def output(argv: Sequence[str]) -> "subprocess.CompletedProcess[bytes]":
    """Run a short command to its end, with our minimal environment; stderr is part of stdout."""
    return await anyio.run_process(
        argv,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        check=False,
        env=environment({}, ""),
        start_new_session=True,
    )
