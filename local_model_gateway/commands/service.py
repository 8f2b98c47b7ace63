"""`lmg service`: have the system start the gateway at login; `--dry-run` only shows it."""

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio

from local_model_gateway import config, errors, paths, service_units
from local_model_gateway.terminal import Terminal

COMMAND_S = 120.0
PLATFORMS = ("linux", "macos", "windows")
_OF_PYTHON = {"darwin": "macos", "win32": "windows", "linux": "linux"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action", nargs="?", default="status", choices=("install", "status", "uninstall")
    )
    parser.add_argument("--dry-run", action="store_true", help="only show what would be done")
    parser.add_argument(
        "--platform", choices=PLATFORMS, help="what another system would get; with --dry-run only"
    )


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    service = _service(given)
    match given.action:
        case "install":
            return _install(service, given.dry_run, terminal)
        case "uninstall":
            return _uninstall(service, given.dry_run, terminal)
        case _:
            return _status(service, terminal)


def _service(given: argparse.Namespace) -> service_units.Service:
    here = _OF_PYTHON.get(sys.platform)
    if given.platform not in (None, here) and not (given.dry_run and given.action == "install"):
        raise errors.RefusedByGateway("another system's service can only be shown: --dry-run")
    file = Path(given.config).absolute() if given.config else None
    # A service must not start what does not hold.
    drain_s = config.load(file, os.environ).server.drain
    match given.platform or here:
        case "linux":
            return service_units.systemd(Path.home(), os.environ, file, drain_s)
        case "macos":
            # There is none on Windows, where this can only be shown.
            uid = os.getuid() if hasattr(os, "getuid") else 501
            return service_units.launchd(Path.home(), os.environ, file, uid)
        case "windows":
            return service_units.windows(os.environ, file)
        case _:
            raise errors.CommandFailed(
                "services are written for Linux, macOS and Windows; "
                "elsewhere start `lmg start` at login yourself"
            )


def _install(service: service_units.Service, dry: bool, terminal: Terminal) -> int:
    content = {
        "status": "ok",
        "file": str(service.file),
        "content": service.content,
        "commands": [list(words) for words in service.install],
        "done": not dry,
    }
    if dry:
        lines = [f"# {paths.shown(service.file)}", service.content, *_shown(service.install)]
        terminal.result("lmg.service/1", content, "\n".join(lines))
        return 0
    _needs(service.install[0][0])
    service.file.parent.mkdir(parents=True, exist_ok=True)
    service.file.write_text(service.content, encoding=service.encoding)
    for words in service.install:
        _do(words)
    lines = [f"installed {paths.shown(service.file)}; it runs, and starts at login", *service.notes]
    terminal.result("lmg.service/1", content, "\n".join(lines))
    return 0


def _uninstall(service: service_units.Service, dry: bool, terminal: Terminal) -> int:
    commands = [list(words) for words in service.uninstall if words]
    there = service.file.exists()
    content = {
        "status": "ok",
        "file": str(service.file),
        "was_installed": there,
        "commands": commands,
        "done": there and not dry,
    }
    if not there:
        terminal.result("lmg.service/1", content, "not installed")
        return 0
    if dry:
        remove = f"rm {shlex.quote(str(service.file))}"
        lines = [*_shown(service.uninstall[:-1]), remove, *_shown(service.uninstall[-1:])]
        terminal.result("lmg.service/1", content, "\n".join(lines))
        return 0
    _needs(commands[0][0])
    for words in service.uninstall[:-1]:
        _do(words)
    service.file.unlink()
    if service.uninstall[-1]:
        _do(service.uninstall[-1])
    terminal.result("lmg.service/1", content, f"removed {paths.shown(service.file)}")
    return 0


def _status(service: service_units.Service, terminal: Terminal) -> int:
    installed = service.file.exists()
    active = False
    if installed and shutil.which(service.status[0]):
        active = _ran(service.status)[0] == 0
    content = {"installed": installed, "active": active, "file": str(service.file)}
    text = f"installed, {'running' if active else 'not running'}" if installed else "not installed"
    terminal.result("lmg.service.status/1", content, f"{text}   {paths.shown(service.file)}")
    return 0


def _shown(commands: Sequence[Sequence[str]]) -> list[str]:
    return [shlex.join(words) for words in commands if words]


def _needs(program: str) -> None:
    if shutil.which(program) is None:
        raise errors.CommandFailed(
            f"{program} is not here, so nothing would start the gateway; see `lmg recipes` for others"
        )


def _do(words: Sequence[str]) -> None:
    code, said = _ran(words)
    if code != 0:
        raise errors.CommandFailed(f"`{shlex.join(words)}` failed: {said or code}")


def _ran(words: Sequence[str]) -> tuple[int, str]:
    async def once() -> tuple[int, str]:
        with anyio.fail_after(COMMAND_S):
            done = await anyio.run_process(list(words), check=False)
        return done.returncode, done.stderr.decode(errors="replace").strip()

    return anyio.run(once)
