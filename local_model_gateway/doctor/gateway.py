"""Checks of the gateway that should run: whether it does, whether it is ours, and what it goes by."""

import itertools
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import psutil

from local_model_gateway import __version__, announcement, phrases
from local_model_gateway.detection import probe
from local_model_gateway.doctor.finding import Case, Finding, fail, mend, note, ok, show

SUBJECT = "Gateway"
CLOCK_SLACK_S = 120.0
"""Between a process's start and the gateway's first word there are imports and a database."""
_ELSEWHERE = "It keeps its state elsewhere: both think that all of the memory is theirs."


def gateway(case: Case) -> Iterator[Finding]:
    """Whether one runs, and whether it is ours."""
    if case.settings is None and case.picture is None:
        return
    if case.picture is None:
        yield _absent(case)
        return
    said = case.gateway
    if not _ours(case):
        url = str(said.get("url"))
        yield _sibling(f"what answers at {url} is another one, pid {said.get('pid')}", url)
        return
    up = phrases.span(said.get("uptime_s"))
    yield ok("GATEWAY", SUBJECT, f"this one, pid {said.get('pid')}, up {up}, {said.get('url')}")
    if said.get("version") != __version__:
        yield note(
            "VERSION-DIFFERS",
            SUBJECT,
            f"it runs version {said.get('version')}, this is {__version__}",
            "It was started before an upgrade.",
            case.restart,
        )


def siblings(case: Case) -> Iterator[Finding]:
    """Other gateways on this machine."""
    ours = case.family | {case.gateway_pid}
    for row in case.table.rows().values():
        ports = case.table.ports(row.pid) if row.gateway and row.pid not in ours else ()
        if ports:
            url = f"http://127.0.0.1:{ports[0]}"
            yield _sibling(f"another one, pid {row.pid}, runs at {url}", url)


def reloads(case: Case) -> Iterator[Finding]:
    """Whether the gateway goes by what is on the disk."""
    said = _section(case, "config")
    if said.get("problem"):
        yield fail(
            "CONFIG-STALE",
            SUBJECT,
            f"it goes on with the configuration before this one: {said['problem']}",
            "What was changed since then is not in use.",
            show(case.command("config validate")),
        )
    waiting = said.get("changed_for_the_next_start")
    if isinstance(waiting, list) and waiting:
        yield note(
            "CONFIG-RESTART",
            SUBJECT,
            f"a change of {', '.join(map(str, waiting))} counts from the next start on",
            "Models change while it runs; these sections do not.",
            case.restart,
        )


def queue(case: Case) -> Iterator[Finding]:
    """Whether the queue moves at all."""
    if (case.picture or {}).get("paused") is True:
        yield note(
            "QUEUE-PAUSED",
            "Queue",
            f"paused, {phrases.count(len((case.picture or {}).get('queue', ())), 'request')} waiting",
            "Somebody held it; nothing that waits is served until it goes on.",
            mend(case.command("queue resume")),
        )


def clock(case: Case) -> Iterator[Finding]:
    """Whether the clock was set while the gateway ran.

    The kernel counts a process's age by a clock that nobody sets; the gateway wrote down when it started.
    """
    started_at, pid = case.gateway.get("started_at"), case.gateway_pid
    if pid is None or not isinstance(started_at, int | float) or not _ours(case):
        return
    try:
        off = abs(psutil.Process(pid).create_time() - started_at)
    except psutil.Error:
        return
    if off > CLOCK_SLACK_S:
        yield note(
            "CLOCK-JUMP",
            SUBJECT,
            f"the clock was moved by about {phrases.span(off)} since it started",
            "Times shown for older work are off; deadlines are not.",
            case.restart,
        )


def _ours(case: Case) -> bool:
    """By the note in our state directory; whoever names an address means that one."""
    if case.url_argument:
        return True
    return case.announced is not None and case.announced.pid == case.gateway_pid


def _absent(case: Case) -> Finding:
    announced = case.announced
    if announced is not None and announcement.alive(announced.pid):
        return _silent(case, announced.pid)
    port = case.settings.server.port if case.settings else 0
    holder = case.table.listening_on(port) if port else None
    if holder is not None or (port and case.gateway_error is None and _accepts(port)):
        whose = f"{holder.program}, pid {holder.pid}" if holder else "a program of another user"
        return fail(
            "PORT-TAKEN",
            SUBJECT,
            f"port {port} belongs to {whose}",
            "The gateway cannot start there.",
            case.start(f" --port {_free_port(case, port)}"),
        )
    if case.gateway_error:
        return fail(
            "GATEWAY-SILENT",
            SUBJECT,
            case.gateway_error,
            "Something answers in its place, or it hangs.",
            show(case.command("logs")),
        )
    return note("GATEWAY-DOWN", SUBJECT, "not running", "Nothing is served.", case.start())


def _silent(case: Case, pid: int) -> Finding:
    row = case.table.rows().get(pid)
    if row is not None and row.status == psutil.STATUS_STOPPED:
        return fail(
            "GATEWAY-SUSPENDED",
            SUBJECT,
            f"pid {pid} is suspended, as by Ctrl-Z in its terminal",
            "It answers nobody until it goes on.",
            mend(f"kill -CONT {pid}"),
        )
    return fail(
        "GATEWAY-SILENT",
        SUBJECT,
        f"pid {pid} runs, and does not answer: {case.gateway_error or 'nobody listens at its address'}",
        "It hangs, or is only just starting or stopping.",
        show(case.command("logs")),
    )


def _sibling(what: str, url: str) -> Finding:
    # By its address and nothing else: a configuration of ours says nothing about another gateway.
    return note("SIBLING-GATEWAY", SUBJECT, what, _ELSEWHERE, mend(f"lmg down --url {url}"))


def _section(case: Case, name: str) -> Mapping[str, Any]:  # Any: JSON
    found = (case.picture or {}).get(name)
    return found if isinstance(found, dict) else {}


def _accepts(port: int) -> bool:
    """Whether somebody listens there whom we may not see."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=probe.TIMEOUT_S).close()
    except OSError:
        return False
    return True


def _free_port(case: Case, taken: int) -> int:
    listeners = case.table.listeners()
    above, below = range(taken + 1, 65536), range(taken - 1, 0, -1)
    free = (port for port in itertools.chain(above, below) if port not in listeners)
    return next(free)
