"""`lmg service`: have the system start the gateway at login; `--dry-run` only shows it."""

import argparse
import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from local_model_gateway import (
    announcement,
    background,
    config,
    errors,
    paths,
    service_manager,
    service_units,
)
from local_model_gateway.service_units import Service, Step
from local_model_gateway.terminal import Terminal

PLATFORMS = ("linux", "macos", "windows")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action", nargs="?", default="status", choices=("install", "status", "uninstall")
    )
    parser.add_argument("--dry-run", action="store_true", help="only show what would be done")
    parser.add_argument("--yes", action="store_true", help="do not ask anything")
    parser.add_argument(
        "--platform", choices=PLATFORMS, help="what another system would get; with --dry-run only"
    )


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    here = service_manager.platform()
    if given.platform not in (None, here) and not (given.dry_run and given.action == "install"):
        raise errors.RefusedByGateway("another system's service can only be shown: --dry-run")
    platform = given.platform or here
    before = service_manager.of(platform, None, config.Server().drain)
    if given.action == "install":
        return _install(given, platform, before, terminal)
    # From here on with the configuration that it was installed for, which may not hold any more.
    known = service_units.named_config(before.installed_argv())
    service = service_manager.of(platform, known, config.Server().drain)
    if given.action == "uninstall":
        return _uninstall(service, given.dry_run, terminal)
    return _status(service, terminal)


def _install(
    given: argparse.Namespace, platform: str | None, before: Service, terminal: Terminal
) -> int:
    file = service_manager.chosen(given.config, before)
    # A service must not start what does not hold.
    settings = config.load(file, os.environ)
    service = service_manager.of(platform, file, settings.server.drain)
    earlier = service.installed()
    steps = service.install if earlier is None else service.renew
    content = {
        "status": "ok",
        "file": str(service.file),
        "content": service.content,
        "commands": [list(step.words) for step in steps],
        "done": not given.dry_run,
    }
    if given.dry_run:
        lines = [f"# {paths.shown(service.file)}", service.content, *_shown(steps)]
        terminal.result("lmg.service/1", content, "\n".join(lines))
        return 0
    _reach(service, "installed")
    active = service_manager.state(service) in service_manager.ACTIVE
    if earlier == service.content and active:
        content |= {"changed": False, "commands": []}
        text = f"installed already and running; nothing was changed   {paths.shown(service.file)}"
        terminal.result("lmg.service/1", content, text)
        return 0
    stopped = None if active else _make_room(given, settings, terminal)
    try:
        _put(service, steps, earlier, terminal, was_active=active)
    except errors.CommandFailed as error:
        if stopped is None:
            raise
        said = _started_again(stopped, settings, file, terminal)
        raise errors.CommandFailed(f"{error}\n{said}") from None
    done = "installed" if earlier is None else "brought up to date:"
    lines = [f"{done} {paths.shown(service.file)}; it runs, and starts at login", *service.notes]
    terminal.result("lmg.service/1", {**content, "changed": True}, "\n".join(lines))
    return 0


def _make_room(
    given: argparse.Namespace, settings: config.Config, terminal: Terminal
) -> announcement.Announcement | None:
    """The service's gateway could not start beside one that owns the queue and the port: that one ends first."""
    running = announcement.read(settings.state_path(os.environ))
    if running is None:
        return None
    question = (
        f"A gateway runs already, pid {running.pid}. It is stopped first, when its running answers "
        "have ended; the service's takes over. Go ahead?"
    )
    if not given.yes and not terminal.agreed(question):
        raise errors.RefusedByGateway(
            f"a gateway runs already (pid {running.pid}); nothing was installed: "
            "`lmg service install --yes` stops it first"
        )
    background.stop(running, settings, terminal)
    return running


def _started_again(
    stopped: announcement.Announcement,
    settings: config.Config,
    file: Path | None,
    terminal: Terminal,
) -> str:
    """The gateway that made room for a service that could not be, in the background."""
    port = urlsplit(stopped.url).port  # which may not be the configuration's
    try:
        again, _ = background.ensure(settings, file, port, terminal)
    except errors.GatewayError as error:
        return f"The gateway that ran (pid {stopped.pid}) was stopped, and did not start again: {error}"
    return f"The gateway that ran was stopped and started again, pid {again.pid}."


def _put(
    service: Service,
    steps: Sequence[Step],
    earlier: str | None,
    terminal: Terminal,
    *,
    was_active: bool,
) -> None:
    """Write the file and start it; when the system refuses, everything is as before."""
    made = [
        *_make(service.file.parent),
        *(one for wanted in service.folders for one in _make(wanted)),
    ]
    service.file.write_text(service.content, encoding=service.encoding)
    try:
        for step in steps:
            service_manager.do(step, terminal)
    except BaseException:
        _take_back(service, earlier, made, was_active=was_active)
        raise


def _take_back(
    service: Service, earlier: str | None, made: Sequence[Path], *, was_active: bool
) -> None:
    if earlier is not None:
        service.file.write_text(earlier, encoding=service.encoding)
    else:
        for step in service.stop:
            service_manager.ran(step.words)
        service.file.unlink()
    for step in service.forget:
        service_manager.ran(step.words)
    if earlier is None:
        _clear(made)
    elif was_active:  # it ran before this; where it does not start either, there is no more to do
        for step in service.renew:
            service_manager.ran(step.words)


def _make(folder: Path) -> list[Path]:
    """Make a folder and what is above it; returns what was not there, deepest first."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _clear(folders: Sequence[Path]) -> None:
    """Remove empty folders, deepest first, up to one that holds something."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def _uninstall(service: Service, dry: bool, terminal: Terminal) -> int:
    steps = [*service.stop, *service.forget]
    there = service.file.exists()
    content = {
        "status": "ok",
        "file": str(service.file),
        "was_installed": there,
        "commands": [list(step.words) for step in steps],
        "done": there and not dry,
    }
    if not there:
        terminal.result("lmg.service/1", content, "not installed")
        return 0
    if dry:
        remove = shlex.join(["rm", str(service.file)])
        lines = [*_shown(service.stop), remove, *_shown(service.forget)]
        terminal.result("lmg.service/1", content, "\n".join(lines))
        return 0
    _reach(service, "removed")
    for step in service.stop:
        service_manager.do(step, terminal)
    service.file.unlink()
    for step in service.forget:
        service_manager.do(step, terminal)
    for path in service.leaves:
        path.unlink(missing_ok=True)
    inside = [one for one in service.file.parents if one.is_relative_to(Path.home())]
    _clear(inside[:-1] or service.file.parents[:2])
    terminal.result("lmg.service/1", content, f"removed {paths.shown(service.file)}")
    return 0


def _status(service: Service, terminal: Terminal) -> int:
    installed = service.file.exists()
    words = service.installed_argv()
    state = (
        service_manager.state(service) if installed and shutil.which(service.status[0]) else None
    )
    active = state in service_manager.ACTIVE
    named = service_units.named_config(words)
    problem = _problem(words, named) if installed else None
    content = {
        "installed": installed,
        "active": active,
        "state": state,
        "file": str(service.file),
        "program": words[0] if words else None,
        "config": str(named) if named else None,
        "problem": problem,
        "fix": "lmg service install" if problem else None,
    }
    text = "not installed"
    if installed:
        said = f" ({state})" if state not in service_manager.ACTIVE | {"inactive", None} else ""
        text = f"installed, {'running' if active else 'not running'}{said}"
    lines = [f"{text}   {paths.shown(service.file)}"]
    lines += [f"  {problem}", "  fix  lmg service install"] if problem else []
    lines += [f"  why  {service.look}"] if state == "failed" and not problem else []
    terminal.result("lmg.service.status/1", content, "\n".join(lines))
    return 0


def _problem(words: Sequence[str], named: Path | None) -> str | None:
    """Why an installed service will not start."""
    if not words:
        return "the file does not say what it starts"
    if not Path(words[0]).exists():
        return f"it starts {paths.shown(Path(words[0]))}, which is gone"
    if named is not None and not named.exists():
        return f"its configuration {paths.shown(named)} is gone"
    return None


def _shown(steps: Sequence[Step]) -> list[str]:
    return [shlex.join(step.words) for step in steps]


def _reach(service: Service, done: str) -> None:
    """Raise, before anything is changed, where nobody would start the service."""
    program = service.probe[0]
    if shutil.which(program) is None:
        raise errors.CommandFailed(
            f"{program} is not here, so nothing would start the gateway; see `lmg recipes` for others"
        )
    code, _, said = service_manager.asked(service.probe)
    if code != 0:
        raise errors.CommandFailed(
            f"`{shlex.join(service.probe)}` failed: {said or code}\n"
            f"Nothing was {done}; {service.unreachable}."
        )
