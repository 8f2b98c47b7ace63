"""An engine that somebody started by hand: found by pid or port, and ended politely."""

import contextlib
import ipaddress
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from local_model_gateway import errors
from local_model_gateway.detection import engines, probe, processes
from local_model_gateway.importing import command_lines
from local_model_gateway.importing.carried import NotCarried
from runtimes import process_tree

POLL_S = 0.1
MOST_PORTS = 65536
_MANAGERS = ("ollama", "lms", "lm studio", "lm-studio", "llama-swap", "llama-server", "local-ai")
"""Programs whose children are engines that they start and stop by themselves."""
_UNIT = re.compile(r"/([^/\n]+\.service)(?=/|$)", re.MULTILINE)
_SESSION = re.compile(
    r"^(user@\d+|session-.*|app-.*|.*terminal.*|ssh.*|vte-.*|getty@.*|tmux.*)\.(service|scope)$"
)
_CONTAINER = re.compile(r"/(?:docker|libpod|lxc|machine\.slice|kubepods)[/-]|cri-containerd")


@dataclass(frozen=True, slots=True)
class Stray:
    """A running engine that nobody here started."""

    pid: int
    """The process that was started; what listens may descend from it."""
    port: int
    words: tuple[str, ...]
    """Its command line."""
    folder: Path
    """What its relative paths are relative to."""
    env: Mapping[str, str]
    answers: engines.Engine | None
    """What it says of itself; nothing where it asks for a key."""
    family: Mapping[int, float]
    """It and what descended from it when it was found, and when each began."""
    connections: int
    open: bool = False
    """Other machines reach it."""


def find(given: str) -> Stray | engines.Engine:
    """By pid or port; a server that manages its own models is only named. Raises `GatewayError`."""
    number = given.removeprefix(":")
    if not number.isdigit():
        raise errors.NoSuchThing(
            f"{given!r} is neither a pid nor a port; `lmg ps` and `lmg doctor` list both"
        )
    table = processes.Table()
    hidden = _hidden(int(number), table, port_only=given.startswith(":"))
    if hidden is not None:
        return hidden
    pid, ports = _meant(int(number), table, port_only=given.startswith(":"))
    if _started_by_a_gateway(pid):
        raise errors.RefusedByGateway(f"pid {pid} was started by a gateway and is managed already")
    answering = [(port, engines.identify(port)) for port in ports]
    port, engine = next(
        ((port, engine) for port, engine in answering if engine is not None), (ports[0], None)
    )
    if engine is not None and engine.engine == engines.OURS:
        raise errors.RefusedByGateway(f"port {port} is a gateway; its engines are managed already")
    if engine is not None and _manages_itself(engine):
        return engine
    if engine is None and probe.get(port, "/v1/models").status not in (401, 403):
        raise errors.RefusedByGateway(
            f"pid {pid} on port {port} does not answer as an engine; if it still loads, try again when it is ready"
        )
    return _stray(_started(pid, table), port, engine, table)


def end(stray: Stray, patience_s: float, *, force: bool = False) -> bool:
    """Ask it to end, and wait; True when nothing of it is left. Kills only when forced."""
    left = _members(stray)
    for kill in (False, True)[: 1 + force]:
        for process in left:
            _signal(process, kill=kill)
        left = _waited_for(left, patience_s)
    return not left


def _waited_for(processes_: list[psutil.Process], patience_s: float) -> list[psutil.Process]:
    """Those that still run after that long. One that only waits to be collected by its parent has ended."""
    began = time.monotonic()
    while (left := [one for one in processes_ if _runs(one)]) and (
        time.monotonic() - began < patience_s
    ):
        time.sleep(POLL_S)
    return left


def taken_again(port: int, watch_s: float = 1.5) -> int | None:
    """Who listens there once more: something that starts it again by itself."""
    began = time.monotonic()
    while time.monotonic() - began < watch_s:
        row = processes.Table().listening_on(port)
        if row is not None:
            return row.pid
        time.sleep(POLL_S)
    return None


def _manages_itself(engine: engines.Engine) -> bool:
    """Whether it loads and drops models while it runs, and so goes on running."""
    return engine.recipe is not None or engine.engine == "tabbyapi"


def _hidden(number: int, table: processes.Table, *, port_only: bool) -> engines.Engine | None:
    """A server of another user, such as the system's Ollama: nothing of its process has to be seen."""
    may_be_a_pid = not port_only and number in table.rows()
    if may_be_a_pid or not 0 < number < MOST_PORTS or number in _listeners(table):
        return None
    engine = engines.identify(number)
    return engine if engine is not None and _manages_itself(engine) else None


def _started_by_a_gateway(pid: int) -> bool:
    """By the mark that its engines and all that they fork inherit."""
    try:
        return process_tree.MARK in psutil.Process(pid).environ()
    except psutil.Error:
        return False


def _meant(number: int, table: processes.Table, *, port_only: bool) -> tuple[int, list[int]]:
    """The process, and where it or its children listen."""
    listeners = _listeners(table)
    owner, row = listeners.get(number), table.rows().get(number)
    if port_only or row is None:
        if owner is not None:
            return owner, [number]
        if probe.get(number, "/").status:
            raise errors.RefusedByGateway(
                f"port {number} belongs to a process that this user may not see; "
                "ask its owner to stop it"
            )
        what = "listens on port" if port_only or number < MOST_PORTS else "has the pid or port"
        raise errors.NoSuchThing(f"nothing {what} {number}")
    # Only an engine's own children: below a shell, or below the first process, is somebody else.
    family = table.family(number) if _is_engine(row.words) else frozenset({number})
    ports = sorted(port for port, pid in listeners.items() if pid in family)
    if owner is not None and ports and number not in ports:
        raise errors.RefusedByGateway(
            f"{number} is a pid and a port; write :{number} for the port, or use port {ports[0]}"
        )
    if ports:
        return number, ports
    if owner is not None:
        return owner, [number]
    raise errors.NoSuchThing(
        f"pid {number} ({row.program}) listens nowhere; name the port, or try again when it has loaded"
    )


def _is_engine(words: Sequence[str]) -> bool:
    try:
        command_lines.understood(words)
    except NotCarried:
        return False
    return True


def _started(pid: int, table: processes.Table) -> int:
    """Upwards to what was started: an engine's own launcher has a command line that we know, too."""
    rows = table.rows()
    while (row := rows.get(pid)) is not None:
        above = rows.get(row.parent)
        if above is None or not above.words:
            break
        program = Path(above.words[0]).name.lower()
        if _is_engine(above.words):
            pid = above.pid
        elif program.startswith(_MANAGERS):
            raise errors.RefusedByGateway(
                f"pid {pid} was started by {program} (pid {above.pid}), which would start it again; "
                f"adopt or stop that one"
            )
        else:
            break
    return pid


def _stray(pid: int, port: int, engine: engines.Engine | None, table: processes.Table) -> Stray:
    family = table.family(pid)
    try:
        process = psutil.Process(pid)
        uid = process.uids().real if hasattr(process, "uids") else None
        if uid is not None and uid != os.getuid():
            raise errors.RefusedByGateway(
                f"pid {pid} belongs to {process.username()}; only who started it can hand it over"
            )
        env = process.environ()
        found = Stray(
            pid,
            port,
            tuple(process.cmdline()),
            Path(process.cwd()),
            env,
            engine,
            _births(family),
            _connections(port, family),
            open=is_open(_addresses(port, family)),
        )
    except psutil.NoSuchProcess:
        raise errors.NoSuchThing(f"pid {pid} has just ended") from None
    except psutil.AccessDenied:
        raise errors.RefusedByGateway(f"pid {pid} is not to be looked at by this user") from None
    _not_somebody_elses(found)
    return found


def _not_somebody_elses(stray: Stray) -> None:
    """Whatever starts it again, or keeps it in a world of its own, must let go of it first."""
    try:
        groups = Path(f"/proc/{stray.pid}/cgroup").read_text()
        own = Path("/proc/self/cgroup").read_text()
    except OSError:
        return  # only Linux tells
    if groups != own and (why := held_by(groups)):
        raise errors.RefusedByGateway(f"pid {stray.pid} {why}")


def held_by(groups: str) -> str | None:
    """Who else looks after a process in these control groups, and what to do about it."""
    if _CONTAINER.search(groups):
        return (
            "runs in a container, whose files are not ours; stop the container, and `lmg add` the "
            "model from outside"
        )
    for unit in _UNIT.findall(groups):
        if not _SESSION.match(unit):
            own = "/user.slice/" in groups
            user, named = ("--user ", unit) if own else ("", f"/{unit}")
            return (
                f"is run by {unit}, which would start it again: `systemctl {user}disable --now {unit}`, "
                f"then `lmg add`; or let the unit be: `lmg add service --unit {named} --at URL --model NAME`"
            )
    return None


def _connections(port: int, family: frozenset[int]) -> int:
    """Clients that are connected now."""
    return sum(
        one.status == psutil.CONN_ESTABLISHED and bool(one.laddr) and one.laddr.port == port
        for pid in family
        for one in _sockets(pid)
    )


def is_open(addresses: Iterable[str]) -> bool:
    """Whether a socket that listens at one of these is reached from other machines."""
    return not all(ipaddress.ip_address(one).is_loopback for one in addresses)


def _addresses(port: int, family: frozenset[int]) -> Iterable[str]:
    """Where the engine listens at this port."""
    return (
        one.laddr.ip
        for pid in family
        for one in _sockets(pid)
        if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port
    )


def _sockets(pid: int) -> Sequence[Any]:  # Any: psutil has no public name for its rows
    try:
        found: Sequence[Any] = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.Error:
        return ()
    return found


def _listeners(table: processes.Table) -> Mapping[int, int]:
    """Port → process; where the system shows that to the administrator only, of engines that are ours."""
    return table.listeners() or {
        one.laddr.port: row.pid
        for row in table.rows().values()
        if row.engine or _is_engine(row.words)
        for one in _sockets(row.pid)
        if one.status == psutil.CONN_LISTEN and one.laddr
    }


def _births(pids: Iterable[int]) -> Mapping[int, float]:
    """When each of these began; a pid alone may be somebody else's later."""
    found = {}
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            found[pid] = psutil.Process(pid).create_time()
    return found


def _members(stray: Stray) -> list[psutil.Process]:
    """Those of the family that still run, and what descends from them now: the first may be gone."""
    found: dict[int, psutil.Process] = {}
    for pid, began in stray.family.items():
        with contextlib.suppress(psutil.NoSuchProcess):
            one = psutil.Process(pid)
            if one.create_time() == began:
                found |= {each.pid: each for each in (one, *one.children(recursive=True))}
    return list(found.values())


def _signal(process: psutil.Process, *, kill: bool) -> None:
    try:
        if kill:
            process.kill()
        else:
            process.terminate()
    except psutil.NoSuchProcess:
        pass
    except psutil.AccessDenied:
        raise errors.RefusedByGateway(f"pid {process.pid} may not be ended by this user") from None


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
