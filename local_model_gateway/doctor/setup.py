"""Checks of the configuration, and of the gateway that should run by it."""

import stat
import time
from collections.abc import Iterator
from pathlib import Path

from local_model_gateway import __version__, exposure, paths, phrases
from local_model_gateway.detection import processes
from local_model_gateway.doctor.finding import Case, Finding, fail, note, ok

CLOCK_SLACK_S = 120.0
_OTHERS_MAY_READ = stat.S_IRGRP | stat.S_IROTH


def configuration(case: Case) -> Iterator[Finding]:
    """Whether it holds."""
    if case.config_error is not None:
        yield fail(
            "CONFIG-INVALID",
            "Config",
            str(case.config_error),
            "Nothing starts with a configuration that does not hold.",
            case.command("config validate"),
        )
        return
    assert case.settings is not None
    if not case.settings.files:
        yield note(
            "CONFIG-NONE",
            "Config",
            "none: the built-in model is served",
            "It says one sentence, whatever it is asked.",
            "lmg init --user",
        )
        return
    files = ", ".join(paths.shown(file) for file in case.settings.files)
    models = phrases.count(len(case.settings.runtimes), "model")
    yield ok("CONFIG", "Config", f"{files}, {models}")


def keys(case: Case) -> Iterator[Finding]:
    """Whether secrets are kept as such, and whether an open address is."""
    if case.settings is None:
        return
    for path, written in case.settings.written.items():
        if not written.startswith("${file:"):
            continue
        folder = case.settings.files[0].parent if case.settings.files else Path()
        file = folder / Path(written.removeprefix("${file:").removesuffix("}")).expanduser()
        if file.exists() and file.stat().st_mode & _OTHERS_MAY_READ:
            yield fail(
                "KEY-FILE-OPEN",
                "Keys",
                f"{paths.shown(file)} can be read by other users ({'.'.join(map(str, path))})",
                "Whoever reads it can use what it protects.",
                f"chmod 600 {file}",
            )
    if not exposure.is_loopback(case.settings.server.host):
        yield note(
            "BIND-OPEN",
            "Keys",
            f"{case.settings.server.host} is reachable from other machines, without TLS",
            "Keys and prompts cross the network in the clear; put a reverse proxy with TLS in front.",
            "lmg recipes list",
        )


def gateway(case: Case) -> Iterator[Finding]:
    """Whether one runs, and whether it is ours."""
    if case.settings is None:
        return
    server = case.settings.server
    if case.picture is None:
        holder = processes.listening_on(server.port) if server.port else None
        if holder is not None:
            yield fail(
                "PORT-TAKEN",
                "Gateway",
                f"port {server.port} belongs to {holder.program}, pid {holder.pid}",
                "The gateway cannot start there.",
                case.command(f"start --port {server.port + 1}"),
            )
        elif case.gateway_error:
            yield fail(
                "GATEWAY-SILENT",
                "Gateway",
                case.gateway_error,
                "Something answers in its place, or it hangs.",
                case.command("logs"),
            )
        else:
            yield note(
                "GATEWAY-DOWN", "Gateway", "not running", "Nothing is served.", case.command("up")
            )
        return
    process = case.picture.get("gateway", {})
    up = phrases.span(process.get("uptime_s"))
    yield ok(
        "GATEWAY", "Gateway", f"this one, pid {process.get('pid')}, up {up}, {process.get('url')}"
    )
    if process.get("version") != __version__:
        yield note(
            "VERSION-DIFFERS",
            "Gateway",
            f"it runs version {process.get('version')}, this is {__version__}",
            "It was started before an upgrade.",
            case.command("down") + " && " + case.command("up"),
        )


def clock(case: Case) -> Iterator[Finding]:
    """Whether the clock was set while the gateway ran."""
    process = (case.picture or {}).get("gateway", {})
    started_at, uptime_s = process.get("started_at"), process.get("uptime_s")
    if isinstance(started_at, int | float) and isinstance(uptime_s, int | float):
        off = abs((time.time() - started_at) - uptime_s)
        if off > CLOCK_SLACK_S:
            yield note(
                "CLOCK-JUMP",
                "Gateway",
                f"the clock was moved by about {phrases.span(off)} since it started",
                "Times shown for older work are off; deadlines are not.",
            )


def storage(case: Case) -> Iterator[Finding]:
    """Whether the queue can be written."""
    problem = (case.picture or {}).get("storage_problem")
    if problem:
        yield fail(
            "STORAGE-UNAVAILABLE",
            "State",
            f"the queue cannot be written: {problem}",
            "Jobs are refused; running streams go on.",
            f"df -h {case.state_dir}",
        )


def memory(case: Case) -> Iterator[Finding]:
    """Whether the largest model can ever fit."""
    if case.settings is None or case.picture is None:
        return
    pool = case.picture.get("pool_bytes")
    lines = [line for line in case.picture.get("runtimes", ()) if line.get("footprint_bytes")]
    if not isinstance(pool, int) or not lines:
        return
    largest = max(lines, key=lambda line: int(line["footprint_bytes"]))
    needs = int(largest["footprint_bytes"])
    if needs > pool:
        yield fail(
            "MODEL-TOO-BIG",
            "Memory",
            f"{largest['name']} needs {phrases.size(needs)} of {phrases.size(pool)}",
            "It can never be loaded; take a smaller one, or lower pool.reserve.",
            case.command(f"load {largest['name']} --estimate"),
        )
    else:
        yield ok(
            "MEMORY",
            "Memory",
            f"{phrases.size(pool)} for models; the largest needs {phrases.size(needs)}",
        )
