"""`${env:NAME}`, `${env:NAME:-default}` and `${file:PATH}` in a setting's text; what they bring in is secret."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MAX_SECRET_FILE_BYTES = 64 * 1024
SHORTEST_SECRET = 6  # anything shorter would blank out ordinary words in every log line

_REFERENCE = re.compile(r"\$\$\{|\$\{([a-zA-Z_]+):([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Variables that say where something is, or who we are, and which would blank out every path if hidden.
_PLACES = re.compile(
    r"(HOME|USER|LOGNAME|PWD|HOSTNAME|SHELL|LANG|XDG_\w+|\w*_(HOME|DIR|PATH|PORT|HOST))"
)


class CannotFill(Exception):
    """The reference leads nowhere; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Filled:
    """The text with its references replaced."""

    text: str
    changed: bool
    secrets: frozenset[str]


def fill(text: str, env: Mapping[str, str], folder: Path) -> Filled:
    """Replace the references; `$${` stands for `${`, and `${word}` without a colon is left for others.

    What is brought in is not looked at again: a secret that holds `${file:…}` stays as it is.
    """
    if "${" not in text:
        return Filled(text, False, frozenset())
    secrets: set[str] = set()
    references = 0

    def replace(match: re.Match[str]) -> str:
        nonlocal references
        if match.group(1) is None:
            return "${"
        references += 1
        value, secret = _resolve(match.group(1), match.group(2), env, folder)
        if secret and len(value) >= SHORTEST_SECRET:
            secrets.add(value)
        return value

    filled = _REFERENCE.sub(replace, text)
    return Filled(filled, references > 0, frozenset(secrets))


def _resolve(source: str, rest: str, env: Mapping[str, str], folder: Path) -> tuple[str, bool]:
    match source:
        case "env":
            return _from_environment(rest, env)
        case "file":
            return _from_file(rest, folder), True
        case _:
            near = difflib.get_close_matches(source, ["env", "file"], n=1)
            hint = f", did you mean '${{{near[0]}:{rest}}}'?" if near else "; use env: or file:"
            raise CannotFill(f"'${{{source}:{rest}}}' names no known source{hint}")


def _from_environment(rest: str, env: Mapping[str, str]) -> tuple[str, bool]:
    name, has_default, default = rest.partition(":-")
    if not _NAME.fullmatch(name):
        raise CannotFill(f"'${{env:{rest}}}' holds no variable name; write ${{env:NAME}}")
    if env.get(name):
        return env[name], _PLACES.fullmatch(name) is None
    if has_default:
        return default, False
    raise CannotFill(
        f"the environment variable {name} is not set; set it, or write ${{env:{name}:-default}}"
    )


def _from_file(rest: str, folder: Path) -> str:
    path = folder / Path(rest).expanduser()
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_SECRET_FILE_BYTES + 1)
        if len(content) > MAX_SECRET_FILE_BYTES:
            raise CannotFill(f"the file {rest} is larger than 64 KiB; name the right one")
        return content.decode().rstrip("\r\n")
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        raise CannotFill(f"the file {rest} cannot be read ({reason}); check the path") from None
    except UnicodeDecodeError:
        raise CannotFill(f"the file {rest} is not text; name the right one") from None
