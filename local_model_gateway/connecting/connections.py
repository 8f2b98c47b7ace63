"""Sets a client up by its recipe, remembers exactly what was done, and undoes exactly that."""

import dataclasses
import hashlib
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

from local_model_gateway import errors, paths
from local_model_gateway.connecting import merging, whole_files
from local_model_gateway.connecting.client_places import Places
from local_model_gateway.connecting.connection_book import Book, Done
from recipes.front_matter import CommandCheck, CommandStep, EnvStep, FileStep, ManualStep, MergeStep
from recipes.render import Rendered

COMMAND_S = 60.0
NOT_FOUND = 127
"""What a shell exits with, too, where there is no such program."""


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
    pending: bool = True
    """Whether doing it would change anything."""


@dataclass(frozen=True, slots=True)
class Undone:
    """What became of one step: `problem` where it could not be taken back, `note` where it is worth a word."""

    problem: str | None = None
    note: str | None = None
    forget: bool = True
    """False: it can be tried again."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a client's own program says of the connection."""

    command: str
    found: str | None
    """The line that shows it; None: no line does."""
    code: int


def plan(rendered: Rendered, places: Places, known: Sequence[Done]) -> list[Change]:
    """What connecting would change now; raises `RefusedByGateway` where it would overwrite somebody's own."""
    return list(_planned(rendered, places, known))


def apply(client: str, changes: Sequence[Change], book: Book) -> None:
    """Do what is pending, remembering each before it is done: whatever happens in between can be undone."""
    still_wanted = [list(one.run) for one in changes if one.kind == "run" and not one.pending]
    stale = [one for one in book.read(client) if one.kind == "run" and one.run not in still_wanted]
    for change in changes:
        if change.pending and change.kind == "write":
            _write(client, change, book)
        elif change.pending and change.kind == "run":
            _take_back(client, stale, book)
            stale = []
            _run(client, change, book)


def undo(rendered: Rendered, book: Book) -> list[Undone]:
    """Take everything back, last first; what can be tried again stays remembered."""
    client, left, said = rendered.recipe.id, list[Done](), []
    done = book.read(client)
    while done:
        step = done.pop()
        try:
            outcome = _undone(step, rendered)
        except (errors.RefusedByGateway, errors.CommandFailed) as error:
            outcome = Undone(str(error), forget=False)  # nothing is known of it, so nothing is gone
        if not outcome.forget:
            left.insert(0, step)
        said.append(outcome)
        book.write(client, [*done, *left])
    return said


def leftovers(rendered: Rendered, places: Places) -> list[str]:
    """What a person would take out by hand where nothing is remembered, and yet something of ours is there."""
    found = []
    for step in rendered.steps:
        if isinstance(step, FileStep) and (path := places.path(step.path)).exists():
            found.append(f"delete {paths.shown(path)}")
        elif isinstance(step, MergeStep):
            path = places.path(step.path)
            keys = merging.held(whole_files.text(path) or "", step.format, step.keys)
            if keys:
                named = " and ".join(".".join(key) for key in keys)
                found.append(f"take {named} out of {paths.shown(path)}")
    return found


def reports(rendered: Rendered) -> list[Report]:
    """What the recipe's own checks say."""
    return [_asked(check) for check in rendered.checks if isinstance(check, CommandCheck)]


def command(words: Sequence[str], limit_s: float = COMMAND_S) -> tuple[int, str]:
    """Run a client's own program; its exit code and everything it said."""

    async def once() -> tuple[int, str]:
        with anyio.move_on_after(limit_s):
            finished = await anyio.run_process(list(words), check=False, input=b"")
            said = (finished.stdout + finished.stderr).decode(errors="replace")
            return finished.returncode, said.strip()
        return 124, f"no end within {limit_s:.0f} s"

    try:
        return anyio.run(once)
    except OSError as error:
        return NOT_FOUND, f"{words[0]}: {error.strerror}"


def _planned(rendered: Rendered, places: Places, known: Sequence[Done]) -> Iterator[Change]:
    for step in rendered.steps:
        match step:
            case FileStep():
                yield _own_file(step, rendered, places, known)
            case MergeStep():
                yield _merged(step, rendered, places)
            case CommandStep():
                changes = places.path(step.changes) if step.changes else None
                in_force = any(one.finished and one.run == list(step.run) for one in known)
                yield Change(
                    "run",
                    shlex.join(step.run),
                    changes,
                    run=step.run,
                    undo=step.undo,
                    pending=not in_force,
                )
            case ManualStep():
                yield Change("manual", step.text, pending=False)
            case EnvStep():
                continue


def _own_file(step: FileStep, rendered: Rendered, places: Places, known: Sequence[Done]) -> Change:
    path = places.path(step.path)
    before, after = whole_files.text(path), rendered.blocks[step.block]
    ours = any(one.path == str(path) for one in known)
    if before not in (None, after) and not ours:
        raise errors.RefusedByGateway(
            f"{paths.shown(path)} exists and is not ours; move it away first"
        )
    return _writing(Change("write", paths.shown(path), path, before, after))


def _merged(step: MergeStep, rendered: Rendered, places: Places) -> Change:
    path = places.path(step.path)
    before, block = whole_files.text(path), rendered.blocks[step.block]
    try:
        after = merging.merge(before or "", step.format, step.keys, block)
    except merging.CannotMerge as error:
        said = f"{paths.shown(path)} is left alone ({error}). Add this to it:\n{block}"
        return Change("manual", said, pending=False)
    change = Change("write", paths.shown(path), path, before, after)
    return _writing(dataclasses.replace(change, format=step.format, keys=step.keys))


def _writing(change: Change) -> Change:
    """With whether it is needed; raises where it is and cannot be."""
    assert change.path is not None
    if change.before == change.after:
        return dataclasses.replace(change, pending=False)
    _allowed(change.path)
    return change


def _allowed(path: Path) -> None:
    """Raises where something forbids replacing this file."""
    if (problem := whole_files.why_not(path)) is not None:
        raise errors.RefusedByGateway(problem)


def _write(client: str, change: Change, book: Book) -> None:
    assert change.path is not None
    if whole_files.text(change.path) != change.before:
        raise errors.RefusedByGateway(
            f"{change.text} was changed by somebody else just now, so it was left alone; "
            f"look again: lmg connect {client}"
        )
    done = book.read(client)
    earlier = next((one for one in done if one.path == str(change.path)), None)
    backup = book.keep(client, change.path)
    content = change.after.encode()
    sha: str | None = hashlib.sha256(content).hexdigest()
    made = [str(one) for one in whole_files.missing_folders(change.path)]
    if earlier is not None:
        # Connecting again, with another model perhaps, must still undo to what was there at first,
        # but not at the cost of what its owner wrote in between.
        untouched = whole_files.digest(change.path) in (earlier.after_sha256, None)
        backup, made = earlier.backup, earlier.made
        sha = sha if untouched or change.format is None else None
    step = Done(
        "write",
        str(change.path),
        backup,
        sha,
        change.format,
        [list(key) for key in change.keys],
        made=made,
    )
    book.write(client, [*(one for one in done if one is not earlier), step])
    whole_files.replace(change.path, content)


def _take_back(client: str, stale: Sequence[Done], book: Book) -> None:
    """The same recipe with other values: its old entry goes before the new one comes."""
    for step in reversed(stale):
        code, _ = command(step.undo)
        if code == 0:
            book.write(client, [one for one in book.read(client) if one != step])
        # Otherwise it may be there still, and nobody else remembers how it is taken out.


def _run(client: str, change: Change, book: Book) -> None:
    done = book.read(client)
    path = str(change.path) if change.path else None
    backup = book.keep(client, change.path) if change.path else None
    step = Done("run", path, backup, run=list(change.run), undo=list(change.undo), finished=False)
    book.write(client, [*done, step])
    code, said = command(change.run)
    if code != 0:
        book.write(client, done)
        raise errors.CommandFailed(f"`{change.text}` failed: {said or code}")
    after = whole_files.digest(change.path) if change.path else None
    step = dataclasses.replace(step, after_sha256=after, finished=True)
    book.write(client, [*done, step])


def _undone(step: Done, rendered: Rendered) -> Undone:
    path = Path(step.path) if step.path else None
    now, old = (whole_files.digest(path) if path else None), _kept(step)
    copy_lost = step.backup is not None and old is None
    whole = path is not None and now is not None and now == step.after_sha256 != old
    if path is not None and whole and not copy_lost:
        _allowed(path)
        _restore(path, step.backup)
        return _cleared(step)
    if step.kind == "run":
        return _run_back(step, rendered)
    if path is None or now is None or now == old:
        return _cleared(step)  # it never came to be, or its owner took it back
    if step.format is None:
        said = "was changed since, so it stays; delete it if you do not need it"
        return Undone(f"{paths.shown(path)} {said}")
    return _taken_out(step, path)


def _taken_out(step: Done, path: Path) -> Undone:
    """Only our keys, from a file that its owner has changed since."""
    assert step.format is not None
    shown, before, now = paths.shown(path), "", whole_files.text(path) or ""
    keys = ", ".join(".".join(key) for key in step.keys)
    if step.backup is not None:
        copy = whole_files.text(Path(step.backup))
        if copy is None and merging.held(now, step.format, step.keys):
            lost = f"{paths.shown(Path(step.backup))} is gone, which showed how it was before"
            return Undone(f"{shown} is left alone ({lost}); take {keys} out by hand", forget=False)
        before = copy or ""
    try:
        text = merging.without(now, step.format, step.keys, before)
    except merging.CannotMerge as error:
        problem = f"{shown} was changed since ({error}); take {keys} out by hand"
        return Undone(problem, forget=False)
    _allowed(path)
    whole_files.replace(path, text.encode())
    kept = f"; as it was before: {paths.shown(Path(step.backup))}" if step.backup and before else ""
    return Undone(note=f"{shown} was changed since, so only our part was taken out{kept}")


def _run_back(step: Done, rendered: Rendered) -> Undone:
    code, said = command(step.undo)
    if code == 0:
        return Undone()
    line = f"`{shlex.join(step.undo)}` failed: {said or code}"
    gone = [one for one in reports(rendered) if one.found is None and one.code != NOT_FOUND]
    if gone or not step.finished:
        return Undone(note=f"it was gone already ({line})")
    return Undone(line, forget=False)


def _cleared(step: Done) -> Undone:
    """Folders that only we needed go too: clients are recognised by them."""
    for folder in reversed(step.made):
        try:
            Path(folder).rmdir()
        except OSError:
            break  # somebody else lives there by now
    return Undone()


def _kept(step: Done) -> str | None:
    return whole_files.digest(Path(step.backup)) if step.backup else None


def _restore(path: Path, backup: str | None) -> None:
    content = whole_files.read(Path(backup)) if backup is not None else None
    if backup is None:
        whole_files.remove(path)
    elif content is None:
        raise errors.CommandFailed(f"{paths.shown(Path(backup))} is gone; nothing was changed")
    else:
        whole_files.replace(path, content)


def _asked(check: CommandCheck) -> Report:
    code, said = command(check.run)
    lines = [" ".join(line.split()) for line in said.splitlines() if check.expect in line]
    found = lines[0][:100] if lines and code == 0 else None
    return Report(shlex.join(check.run), found, code)
