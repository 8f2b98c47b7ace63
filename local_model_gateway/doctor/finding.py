"""What a check says, and what it may look at."""

import enum
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local_model_gateway import announcement, config
from local_model_gateway.detection import processes
from local_model_gateway.doctor import catalogue
from local_model_gateway.errors import ConfigError


class Status(enum.StrEnum):
    """How bad it is."""

    OK = "ok"
    NOTE = "note"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Fix:
    """One command line, to be run as it stands."""

    command: str
    mends: bool = True
    """Whether running it makes the finding go away; if not, it shows what a person has to decide."""


def mend(command: str) -> Fix:
    """A command after which the finding is gone."""
    return Fix(command)


def show(command: str) -> Fix:
    """A command that shows the way, where no command can go it."""
    return Fix(command, mends=False)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor; the id is stable, and what documentation and programs go by."""

    id: str
    status: Status
    subject: str
    what: str
    why: str = ""
    fix: Fix | None = None

    @property
    def doc(self) -> str:
        """Where more is said about it."""
        return f"docs/troubleshooting.md#{self.id.lower()}"

    @property
    def needs_consent(self) -> bool:
        """Whether somebody has to be asked before the fix is run."""
        return self.fix is not None and self.fix.mends and self.id in catalogue.CONSENT

    def as_json(self) -> dict[str, Any]:  # Any: JSON
        """For programs."""
        return {
            "id": self.id,
            "status": str(self.status),
            "subject": self.subject,
            "what": self.what,
            "why": self.why,
            "fix": None if self.fix is None else self.fix.command,
            "fix_mends": self.fix is not None and self.fix.mends,
            "needs_consent": self.needs_consent,
            "doc": self.doc,
        }


@dataclass(frozen=True, slots=True)
class Case:
    """This machine, its configuration and its gateway, as far as they could be seen."""

    env: Mapping[str, str]
    home: Path
    settings: config.Config | None
    config_error: ConfigError | None
    state_dir: Path
    picture: Mapping[str, Any] | None  # Any: JSON of /status
    """None where no gateway answers."""
    gateway_error: str | None = None
    announced: announcement.Announcement | None = None
    """The note of a gateway that keeps its state where ours is kept."""
    config_argument: str | None = None
    url_argument: str | None = None
    quick: bool = False
    ports: tuple[int, ...] = ()
    """Where engines are looked for; none: the usual ones."""
    root: Path = Path("/")
    """Where the kernel's own folders are."""
    table: processes.Table = field(default_factory=processes.Table)

    @property
    def gateway(self) -> Mapping[str, Any]:  # Any: JSON
        """What the gateway that answers says of its process."""
        said = (self.picture or {}).get("gateway")
        return said if isinstance(said, dict) else {}

    @property
    def gateway_pid(self) -> int | None:
        """The process that answers, as it says itself."""
        pid = self.gateway.get("pid")
        return pid if isinstance(pid, int) else None

    @property
    def family(self) -> frozenset[int]:
        """The gateway's process and all that it started."""
        pid = self.gateway_pid or (self.announced.pid if self.announced else None)
        return self.table.family(pid)

    @property
    def runtimes(self) -> list[Mapping[str, Any]]:  # Any: JSON
        """The rows of the running gateway."""
        rows = (self.picture or {}).get("runtimes")
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []

    def command(self, words: str) -> str:
        """`lmg WORDS`, about the same configuration and the same gateway."""
        given = (("--config", self.config_argument), ("--url", self.url_argument))
        return f"lmg {words}" + "".join(
            f" {option} {shlex.quote(value)}" for option, value in given if value
        )

    @property
    def restart(self) -> Fix:
        """The gateway ended, and started again from what is on the disk."""
        return self._here(f"{self.command('down')} && {self.command('up')}")

    def start(self, options: str = "") -> Fix:
        """The gateway started."""
        return self._here(self.command(f"up{options}"))

    def _here(self, command: str) -> Fix:
        # What has an address may be another machine's: nothing that is started here would be it.
        return show(self.command("status")) if self.url_argument else mend(command)


Check = Callable[[Case], Iterable[Finding]]


def ok(id_: str, subject: str, what: str) -> Finding:
    """All is well."""
    return Finding(id_, Status.OK, subject, what)


def note(id_: str, subject: str, what: str, why: str, fix: Fix | None = None) -> Finding:
    """Works, and could be better."""
    return Finding(id_, Status.NOTE, subject, what, why, fix)


def fail(id_: str, subject: str, what: str, why: str, fix: Fix | None = None) -> Finding:
    """Does not work."""
    return Finding(id_, Status.FAIL, subject, what, why, fix)


def skip(id_: str, subject: str, what: str) -> Finding:
    """Could not be looked at."""
    return Finding(id_, Status.SKIP, subject, what)
