"""Runs every check side by side within one limit; what is too slow is reported as skipped."""

import argparse
import functools
import os
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from local_model_gateway import announcement, client, config, errors, paths
from local_model_gateway.detection import at_once
from local_model_gateway.doctor import (
    bypass,
    client_files,
    gateway,
    installation,
    memory,
    models,
    setup,
    state_folder,
    tools,
)
from local_model_gateway.doctor.finding import Case, Check, Finding, Status, skip

LIMIT_S = 4.0
"""For everything together: with a second for the interpreter's own start, five are promised."""
CONFIG_S = 1.0
GATEWAY_S = 0.75
GATEWAY_TRIES = 3
"""A busy machine may miss one; calling its gateway silent then would be wrong."""
CHECK_S = 0.5
"""What the checks get at least, whatever was used up before them."""

CHECKS: Sequence[Check] = (
    installation.program,
    installation.neighbours,
    installation.files,
    setup.configuration,
    setup.keys,
    setup.address,
    state_folder.state,
    state_folder.storage,
    gateway.gateway,
    gateway.siblings,
    gateway.reloads,
    gateway.queue,
    gateway.clock,
    memory.graphics,
    memory.budget,
    models.versions,
    models.runtimes,
    models.servers,
    models.failures,
    models.silent,
    memory.holders,
    bypass.listening,
    client_files.clients,
    tools.servers,
)


def case(
    given: argparse.Namespace, env: Mapping[str, str] = os.environ, *, quick: bool = False
) -> Case:
    """What there is to examine; nothing here fails, and nothing takes long."""
    settings, error = _configuration(given, env)
    state_dir, picture, silent = paths.state_dir(env), None, None
    if settings is not None or error is not None:
        # Also beside a configuration that does not hold: a gateway goes on with the one before.
        state_dir = _state_dir(given, env, settings)
        picture, silent = _gateway(given, env)
    else:
        # Whatever else would look into that file would wait for it as well.
        error = _unread(given)
    return Case(
        env=env,
        home=Path.home(),
        settings=settings,
        config_error=error,
        state_dir=state_dir,
        picture=picture,
        gateway_error=silent,
        announced=_within(functools.partial(announcement.read, state_dir), GATEWAY_S),
        config_argument=given.config,
        url_argument=given.url or env.get("LMG_URL"),
        quick=quick,
    )


def examine(
    subject: Case, checks: Sequence[Check] = CHECKS, limit_s: float = LIMIT_S
) -> list[Finding]:
    """Every finding, in the order of the checks; of a check that is late, what it found until then."""
    done: queue.SimpleQueue[tuple[int, Finding | None]] = queue.SimpleQueue()

    def one(number: int, check: Check) -> None:
        try:
            for finding in check(subject):
                done.put((number, finding))
        except Exception as error:  # noqa: BLE001 - one broken check must not hide what the others found
            done.put((number, skip(_id(check), _id(check).title(), f"broke off: {error!r}")))
        done.put((number, None))

    for number, check in enumerate(checks):
        # Daemons: a check that hangs in the kernel must not hold up the end of the command.
        threading.Thread(target=one, args=(number, check), daemon=True).start()
    found: dict[int, list[Finding]] = {number: [] for number in range(len(checks))}
    going = set(found)
    deadline = time.monotonic() + limit_s
    while going and (left := deadline - time.monotonic()) > 0:
        try:
            number, finding = done.get(timeout=left)
        except queue.Empty:
            break
        if finding is None:
            going.discard(number)
        else:
            found[number].append(finding)
    for number in going:
        id_ = _id(checks[number])
        found[number].append(skip(id_, id_.title(), f"no answer within {limit_s:.1f} s"))
    return [finding for number in sorted(found) for finding in found[number]]


def looked(
    given: argparse.Namespace, env: Mapping[str, str] = os.environ, *, quick: bool = False
) -> list[Finding]:
    """The whole examination, within the limit."""
    began = time.monotonic()
    subject = case(given, env, quick=quick)
    return examine(subject, limit_s=max(CHECK_S, LIMIT_S - (time.monotonic() - began)))


def verdict(findings: Sequence[Finding]) -> Status:
    """The worst of them."""
    states = {finding.status for finding in findings}
    return next((state for state in (Status.FAIL, Status.NOTE) if state in states), Status.OK)


def _configuration(
    given: argparse.Namespace, env: Mapping[str, str]
) -> tuple[config.Config | None, errors.ConfigError | None]:
    """What it says, or why it does not hold; neither when it is late: a network, or a pipe."""
    file = Path(given.config) if given.config else None
    read = _within(functools.partial(config.load, file, env), CONFIG_S)
    match read:
        case config.Config():
            return read, None
        case errors.ConfigError() | None:
            return None, read
        case _:
            return None, errors.ConfigError([errors.Problem(repr(read), None, file)])


def _unread(given: argparse.Namespace) -> errors.ConfigError:
    file = Path(given.config) if given.config else None
    said = f"could not be read within {CONFIG_S:g} s"
    return errors.ConfigError([errors.Problem(said, "; check the path", file)])


def _state_dir(
    given: argparse.Namespace, env: Mapping[str, str], settings: config.Config | None
) -> Path:
    if settings is not None:
        return settings.state_path(env)
    peeked = _within(functools.partial(client.state_dir, given, env), CONFIG_S)
    return peeked if isinstance(peeked, Path) else paths.state_dir(env)


def _gateway(
    given: argparse.Namespace, env: Mapping[str, str]
) -> tuple[Mapping[str, Any] | None, str | None]:
    """Its picture, or why there is none; neither where nobody answers."""

    def ask() -> Any:  # Any: JSON
        return client.find(given, env).get("/status", timeout_s=GATEWAY_S)

    for _ in range(GATEWAY_TRIES):
        answer = _within(ask, GATEWAY_S)  # as a whole: what trickles counts as silence
        match answer:
            case dict() if "runtimes" in answer:
                return answer, None
            case errors.Unreachable() | errors.ConfigError():
                return None, None
            case dict():
                return None, "what answers there is not a gateway"
            case errors.CommandFailed() | None:
                continue
            case _:
                return None, str(answer)
    return None, str(answer) if answer is not None else "it did not answer in time"


def _within(what: Any, limit_s: float) -> Any:  # Any: whatever it returns
    """Its answer or its exception; None when it is late."""
    return at_once.look({"": what}, limit_s).get("")


def _id(check: Check) -> str:
    return getattr(check, "__name__", "check").upper().replace("_", "-")
