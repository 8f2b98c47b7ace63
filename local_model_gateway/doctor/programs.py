"""Whether a program that a configuration names can be started."""

import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from local_model_gateway.doctor.finding import Finding, Fix, fail, mend


def found(word: str, env: Mapping[str, str]) -> bool:
    """Whether it would be started."""
    named = str(Path(word).expanduser()) if "/" in word else word
    return shutil.which(named, path=env.get("PATH")) is not None


def missing(word: str, env: Mapping[str, str]) -> bool:
    """Whether neither the PATH nor the disk has it."""
    return not found(word, env) and not _written(word)


def not_executable(id_: str, subject: str, name: str, word: str) -> Finding | None:
    """The finding for a file that is there and may not be run; None where it may."""
    if not _written(word) or os.access(Path(word).expanduser(), os.X_OK):
        return None
    file = Path(word).expanduser()
    fix: Fix = mend(f"chmod +x {shlex.quote(str(file))}")
    return fail(id_, subject, f"{name}: {word} is not executable", "It cannot be started.", fix)


def _written(word: str) -> bool:
    """Whether the word is a path to a file, and not a name to be looked for."""
    return "/" in word and Path(word).expanduser().is_file()
