"""The files of `conf.d` that commands write: what goes in, what is there already, and how it goes out again.

The user's own files are read and never written. Every file of ours begins with a line that says so.
"""

import argparse
import os
import re
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local_model_gateway import announcement, client, config, config_reader, errors, paths
from local_model_gateway.detection.survey import Choice, sections

MARK = "# Written by `lmg "
BUILT_IN = "tiny"
LEAVING = frozenset({"draining", "stopping", "settling"})
TAKEN_S = 20.0
STILL_WRONG_S = 3.0
"""A gateway says the same of a configuration only once, so there is nothing more to wait for."""
LOOK_S = 0.1

Section = Mapping[str, Any]  # Any: YAML data


@dataclass(frozen=True, slots=True)
class Ours:
    """A file that a command has written."""

    file: Path
    head: str
    """Its first line."""
    sections: Mapping[str, Section]
    untouched: bool
    """Nobody has edited it since."""


@dataclass(frozen=True, slots=True)
class There:
    """A runtime that some file configures already."""

    section: Section
    place: config_reader.Place
    last_line: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be written, and what need not be."""

    target: Path
    text: str
    """The whole file as it would be."""
    new: tuple[str, ...]
    there: Mapping[str, str]
    """Wanted, but configured already: by which name."""
    conflicts: Mapping[str, str] = field(default_factory=dict)
    """Wanted, but the name is somebody else's: whose."""
    replaces: bool = False
    """A file that is not ours, or that was edited, is in the way."""
    gone: tuple[str, ...] = ()
    """Runtimes of the file that is replaced, which are not in the new one."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a running gateway made of a change."""

    running: bool
    taken: bool
    said: str

    def as_json(self) -> dict[str, Any]:  # Any: JSON
        """For programs."""
        return {"running": self.running, "taken": self.taken}


def folder() -> Path:
    """Where these files lie."""
    return paths.config_dir(os.environ) / "conf.d"


def target(name: str) -> Path:
    """The file for a runtime, or for an engine's models, of this name."""
    return folder() / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name).strip('-.') or 'models'}.yaml"


def head(verb: str, undo: str, source: str = "") -> str:
    """The first line of a file of ours."""
    source = "".join(sign if sign.isprintable() else "?" for sign in source)
    return f"{MARK}{verb}`{source and f' from {source}'}. Undo: lmg remove {undo}"


def written(first_line: str, chosen: Sequence[Choice]) -> str:
    """The content of a file of ours."""
    return f"{first_line}\nversion: 1\n\n{sections(chosen)}\n"


def ours() -> list[Ours]:
    """Every file of ours."""
    found = (read(file) for file in sorted(folder().glob("*.yaml")))
    return [one for one in found if one is not None]


def read(file: Path) -> Ours | None:
    """This file, if it is ours; one that is damaged holds nothing that we know of."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    text = content.decode("utf-8", "replace")
    if not text.startswith(MARK):
        return None
    first_line = text.partition("\n")[0]
    try:
        found = _raw(content, file).data.get("runtimes")
    except errors.ConfigError:
        return Ours(file, first_line, {}, untouched=False)
    held = (
        {name: section for name, section in found.items() if isinstance(section, dict)}
        if isinstance(found, dict)
        else {}
    )
    same = text == written(first_line, [Choice(name, section) for name, section in held.items()])
    return Ours(file, first_line, held, untouched=same)


def configured(given: argparse.Namespace) -> dict[str, There]:
    """Every runtime of the configuration, as its file writes it."""
    return _in(config.find(_named(given), os.environ))


def taken_names(given: argparse.Namespace) -> set[str]:
    """Every name and alias that is configured."""
    return {word for word, _ in _names(configured(given))}


def plan(
    given: argparse.Namespace,
    chosen: Sequence[Choice],
    where: Path,
    first_line: str,
    *,
    force: bool = False,
) -> Plan:
    """What has to be written so that these are configured; nothing is written here."""
    _conf_d_counts(given, chosen, where)
    present = read(where)
    in_the_way = where.exists() and (present is None or not present.untouched)
    beside = where.parent == folder()
    existing = configured(given) if beside else _in([where])
    if force or in_the_way:
        existing = {name: one for name, one in existing.items() if one.place.file != where}
    names = dict(_names(existing))
    new, there, conflicts = [], {}, {}
    for choice in chosen:
        same = next(
            (name for name, one in existing.items() if _same(choice, name, one.section)), None
        )
        wanted = [choice.name, *choice.section.get("aliases", ())]  # type: ignore[misc] # a list of ours
        taken = next((names[name] for name in wanted if name in names), None)
        if same is not None:
            there[choice.name] = same
        elif taken is not None:
            conflicts[choice.name] = taken
        else:
            new.append(choice)
    kept = []
    if present is not None and not (force or in_the_way):
        first_line = present.head
        kept = [Choice(name, section) for name, section in present.sections.items()]
    text = written(first_line, [*kept, *new])
    replaces = in_the_way or force
    left = {one.name for one in new}
    made = Plan(
        where,
        text,
        tuple(one.name for one in new),
        there,
        conflicts,
        replaces=replaces,
        gone=tuple(name for name in _in([where]) if name not in left) if replaces else (),
    )
    if new:
        _holds(made, config.find(_named(given), os.environ) if beside else [])
    return made


def write(plan_: Plan, *, force: bool = False) -> Path | None:
    """Put the file there as a whole; what was edited stays beside it when forced, and where is returned."""
    kept = None
    if plan_.replaces and plan_.target.exists():
        if not force:
            raise errors.RefusedByGateway(
                f"{paths.shown(plan_.target)} exists and was edited, or is yours; "
                "--force replaces it and keeps the old one"
            )
        kept = _set_aside(plan_.target)
    _put(plan_.target, plan_.text)
    return kept


def replaced(plan_: Plan, kept: Path | None) -> list[str]:
    """What goes with a file that is replaced, and where that is kept, in words."""
    said = []
    if plan_.new and plan_.gone:
        said.append(f"gone with the old {paths.shown(plan_.target)}: {', '.join(plan_.gone)}")
    if kept is not None:
        said.append(f"the old file is kept as {paths.shown(kept)}")
    return said


def take_out(one: Ours, names: Sequence[str], *, force: bool = False) -> Path | None:
    """Take these runtimes out of a file of ours; one that was edited is kept beside when forced."""
    left = [Choice(name, section) for name, section in one.sections.items() if name not in names]
    kept = None
    if not one.untouched:
        if not force:
            raise errors.RefusedByGateway(
                f"{paths.shown(one.file)} was edited since it was written; take "
                f"{', '.join(names)} out there, or --force does and keeps the old one"
                if names
                else f"{paths.shown(one.file)} is damaged; --force takes it out and keeps it"
            )
        kept = _set_aside(one.file)
    if left:
        _put(one.file, written(one.head, left))
    elif kept is None or one.file.is_symlink():
        one.file.unlink()
    return kept


def taken(
    given: argparse.Namespace, *, added: Sequence[str] = (), removed: Sequence[str] = ()
) -> Taken:
    """Wait until a running gateway has taken the change; it looks by itself, and is told to look now."""
    try:
        gateway = client.find(given)
        status = gateway.get("/status", timeout_s=5)
    except errors.Unreachable:
        return Taken(
            running=False, taken=False, said="No gateway runs; it counts from the next start."
        )
    except errors.GatewayError as error:
        return Taken(
            running=True, taken=False, said=f"A gateway runs, but does not say more: {error}"
        )
    # What is built in comes back when nothing else is there, maybe by the same name.
    gone = set(removed) - (set() if configured(given) else {BUILT_IN})
    _told_to_look(status)
    began, before = time.monotonic(), _problem(status)
    patience_s = TAKEN_S if before is None else STILL_WRONG_S
    while time.monotonic() - began < patience_s and _problem(status) in (before, None):
        states = {runtime["name"]: runtime["state"] for runtime in status["runtimes"]}
        leaving = [name for name in gone if states.get(name) in LEAVING]
        if states.keys() >= set(added) and gone & states.keys() <= set(leaving):
            last = f"; {', '.join(leaving)} ends with its last answer" if leaving else ""
            said = f"The running gateway has taken it{last}."
            return Taken(running=True, taken=True, said=said)
        time.sleep(LOOK_S)
        try:
            status = gateway.get("/status", timeout_s=5)
        except errors.GatewayError as error:
            return Taken(running=False, taken=False, said=f"The gateway went away: {error}")
    files = ", ".join(status.get("config", {}).get("files") or ())
    why = _problem(status) or f"it reads {files or 'no file'}; see `lmg logs`"
    return Taken(running=True, taken=False, said=f"The running gateway has not taken it: {why}")


def _problem(status: Mapping[str, Any]) -> str | None:
    """Why its newest configuration is not in use."""
    found = status.get("config", {}).get("problem")
    return str(found) if found else None


def _told_to_look(status: Mapping[str, Any]) -> None:
    """By a signal, where the gateway is certainly ours: one without a folder to watch looks then too."""
    known = announcement.find(os.environ)
    pid = status.get("gateway", {}).get("pid")
    if known is not None and known.pid == pid and hasattr(signal, "SIGHUP"):
        os.kill(known.pid, signal.SIGHUP)


def _in(files: Sequence[Path]) -> dict[str, There]:
    found: dict[str, There] = {}
    for file in files:
        try:
            document = _raw(file.read_bytes(), file)
        except (OSError, errors.ConfigError):
            continue  # what would be read is checked where something is written
        runtimes = document.data.get("runtimes")
        for name, section in runtimes.items() if isinstance(runtimes, dict) else ():
            if isinstance(section, dict):
                path = ("runtimes", name)
                below = [
                    place.line
                    for at, place in (*document.keys.items(), *document.values.items())
                    if at[:2] == path
                ]
                found[name] = There(section, document.keys[path], max(below))
    return found


def _same(choice: Choice, name: str, section: Section) -> bool:
    """Whether this section serves the same model under the same name; one file may have several uses."""
    return choice.name == name and all(
        _plain(choice.section.get(key)) == _plain(section.get(key))
        for key in ("engine", "model", "url")
    )


def _plain(value: object) -> object:
    text = value if isinstance(value, str) else None
    return str(Path(text).expanduser()) if text and text.startswith("~") else value


def _names(existing: Mapping[str, There]) -> Iterator[tuple[str, str]]:
    for name, one in existing.items():
        place = f"{paths.shown(one.place.file)}:{one.place.line}"
        aliases = one.section.get("aliases")
        for word in (name, *(aliases if isinstance(aliases, list) else ())):
            yield str(word), f"{word!r} is configured already in {place}"


def _conf_d_counts(given: argparse.Namespace, chosen: Sequence[Choice], where: Path) -> None:
    """One file named by hand, or the project's, is the whole configuration: nothing beside it is read."""
    alone = given.config or os.environ.get("LMG_CONFIG") or Path(paths.PROJECT_FILE).exists()
    if alone and where.parent == folder():
        whole = config.find(_named(given), os.environ)[0]
        raise errors.RefusedByGateway(
            f"{paths.shown(whole)} is the whole configuration here, and it is yours; "
            f"put this into it:\n\n{sections(chosen)}"
        )


def _holds(made: Plan, files: Sequence[Path]) -> None:
    """What we write must be what we read, alone and together with everything else."""
    document = config_reader.parse(made.text.encode(), made.target, os.environ)
    config.validate(document)
    there = [config_reader.read(file, os.environ) for file in files if file != made.target]
    config.validate(config_reader.merge([*there, document]))


def _named(given: argparse.Namespace) -> Path | None:
    return Path(given.config) if given.config else None


def _raw(content: bytes, file: Path) -> config_reader.Document:
    """With references as they are written, so that no secret is ever looked at here."""
    return config_reader.parse(content.replace(b"${", b"$${"), file, {})


def _put(where: Path, text: str) -> None:
    where = where.resolve()  # a link stays one
    where.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = where.with_name(f".{where.name}.{os.getpid()}")
    made.write_text(text, encoding="utf-8")
    made.chmod(0o600)
    made.replace(where)


def _set_aside(file: Path) -> Path:
    file = file.resolve()
    kept = paths.free_beside(file)
    file.replace(kept)
    return kept
