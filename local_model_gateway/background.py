"""A gateway in the background: the one that runs already, or one started as a session of its own."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

from local_model_gateway import (
    announcement,
    client,
    config,
    errors,
    paths,
    phrases,
    service_manager,
    service_units,
)
from local_model_gateway.terminal import Terminal

START_S = 60.0
STOP_S = 60.0
LOOK_S = 0.05
LAST_LINES = 5


def ensure(
    settings: config.Config, file: Path | None, port: int | None, terminal: Terminal
) -> tuple[announcement.Announcement, bool]:
    """Where it answers, and whether it was started for that."""
    state_dir = settings.state_path(os.environ)
    with _turn(state_dir, terminal):
        announced = announcement.read(state_dir)
        if announced is not None and (stopping := _stopping(announced, settings)) is not None:
            if not stopping:
                return announced, False
            gone(announced.pid, settings.server.drain, terminal)
        if port is None and (service := _service(settings, file)) is not None:
            return _by(service, settings, state_dir, terminal), True
        return _started(_words(file, port), state_dir, terminal), True


@contextlib.contextmanager
def _turn(state_dir: Path, terminal: Terminal) -> Generator[None]:
    """One at a time: who comes second waits, and finds the gateway that the first one started."""
    try:
        # One after the other: the mode is for the last one only, and jobs are nobody else's business.
        for folder in (state_dir, state_dir / "logs"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(state_dir / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise errors.CommandFailed(
            f"nothing can be kept in {paths.shown(state_dir)} ({error.strerror}); "
            "`lmg doctor` says more, and state_dir chooses another folder"
        ) from None
    try:
        began = time.monotonic()
        while not _taken(descriptor):
            if time.monotonic() - began > START_S:
                raise errors.CommandFailed("another `lmg up` is at it and does not come to an end")
            terminal.progress("another `lmg up` is starting it")
            time.sleep(LOOK_S)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    # Late: there is none on Windows, where `lmg down` and `lmg service` need all the rest.
    import fcntl  # noqa: PLC0415

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _stopping(announced: announcement.Announcement, settings: config.Config) -> bool | None:
    """Whether it is on its way out; None where nothing answers."""
    try:
        return bool(client_of(announced, settings).get("/status", timeout_s=5)["stopping"])
    except errors.GatewayError:
        return None


def client_of(announced: announcement.Announcement, settings: config.Config) -> client.Client:
    """To talk to it, with a key of the configuration if there is one."""
    keys = [key.get_secret_value() for key in settings.server.keys.values()]
    return client.Client(announced.url, keys[0] if keys else None)


def stop(announced: announcement.Announcement, settings: config.Config, terminal: Terminal) -> None:
    """End it as `lmg down` does: running answers may end first."""
    drain_s = settings.server.drain
    client_of(announced, settings).post("/admin/shutdown", {"drain_s": drain_s})
    gone(announced.pid, drain_s, terminal)


def gone(pid: int, drain_s: float, terminal: Terminal) -> None:
    """Wait for the end of one that was told to stop."""
    _until(
        lambda: not announcement.alive(pid) or _reaped(pid),
        f"pid {pid} still runs after {{}}; see `lmg logs`",
        drain_s,
        terminal,
    )


def silent(gateway: client.Client, drain_s: float, terminal: Terminal) -> None:
    """Wait until one that runs elsewhere, with process numbers of its own, answers no more."""

    def gave_up() -> bool:
        try:
            gateway.get("/health", timeout_s=5)
        except errors.Unreachable:
            return True
        except errors.GatewayError:
            return False  # it says that it is stopping
        return False

    _until(gave_up, f"{gateway.url} still answers after {{}}", drain_s, terminal)


def _until(ended: Callable[[], bool], late: str, drain_s: float, terminal: Terminal) -> None:
    began = time.monotonic()
    while not ended():
        waited = time.monotonic() - began
        if waited > drain_s + STOP_S:
            raise errors.CommandFailed(late.format(phrases.span(waited)))
        terminal.progress(f"stopping, {waited:.0f} s")
        time.sleep(LOOK_S)


def _reaped(pid: int) -> bool:
    """Where the gateway is a child of this very process, as in tests, only we can see it off."""
    if sys.platform == "win32":  # where nobody has to be collected
        return False
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return False


def _service(settings: config.Config, file: Path | None) -> service_units.Service | None:
    """What would run it at login for this very configuration, if that is installed and can be reached."""
    system = service_manager.platform()
    if system is None:
        return None
    service = service_manager.of(system, file, settings.server.drain)
    words = service.installed_argv()
    wanted = service_manager.chosen(str(file) if file is not None else None, service)
    if not words or service_units.named_config(words) != wanted or not service.installed_here():
        return None
    return service if service_manager.reachable(service) else None


def _by(
    service: service_units.Service,
    settings: config.Config,
    state_dir: Path,
    terminal: Terminal,
) -> announcement.Announcement:
    """Have the installed service start it: two of them would only fight at the next login."""
    for step in service.start:
        service_manager.do(step, terminal)
    began = time.monotonic()
    while time.monotonic() - began < START_S:
        terminal.progress(f"starting as a service, {time.monotonic() - began:.0f} s")
        announced = announcement.read(state_dir)
        if announced is not None and _stopping(announced, settings) is False:
            return announced
        time.sleep(LOOK_S)
    raise errors.CommandFailed(
        f"the installed service did not start within {START_S:.0f} s; see {service.look}"
    )


def _words(file: Path | None, port: int | None) -> list[str]:
    words = [sys.executable, "-m", "local_model_gateway", "start", "--quiet"]
    words += ["--config", str(file.absolute())] if file is not None else []
    return words + (["--port", str(port)] if port is not None else [])


def _started(words: list[str], state_dir: Path, terminal: Terminal) -> announcement.Announcement:
    """Start it as a session of its own, and wait until it announces itself or ends."""
    log = state_dir / "logs" / "start.log"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    pid = os.posix_spawn(
        sys.executable,
        words,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    began = time.monotonic()
    while time.monotonic() - began < START_S:
        terminal.progress(f"starting, {time.monotonic() - began:.0f} s")
        announced = announcement.read(state_dir)
        if announced is not None and announced.pid == pid:
            return announced
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            _fail(os.waitstatus_to_exitcode(status), log)
        time.sleep(LOOK_S)
    raise errors.CommandFailed(
        f"the gateway (pid {pid}) did not answer within {START_S:.0f} s; see {paths.shown(log)}"
    )


def _fail(code: int, log: Path) -> None:
    lines = log.read_text(errors="replace").strip().splitlines()
    # On a full disk it could not even write that.
    said = "\n".join(lines[-LAST_LINES:]) or "it said nothing; `lmg doctor` says more"
    error = errors.CommandFailed(f"the gateway did not start: {said}")
    error.exit_code = code if 0 < code <= errors.StillQueued.exit_code else 1
    raise error
