"""What makes the system start the gateway at login: a systemd user unit, launchd agent, Windows task."""

import plistlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from local_model_gateway import paths

UNIT = f"{paths.APP}.service"
LABEL = f"io.github.{paths.APP}"
STOP_MARGIN_S = 45  # beyond the drain: engines are told to end, and killed when they do not


@dataclass(frozen=True, slots=True)
class Service:
    """One file, and the commands that make the system take notice of it."""

    file: Path
    content: str
    install: Sequence[Sequence[str]]
    uninstall: Sequence[Sequence[str]]
    """Run before the file is removed, but for the last, which runs after."""
    status: Sequence[str]
    notes: Sequence[str] = ()
    encoding: str = "utf-8"


def argv(config_file: Path | None) -> list[str]:
    """How the gateway is started: this interpreter, by its whole path, whatever the PATH is at login."""
    words = [sys.executable, "-m", "local_model_gateway", "start", "--quiet"]
    return words + (["--config", str(config_file)] if config_file else [])


def systemd(
    home: Path, env: Mapping[str, str], config_file: Path | None, drain_s: float
) -> Service:
    """A user unit; `Type=notify`, because being started is not being ready."""
    folder = Path(env["XDG_CONFIG_HOME"]) if env.get("XDG_CONFIG_HOME") else home / ".config"
    variables = paths.config_dir(env) / "env"
    content = f"""\
[Unit]
Description=Local Model Gateway
StartLimitIntervalSec=120
StartLimitBurst=5

[Service]
Type=notify
NotifyAccess=main
ExecStart={" ".join(map(_systemd_word, argv(config_file)))}
EnvironmentFile=-{_systemd_path(variables)}
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
    return Service(
        file=folder / "systemd" / "user" / UNIT,
        content=content,
        install=([*user, "daemon-reload"], [*user, "enable", "--now", UNIT]),
        uninstall=([*user, "disable", "--now", UNIT], [*user, "daemon-reload"]),
        status=[*user, "is-active", UNIT],
        notes=(
            "It starts when you log in. To have it run without a login: loginctl enable-linger",
            f"Variables that the configuration names go into {paths.shown(variables)}, as NAME=value.",
        ),
    )


def launchd(home: Path, env: Mapping[str, str], config_file: Path | None, uid: int) -> Service:
    """A launch agent; `Interactive`, or macOS slows it down as background work."""
    file = home / "Library" / "LaunchAgents" / f"{LABEL}.plist"
    log = paths.state_dir(env) / "logs" / "service.log"
    content = plistlib.dumps(
        {
            "Label": LABEL,
            "ProgramArguments": argv(config_file),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": 10,
            "ProcessType": "Interactive",
            "StandardErrorPath": str(log),
            "StandardOutPath": str(log),
            "SoftResourceLimits": {"NumberOfFiles": 65536},
        }
    ).decode()
    return Service(
        file=file,
        content=content,
        install=(["launchctl", "bootstrap", f"gui/{uid}", str(file)],),
        uninstall=(["launchctl", "bootout", f"gui/{uid}/{LABEL}"], []),
        status=["launchctl", "print", f"gui/{uid}/{LABEL}"],
    )


def windows(env: Mapping[str, str], config_file: Path | None) -> Service:
    """A task at logon of this user alone: one for everybody would need an administrator."""
    program, *words = argv(config_file)
    # The same interpreter without a console window.
    program = (
        program.removesuffix("python.exe") + "pythonw.exe"
        if program.endswith("python.exe")
        else program
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
    down = [sys.executable, "-m", "local_model_gateway", "down"]
    return Service(
        file=file,
        content=content,
        install=(
            ["schtasks", "/Create", *named, "/XML", str(file), "/F"],
            ["schtasks", "/Run", *named],
        ),
        uninstall=(
            down + (["--config", str(config_file)] if config_file else []),
            ["schtasks", "/Delete", *named, "/F"],
            [],
        ),
        status=["schtasks", "/Query", *named],
        encoding="utf-16",  # what schtasks reads without guessing
    )


def _windows_word(word: str) -> str:
    return f'"{word}"' if " " in word else word


def _systemd_word(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if escaped != word or " " in word else word


def _systemd_path(path: Path) -> str:
    return str(path).replace("%", "%%")
