"""What an importer hands back: runtimes that were understood, and every key that was not, with its place."""

from dataclasses import dataclass, field

Section = dict[str, object]


class NotCarried(Exception):
    """This one needs a person; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Left:
    """One thing that could not be carried over."""

    line: int | None
    """Where it stands in the file."""
    key: str
    why: str
    """And what to do about it."""


@dataclass(slots=True)
class Carried:
    """The runtimes that were understood, by the name that clients use, and the rest in words."""

    runtimes: dict[str, Section] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    """Where each runtime stands in the file."""
    left: list[Left] = field(default_factory=list)

    def leave(self, line: int | None, key: str, why: str) -> None:
        """Note that this was not carried over."""
        self.left.append(Left(line, key, why))
