"""Runs every check side by side within one limit; what is too slow is reported as skipped."""

import argparse
import os
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from local_model_gateway import client, config, errors, paths
from local_model_gateway.doctor import bypass, installation, models, setup
from local_model_gateway.doctor.finding import Case, Check, Finding, Status, skip

LIMIT_S = 4.5
GATEWAY_S = 0.75

CHECKS: Sequence[Check] = (
    installation.program,
    installation.neighbours,
    installation.files,
    installation.state,
    setup.configuration,
    setup.keys,
    setup.gateway,
    setup.clock,
    setup.storage,
    setup.memory,
    models.runtimes,
    models.failures,
    bypass.memory_holders,
    bypass.listening_engines,
    bypass.clients,
    bypass.tool_servers,
)


def case(
    given: argparse.Namespace, env: Mapping[str, str] = os.environ, *, quick: bool = False
) -> Case:
    """What there is to examine; nothing here fails."""
    settings, error = None, None
    try:
        settings = config.load(Path(given.config) if given.config else None, env)
    except errors.ConfigError as found:
        error = found
    picture, silent = None, None
    if settings is not None:
        try:
            picture = client.find(given, env).get("/status", timeout_s=GATEWAY_S)
        except errors.Unreachable:
            pass
        except errors.GatewayError as found:
            silent = str(found)
    if picture is not None and "runtimes" not in picture:
        picture, silent = None, "what answers there is not a gateway"
    return Case(
        env=env,
        home=Path.home(),
        settings=settings,
        config_error=error,
        state_dir=settings.state_path(env) if settings else paths.state_dir(env),
        picture=picture,
        gateway_error=silent,
        config_argument=given.config,
        quick=quick,
    )


def examine(
    subject: Case, checks: Sequence[Check] = CHECKS, limit_s: float = LIMIT_S
) -> list[Finding]:
    """Every finding, in the order of the checks."""
    done: queue.SimpleQueue[tuple[int, list[Finding]]] = queue.SimpleQueue()

    def one(number: int, check: Check) -> None:
        try:
            findings = list(check(subject))
        except Exception as error:  # noqa: BLE001 - one broken check must not hide what the others found
            findings = [skip(_id(check), _id(check).title(), f"broke off: {error!r}")]
        done.put((number, findings))

    for number, check in enumerate(checks):
        # Daemons: a check that hangs in the kernel must not hold up the end of the command.
        threading.Thread(target=one, args=(number, check), daemon=True).start()
    found: dict[int, list[Finding]] = {}
    deadline = time.monotonic() + limit_s
    while len(found) < len(checks) and (left := deadline - time.monotonic()) > 0:
        try:
            number, findings = done.get(timeout=left)
        except queue.Empty:
            break
        found[number] = findings
    late = {
        number: [skip(_id(check), _id(check).title(), f"no answer within {limit_s:g} s")]
        for number, check in enumerate(checks)
        if number not in found
    }
    return [finding for _, findings in sorted({**late, **found}.items()) for finding in findings]


def verdict(findings: Sequence[Finding]) -> Status:
    """The worst of them."""
    states = {finding.status for finding in findings}
    return next((state for state in (Status.FAIL, Status.NOTE) if state in states), Status.OK)


def _id(check: Check) -> str:
    return getattr(check, "__name__", "check").upper().replace("_", "-")
