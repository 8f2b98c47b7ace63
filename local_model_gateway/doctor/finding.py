"""What a check says, and what it may look at."""

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_model_gateway import config
from local_model_gateway.errors import ConfigError


class Status(enum.StrEnum):
    """How bad it is."""

    OK = "ok"
    NOTE = "note"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor; the id is stable, and what documentation and programs go by."""

    id: str
    status: Status
    subject: str
    what: str
    why: str = ""
    fix: str | None = None
    """A command that can be run as it stands; None where only a person can decide."""

    @property
    def doc(self) -> str:
        """Where more is said about it."""
        return f"docs/troubleshooting.md#{self.id.lower()}"


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
    config_argument: str | None = None
    quick: bool = False
    ports: tuple[int, ...] = ()
    """Where engines are looked for."""

    @property
    def gateway_pid(self) -> int | None:
        """The process that answers, as it says itself."""
        process = (self.picture or {}).get("gateway", {})
        pid = process.get("pid") if isinstance(process, dict) else None
        return pid if isinstance(pid, int) else None

    def command(self, words: str) -> str:
        """`lmg WORDS`, about the same configuration."""
        return f"lmg {words}" + (
            f" --config {self.config_argument}" if self.config_argument else ""
        )


Check = Callable[[Case], Iterable[Finding]]


def ok(id_: str, subject: str, what: str) -> Finding:
    """All is well."""
    return Finding(id_, Status.OK, subject, what)


def note(id_: str, subject: str, what: str, why: str, fix: str | None = None) -> Finding:
    """Works, and could be better."""
    return Finding(id_, Status.NOTE, subject, what, why, fix)


def fail(id_: str, subject: str, what: str, why: str, fix: str | None = None) -> Finding:
    """Does not work."""
    return Finding(id_, Status.FAIL, subject, what, why, fix)


def skip(id_: str, subject: str, what: str) -> Finding:
    """Could not be looked at."""
    return Finding(id_, Status.SKIP, subject, what)
