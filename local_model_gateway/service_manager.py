"""What starts programs at login here (systemd, launchd, the Task Scheduler): asked, and told what to do."""

import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import anyio

from local_model_gateway import errors, paths, service_units
from local_model_gateway.service_units import Service, Step
from local_model_gateway.terminal import Terminal

COMMAND_S = 1800.0  # a stop lets running answers end, which `server.drain` bounds
QUESTION_S = 10.0
AGAIN_S = 0.5
ACTIVE = {"active", "reloading", "running"}
_OF_PYTHON = {"darwin": "macos", "win32": "windows", "linux": "linux"}


def platform() -> str | None:
    """This system, by the name that people use; None for one without services of ours."""
    return _OF_PYTHON.get(sys.platform)


def of(system: str | None, file: Path | None, drain_s: float) -> Service:
    """The service for this configuration on such a system."""
    match system:
        case "linux":
            return service_units.systemd(Path.home(), os.environ, file, drain_s)
        case "macos":
            # There is none on Windows, where this can only be shown.
            uid = os.getuid() if hasattr(os, "getuid") else 501
            return service_units.launchd(Path.home(), os.environ, file, drain_s, uid)
        case "windows":
            return service_units.windows(os.environ, file)
        case _:
            raise errors.CommandFailed(
                "services are written for Linux, macOS and Windows; "
                "elsewhere start `lmg start` at login yourself"
            )


def chosen(given: str | None, before: Service) -> Path | None:
    """The configuration to start with: what is named here, what this folder holds, what was installed."""
    named = given or os.environ.get("LMG_CONFIG")
    if named:
        return Path(named).expanduser().absolute()
    if Path(paths.PROJECT_FILE).exists():  # found by the folder, in which no service is started
        return Path(paths.PROJECT_FILE).absolute()
    known = service_units.named_config(before.installed_argv())
    return known if known is not None and known.exists() else None


def reachable(service: Service) -> bool:
    """Whether whoever would start it answers."""
    return shutil.which(service.probe[0]) is not None and asked(service.probe)[0] == 0


def state(service: Service) -> str | None:
    """The system's word for it, in small letters."""
    code, said, _ = asked(service.status)
    found = re.search(service.state, said, re.MULTILINE) if code == 0 else None
    return found[1].lower() if found else None


def do(step: Step, terminal: Terminal) -> None:
    """Run one command, again for a while where it may take a moment."""
    terminal.progress(shlex.join(step.words))
    until = time.monotonic() + step.retry_s
    while True:
        code, _, said = ran(step.words)
        if code == 0 or step.may_fail:
            return
        if time.monotonic() >= until:
            raise errors.CommandFailed(f"`{shlex.join(step.words)}` failed: {said or code}")
        time.sleep(AGAIN_S)


def asked(words: Sequence[str]) -> tuple[int, str, str]:
    """The same as `ran`, for a question: whoever does not answer soon will not answer."""
    return ran(words, QUESTION_S)


def ran(words: Sequence[str], limit_s: float = COMMAND_S) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""

    async def once() -> tuple[int, str, str]:
        with anyio.fail_after(limit_s):
            done = await anyio.run_process(list(words), check=False)
        out, err = (
            stream.decode(errors="replace").strip() for stream in (done.stdout, done.stderr)
        )
        return done.returncode, out, err

    try:
        return anyio.run(once)
    except TimeoutError:
        return 1, "", f"no answer within {limit_s:.0f} s"
    except OSError as error:
        return 1, "", f"cannot be run ({error.strerror})"
