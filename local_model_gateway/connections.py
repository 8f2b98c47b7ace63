"""Sets a client up by its recipe, remembers exactly what was done, and undoes exactly that."""

import hashlib
import json
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import anyio

from local_model_gateway import errors, merging, paths
from recipes.front_matter import CommandCheck, CommandStep, EnvStep, FileStep, ManualStep, MergeStep
from recipes.render import Rendered

COMMAND_S = 60.0


@dataclass(frozen=True, slots=True)
class Change:
    """One step, worked out but not done: a file's new content, a command, or something for a person."""

    kind: str
    """`write`, `run` or `manual`."""
    text: str
    """For people: the path, the command line, the instruction."""
    path: Path | None = None
    before: str | None = None
    """None: the file is not there."""
    after: str = ""
    run: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()
    format: merging.Format | None = None
    keys: tuple[tuple[str, ...], ...] = ()

    @property
    def needed(self) -> bool:
        """Whether doing it would change anything."""
        return self.kind != "write" or self.before != self.after


@dataclass(frozen=True, slots=True)
class Done:
    """One step that was done, with what undoing it takes."""

    kind: str
    path: str | None = None
    backup: str | None = None
    """Where the old content is kept; None: there was none."""
    after_sha256: str | None = None
    format: merging.Format | None = None
    keys: list[list[str]] = field(default_factory=list)
    run: list[str] = field(default_factory=list)
    undo: list[str] = field(default_factory=list)


class Book:
    """What was done for each client: one file each, in the state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / "connections"

    def read(self, client: str) -> list[Done]:
        """The steps that are in force for this client, oldest first."""
        try:
            rows = json.loads((self._folder / f"{client}.json").read_bytes())
        except FileNotFoundError:
            return []
        return [Done(**row) for row in rows]

    def write(self, client: str, done: Sequence[Done]) -> None:
        """Remember them; none at all forgets the client."""
        file = self._folder / f"{client}.json"
        if not done:
            file.unlink(missing_ok=True)
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace(file, json.dumps([asdict(one) for one in done], indent=2).encode())

    def keep(self, client: str, path: Path) -> str | None:
        """Put the file's present content aside; the name it is kept under."""
        if not path.exists():
            return None
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = 1
        while (kept := self._folder / f"{client}.{path.name}.{number}").exists():
            number += 1
        replace(kept, path.read_bytes())
        return str(kept)


def plan(rendered: Rendered, home: Path, known: Sequence[Done]) -> list[Change]:
    """What connecting would change now; raises `RefusedByGateway` where it would overwrite somebody's own."""
    return list(_planned(rendered, home, known))


def apply(client: str, changes: Sequence[Change], book: Book) -> list[Done]:
    """Do them, remembering each before the next; what is in force already is left alone."""
    done = book.read(client)
    for change in changes:
        if change.kind == "write" and change.needed:
            done = _written(client, change, book, done)
        elif change.kind == "run" and not any(one.run == list(change.run) for one in done):
            done = _run(client, change, book, done)
        book.write(client, done)
    return done


def undo(client: str, book: Book) -> list[str]:
    """Take everything back, last first; what could not be is said and stays remembered."""
    done, left = book.read(client), []
    while done:
        step = done.pop()
        problem = _undone(step)
        if problem is not None:
            left.append(problem)
        elif step.backup is not None:
            Path(step.backup).unlink(missing_ok=True)
        book.write(client, done)
    return left


def verify(rendered: Rendered) -> list[str]:
    """What the recipe's own checks do not find; empty when the client says that it is connected."""
    missing = []
    for check in rendered.recipe.front.verify:
        if isinstance(check, CommandCheck):
            words = [word.replace("${name}", "lmg") for word in check.run]
            code, said = command(words)
            if code != 0 or check.expect.replace("${name}", "lmg") not in said:
                missing.append(f"`{shlex.join(words)}` does not show it yet")
    return missing


def command(words: Sequence[str]) -> tuple[int, str]:
    """Run a client's own program; its exit code and everything it said."""

    async def once() -> tuple[int, str]:
        with anyio.move_on_after(COMMAND_S):
            finished = await anyio.run_process(list(words), check=False)
            said = (finished.stdout + finished.stderr).decode(errors="replace")
            return finished.returncode, said.strip()
        return 124, f"no end within {COMMAND_S:.0f} s"

    try:
        return anyio.run(once)
    except OSError as error:
        return 127, f"{words[0]}: {error.strerror}"


def replace(path: Path, content: bytes) -> None:
    """The file as a whole, or not at all; its mode and, through a link, its place stay."""
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
    made = target.with_name(f".{target.name}.lmg-{os.getpid()}")
    with made.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    made.chmod(mode)
    made.replace(target)


def _planned(rendered: Rendered, home: Path, known: Sequence[Done]) -> Iterator[Change]:
    for step in rendered.steps:
        match step:
            case FileStep():
                path = _expanded(step.path, home)
                before = _text(path)
                after = rendered.blocks[step.block]
                ours = any(one.path == str(path) for one in known)
                if before not in (None, after) and not ours:
                    raise errors.RefusedByGateway(
                        f"{paths.shown(path)} exists and is not ours; move it away first"
                    )
                yield Change("write", paths.shown(path), path, before, after)
            case MergeStep():
                path = _expanded(step.path, home)
                before = _text(path)
                block = rendered.blocks[step.block]
                try:
                    after = merging.merge(before or "", step.format, step.keys, block)
                except merging.CannotMerge as error:
                    said = f"{paths.shown(path)} is left alone ({error}). Add this to it:\n{block}"
                    yield Change("manual", said)
                    continue
                yield Change(
                    "write",
                    paths.shown(path),
                    path,
                    before,
                    after,
                    format=step.format,
                    keys=step.keys,
                )
            case CommandStep():
                changes = _expanded(step.changes, home) if step.changes else None
                yield Change("run", shlex.join(step.run), changes, run=step.run, undo=step.undo)
            case ManualStep():
                yield Change("manual", step.text)
            case EnvStep():
                continue


def _written(client: str, change: Change, book: Book, done: list[Done]) -> list[Done]:
    assert change.path is not None
    earlier = next((one for one in done if one.path == str(change.path)), None)
    # Connecting again, with another model perhaps, must still undo to what was there at first.
    backup = earlier.backup if earlier else book.keep(client, change.path)
    content = change.after.encode()
    replace(change.path, content)
    made = Done(
        "write",
        str(change.path),
        backup,
        hashlib.sha256(content).hexdigest(),
        change.format,
        [list(key) for key in change.keys],
    )
    return [*(one for one in done if one is not earlier), made]


def _run(client: str, change: Change, book: Book, done: list[Done]) -> list[Done]:
    for earlier in [one for one in done if one.kind == "run"]:
        # The same recipe with other values: its old entry goes before the new one comes.
        command(earlier.undo)
        done = [one for one in done if one is not earlier]
    backup = book.keep(client, change.path) if change.path else None
    code, said = command(change.run)
    if code != 0:
        raise errors.CommandFailed(f"`{change.text}` failed: {said or code}")
    path = str(change.path) if change.path else None
    after = _digest(change.path) if change.path else None
    run, undo_ = list(change.run), list(change.undo)
    return [*done, Done("run", path, backup, after, run=run, undo=undo_)]


def _undone(step: Done) -> str | None:
    """Why it could not be undone, if so."""
    path = Path(step.path) if step.path else None
    if path is not None and step.after_sha256 is not None and _digest(path) == step.after_sha256:
        _restore(path, step.backup)
        return None
    if step.kind == "run":
        code, said = command(step.undo)
        return None if code == 0 else f"`{shlex.join(step.undo)}` failed: {said or code}"
    if path is None or not path.exists():
        return None
    if step.format is None:
        return f"{paths.shown(path)} was changed since; it is left as it is"
    try:
        text = merging.without(path.read_text(encoding="utf-8"), step.format, step.keys)
    except merging.CannotMerge as error:
        keys = ", ".join(".".join(key) for key in step.keys)
        return f"{paths.shown(path)} was changed since ({error}); take {keys} out by hand"
    replace(path, text.encode())
    return None


def _restore(path: Path, backup: str | None) -> None:
    if backup is None:
        path.unlink()
    else:
        replace(path, Path(backup).read_bytes())


def _digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise errors.RefusedByGateway(f"{paths.shown(path)} cannot be read ({error})") from None


def _expanded(path: str, home: Path) -> Path:
    return home / path.removeprefix("~/") if path.startswith("~/") else Path(path)
