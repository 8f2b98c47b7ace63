"""What an importer hands back: runtimes that were understood, and every key that was not, with its place."""

import re
import secrets
from dataclasses import dataclass, field

Section = dict[str, object]

_OURS = f"${{{secrets.token_hex(16)}-env:"
"""Begins a reference that an importer makes; no file can hold this word."""


def reference(variable: str) -> str:
    """This variable of the gateway's environment; it becomes live in `literal` and nowhere else."""
    return f"{_OURS}{variable}}}"


def is_reference(text: str) -> bool:
    """Whether an importer's own reference begins this."""
    return text.startswith(_OURS)


def readable(text: str) -> str:
    """For a message."""
    return text.replace(_OURS, "${env:")


def literal(text: str) -> str:
    """As it stands: what looks like a reference of ours is none in another program's words."""
    return readable(re.sub(r"\$(?=\{[a-zA-Z_]+:)", "$$", text))


def literal_section(section: Section) -> Section:
    """With every text in it as it stands, but for the references that an importer made."""
    return {key: _literal_value(value) for key, value in section.items()}


def _literal_value(value: object) -> object:
    if isinstance(value, str):
        return literal(value)
    if isinstance(value, list):
        return [_literal_value(one) for one in value]
    if isinstance(value, dict):
        return {literal(str(key)): _literal_value(one) for key, one in value.items()}
    return value


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
        self.left.append(Left(line, readable(key), readable(why)))
