"""What makes the system start the gateway at login: a systemd user unit, launchd agent, Windows task."""

import plistlib
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from local_model_gateway import errors, paths

UNIT = f"{paths.APP}.service"
LABEL = f"io.github.{paths.APP}"
STOP_MARGIN_S = 45  # beyond the drain: engines are told to end, and killed when they do not
RELEASE_S = 30.0  # launchd was seen to hold on to a label for 5 s after it let go of the agent
# The service sees neither the shell's variables nor its folder; these decide where everything is.
REMEMBERED = ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "LMG_STATE_DIR")
T = TypeVar("T")
_TASK = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"


@dataclass(frozen=True, slots=True)
class Step:
    """One command for the system."""

    words: Sequence[str]
    may_fail: bool = False
    """It asks for what may be so already."""
    retry_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Service:
    """One file, and the commands that make the system take notice of it."""

    file: Path
    content: str
    probe: Sequence[str]
    """Fails where whoever would start the service does not answer."""
    unreachable: str
    """What to do then."""
    install: Sequence[Step]
    renew: Sequence[Step]
    """Instead of `install`, where an earlier file was replaced."""
    start: Sequence[Step]
    """Only now: whether it starts at login stays as it is."""
    stop: Sequence[Step]
    """Before the file is removed."""
    forget: Sequence[Step]
    """After it."""
    status: Sequence[str]
    state: str
    """What finds the state's name in the answer."""
    argv_of: Callable[[str], Sequence[str]]
    """The command line in an installed file."""
    variables: Mapping[str, str]
    """What it would remember of this environment."""
    variables_of: Callable[[str], Mapping[str, str]]
    """What an installed file remembers."""
    look: str
    """Where to read why it does not start."""
    notes: Sequence[str] = ()
    folders: Sequence[Path] = ()
    """Which the system expects to be there."""
    leaves: Sequence[Path] = ()
    """What the system writes beside the gateway's own files."""
    encoding: str = "utf-8"

    def installed(self) -> str | None:
        """What the file says now; None where there is none, or none that can be read."""
        try:
            return self.file.read_text(encoding=self.encoding)
        except (OSError, ValueError):
            return None

    def installed_argv(self) -> Sequence[str]:
        """What an installed service runs; nothing where that cannot be told."""
        return self._told(self.argv_of) or ()

    def installed_here(self) -> bool:
        """Whether an installed service keeps everything where this environment would."""
        return self._told(self.variables_of) == self.variables

    def _told(self, of: Callable[[str], T]) -> T | None:
        content = self.installed()
        if content is None:
            return None
        try:
            return of(content)
        except (ValueError, KeyError, IndexError, TypeError, ElementTree.ParseError):
            return None


def argv(config_file: Path | None, module: str = "local_model_gateway") -> list[str]:
    """How the gateway is started: this interpreter, by its whole path, whatever the PATH is at login."""
    # -P: a folder of the user's that is called like one of our packages must not be taken for it.
    words = [sys.executable, "-P", "-m", module, "start", "--quiet"]
    return words + (["--config", str(config_file)] if config_file else [])


def named_config(words: Sequence[str]) -> Path | None:
    """The configuration that a service's command line names."""
    return Path(words[list(words).index("--config") + 1]) if "--config" in words[:-1] else None


def systemd(
    home: Path, env: Mapping[str, str], config_file: Path | None, drain_s: float
) -> Service:
    """A user unit; `Type=notify`, because being started is not being ready."""
    folder = Path(env["XDG_CONFIG_HOME"]) if env.get("XDG_CONFIG_HOME") else home / ".config"
    variables = paths.config_dir(env) / "env"
    # Only a command line knows variables; elsewhere a `$` is a `$`.
    kept = "".join(f"Environment={_systemd_value(f'{k}={v}')}\n" for k, v in _kept(env).items())
    content = f"""\
[Unit]
Description=Local Model Gateway
StartLimitIntervalSec=120
StartLimitBurst=5

[Service]
Type=notify
NotifyAccess=main
ExecStart={" ".join(map(_systemd_word, argv(config_file)))}
ExecReload=/bin/kill -HUP $MAINPID
{kept}EnvironmentFile=-{_systemd_path(variables)}
Restart=on-failure
RestartSec=2
# A configuration that does not hold will not hold the next time either.
RestartPreventExitStatus=2 4
# The gateway stops its engines itself; whatever is left after that is killed with the unit.
KillMode=mixed
TimeoutStopSec={round(drain_s) + STOP_MARGIN_S}
LimitNOFILE=65536
NoNewPrivileges=true

[Install]
WantedBy=default.target
"""
    user = ["systemctl", "--user"]
    reload = Step([*user, "daemon-reload"])
    return Service(
        file=folder / "systemd" / "user" / UNIT,
        content=content,
        probe=[*user, "show", "--property=Version"],
        unreachable=(
            "over ssh, su and sudo your systemd is often not there: as yourself, run "
            '`sudo loginctl enable-linger "$USER"`, then '
            "`export XDG_RUNTIME_DIR=/run/user/$(id -u)`, and try again"
        ),
        install=(reload, Step([*user, "enable", "--now", UNIT])),
        renew=(reload, Step([*user, "enable", UNIT]), Step([*user, "restart", UNIT])),
        stop=(Step([*user, "disable", "--now", UNIT]),),
        # A unit that failed is remembered as failed, file or not.
        forget=(reload, Step([*user, "reset-failed", UNIT], may_fail=True)),
        status=[*user, "show", "--property=ActiveState", UNIT],
        state=r"^ActiveState=(\S+)",
        start=(Step([*user, "start", UNIT]),),
        argv_of=_argv_of_unit,
        variables=_kept(env),
        variables_of=_variables_of_unit,
        look=f"journalctl --user -u {paths.APP} -n 20",
        notes=(
            "It starts when you log in. To have it run without a login: loginctl enable-linger",
            f"Variables that the configuration names go into {paths.shown(variables)}, as NAME=value.",
        ),
    )


def launchd(
    home: Path, env: Mapping[str, str], config_file: Path | None, drain_s: float, uid: int
) -> Service:
    """A launch agent; `Interactive`, or macOS slows it down as background work."""
    file = home / "Library" / "LaunchAgents" / f"{LABEL}.plist"
    log = paths.state_dir(env) / "logs" / "service.log"
    described: dict[str, object] = {
        "Label": LABEL,
        "ProgramArguments": argv(config_file),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        # Or it is killed after 20 s, in the middle of an answer.
        "ExitTimeOut": round(drain_s) + STOP_MARGIN_S,
        "ProcessType": "Interactive",
        "StandardErrorPath": str(log),
        "StandardOutPath": str(log),
        "SoftResourceLimits": {"NumberOfFiles": 65536},
    }
    if kept := _kept(env):
        described["EnvironmentVariables"] = kept
    domain, agent = f"gui/{uid}", f"gui/{uid}/{LABEL}"
    # Stopped by ourselves first: launchctl does not wait for the end of what it lets go of.
    stop = (_down(config_file), Step(["launchctl", "bootout", agent], may_fail=True))
    start = (
        # A label that was once disabled stays so, and could not be bootstrapped.
        Step(["launchctl", "enable", agent]),
        Step(["launchctl", "bootstrap", domain, str(file)], retry_s=RELEASE_S),
    )
    return Service(
        file=file,
        content=plistlib.dumps(described).decode(),
        probe=["launchctl", "print", domain],
        unreachable="an agent needs you logged in at the Mac's own screen; over ssh alone there is nobody to start it",
        install=start,
        renew=(*stop, *start),
        stop=stop,
        forget=(),
        status=["launchctl", "print", agent],
        state=r"^\s*state = (.+)$",
        start=start,
        argv_of=lambda text: plistlib.loads(text.encode())["ProgramArguments"],
        variables=_kept(env),
        variables_of=lambda text: plistlib.loads(text.encode()).get("EnvironmentVariables", {}),
        look=f"tail {shlex.quote(str(log))}",
        folders=(log.parent,),  # launchd makes the file, and no folder
        leaves=(log,),
    )


def windows(env: Mapping[str, str], config_file: Path | None) -> Service:
    """A task at logon of this user alone: one for everybody would need an administrator."""
    program, *words = argv(config_file, "local_model_gateway.windowless")
    # The same interpreter without a console window.
    program = re.sub(r"(?i)python\.exe$", "pythonw.exe", program)
    for word in (program, *words):
        if re.search(r"%[^%]+%", word):
            raise errors.RefusedByGateway(
                f"Windows would read a part of {word} as a variable: use a path without %"
            )
    user = escape("\\".join(filter(None, (env.get("USERDOMAIN"), env.get("USERNAME")))))
    content = f"""\
<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>Local Model Gateway</Description>
  </RegistrationInfo>
  <Triggers>
    <LogonTrigger>
      <Enabled>true</Enabled>
      <UserId>{user}</UserId>
    </LogonTrigger>
  </Triggers>
  <Principals>
    <Principal id="Author">
      <UserId>{user}</UserId>
      <LogonType>InteractiveToken</LogonType>
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <Hidden>true</Hidden>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <Priority>5</Priority>
    <RestartOnFailure>
      <Interval>PT1M</Interval>
      <Count>5</Count>
    </RestartOnFailure>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>{escape(program)}</Command>
      <Arguments>{escape(" ".join(map(_windows_word, words)))}</Arguments>
    </Exec>
  </Actions>
</Task>
"""
    file = paths.config_dir(env) / f"{paths.APP}.task.xml"
    named = ["/TN", paths.APP]
    run = Step(["schtasks", "/Run", *named])
    start = (Step(["schtasks", "/Create", *named, "/XML", str(file), "/F"]), run)
    state = f"(Get-ScheduledTask -TaskName '{paths.APP}').State"
    # Ending the task would cut answers off; the gateway lets them end.
    stop = _down(config_file)
    return Service(
        file=file,
        content=content,
        probe=["schtasks", "/Query", "/FO", "LIST"],
        unreachable="the Task Scheduler service does not answer; see services.msc",
        install=start,
        renew=(stop, *start),
        stop=(stop, Step(["schtasks", "/Delete", *named, "/F"])),
        forget=(),
        # What schtasks says of a task's state is in the language of the system.
        status=["powershell", "-NoProfile", "-Command", state],
        state=r"^(\w+)\s*$",
        start=(run,),
        argv_of=_argv_of_task,
        variables={},  # a task has none of its own
        variables_of=lambda _: {},
        look=f"schtasks /Query /TN {paths.APP} /V /FO LIST",
        encoding="utf-16",  # what schtasks reads without guessing
    )


def _down(config_file: Path | None) -> Step:
    words = [sys.executable, "-P", "-m", "local_model_gateway", "down"]
    return Step(words + (["--config", str(config_file)] if config_file else []), may_fail=True)


def _kept(env: Mapping[str, str]) -> dict[str, str]:
    return {name: env[name] for name in REMEMBERED if env.get(name)}


def _argv_of_unit(content: str) -> list[str]:
    found = re.search(r"^ExecStart=(.+)$", content, re.MULTILINE)
    words = shlex.split(found[1]) if found else []
    return [word.replace("%%", "%").replace("$$", "$") for word in words]


def _variables_of_unit(content: str) -> dict[str, str]:
    lines = re.findall(r"^Environment=(.+)$", content, re.MULTILINE)
    words = [word.replace("%%", "%") for line in lines for word in shlex.split(line)]
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def _argv_of_task(content: str) -> list[str]:
    # Parsed as bytes: a text that names an encoding of its own is refused.
    command = ElementTree.fromstring(content.encode("utf-16")).find(f"{_TASK}Actions/{_TASK}Exec")
    if command is None:
        return []
    words = re.findall(r'"([^"]*)"|(\S+)', command.findtext(f"{_TASK}Arguments", ""))
    return [command.findtext(f"{_TASK}Command", ""), *(a or b for a, b in words)]


def _windows_word(word: str) -> str:
    if not re.search(r"\s", word):
        return word
    # A backslash before the closing quote would take it for a part of the word.
    return f'"{word}{chr(92) * (len(word) - len(word.rstrip(chr(92))))}"'


def _systemd_word(word: str) -> str:
    return _systemd_value(word.replace("$", "$$"))


def _systemd_value(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return word if re.fullmatch(r"[\w@+=:,./-]+", word) else f'"{escaped}"'


def _systemd_path(path: Path) -> str:
    return str(path).replace("%", "%%")
