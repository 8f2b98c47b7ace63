"""Checks of the configuration: whether it holds, and whether its secrets and its address are kept safe."""

import re
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from local_model_gateway import exposure, paths, phrases
from local_model_gateway.doctor.finding import Case, Finding, fail, mend, note, ok, show
from local_model_gateway.errors import ConfigError, Problem

_OTHERS_MAY_READ = stat.S_IRGRP | stat.S_IROTH
_FILE = re.compile(r"\$\{file:([^}]+)\}")
_WRITABLE = "can be changed by other users"
_EXPOSED = "can be reached from other machines"


def configuration(case: Case) -> Iterator[Finding]:
    """Whether it holds."""
    if case.config_error is not None:
        yield _wrong(case, case.config_error)
        return
    assert case.settings is not None
    if not case.settings.files:
        yield note(
            "CONFIG-NONE",
            "Config",
            "none: the built-in model is served",
            "It says one sentence, whatever it is asked.",
            mend("lmg init --user"),
        )
        return
    files = ", ".join(paths.shown(file) for file in case.settings.files)
    models = phrases.count(len(case.settings.runtimes), "model")
    yield ok("CONFIG", "Config", f"{files}, {models}")


def keys(case: Case) -> Iterator[Finding]:
    """Whether files with secrets in them are this user's alone."""
    if case.settings is None:
        return
    for file, holds in _secret_files(case).items():
        try:
            mode = file.stat().st_mode
        except OSError:
            continue
        if mode & _OTHERS_MAY_READ:
            yield fail(
                "KEY-FILE-OPEN",
                "Keys",
                f"{paths.shown(file)} can be read by other users ({holds})",
                "Whoever reads it can use what it protects.",
                mend(f"chmod 600 {shlex.quote(str(file))}"),
            )


def address(case: Case) -> Iterator[Finding]:
    """Whether prompts leave this machine in the clear; without keys it is no configuration at all."""
    if case.settings is not None and not exposure.is_loopback(case.settings.server.host):
        yield note(
            "BIND-OPEN",
            "Keys",
            f"{case.settings.server.host} is reachable from other machines, without TLS",
            "Keys and prompts cross the network in the clear; put a reverse proxy with TLS in front.",
            show("lmg recipes list"),
        )


def _wrong(case: Case, error: ConfigError) -> Finding:
    problem: Problem = error.problems[0]
    if _WRITABLE in problem.message and problem.file is not None:
        return fail(
            "CONFIG-OPEN",
            "Config",
            f"{paths.shown(problem.file)} {problem.message}",
            "It names the programs that the gateway starts, so it is not read.",
            mend(f"chmod go-w {shlex.quote(str(problem.file))}"),
        )
    id_ = "BIND-UNPROTECTED" if _EXPOSED in problem.message else "CONFIG-INVALID"
    return fail(
        id_,
        "Config",
        str(error),
        "Nothing starts with a configuration that does not hold.",
        show(case.command("config validate")),
    )


def _secret_files(case: Case) -> dict[Path, str]:
    """File → what it holds: those that are referred to, and configurations with a key written out."""
    assert case.settings is not None
    found: dict[Path, str] = {}
    for path, written in case.settings.written.items():
        named = ".".join(map(str, path))
        for reference in _FILE.findall(written):
            for folder in {file.parent for file in case.settings.files}:
                file = folder / Path(reference).expanduser()
                if file.exists():
                    found.setdefault(file, named)
    plain = [name for name in case.settings.server.keys if not _referred(case, name)]
    if plain:
        for file in case.settings.files:
            found.setdefault(file, f"server.keys.{plain[0]}")
    return found


def _referred(case: Case, key: str) -> bool:
    assert case.settings is not None
    return ("server", "keys", key) in case.settings.written
