"""What was done to each client, and how its files were before: one record each, in the state directory."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from local_model_gateway import errors, paths
from local_model_gateway.connecting import merging, whole_files

KEPT = 5
"""Old copies of one file; the one that disconnecting needs is not counted and never dropped."""


@dataclass(frozen=True, slots=True)
class Done:
    """One step that was done, with what undoing it takes."""

    kind: str
    """`write` or `run`."""
    path: str | None = None
    backup: str | None = None
    """Where the old content is kept; None: there was none."""
    after_sha256: str | None = None
    """The content that we left; None: its owner had a hand in it, so it is never replaced as a whole."""
    format: merging.Format | None = None
    keys: list[list[str]] = field(default_factory=list)
    run: list[str] = field(default_factory=list)
    undo: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    """Folders that were not there before, outermost first."""
    finished: bool = True
    """False while a program runs: nobody knows yet whether it did its part."""


class Book:
    """The records, and the copies of files beside them."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / "connections"

    def read(self, client: str) -> list[Done]:
        """The steps that are in force for this client, oldest first."""
        file = self._folder / f"{client}.json"
        content = whole_files.read(file)
        if content is None:
            return []
        try:
            return [Done(**row) for row in json.loads(content)]
        except (ValueError, TypeError):
            raise errors.CommandFailed(
                f"{paths.shown(file)} is damaged; the copies beside it show how files were before"
            ) from None

    def write(self, client: str, done: Sequence[Done]) -> None:
        """Remember them; none at all forgets the client."""
        file = self._folder / f"{client}.json"
        if not done:
            file.unlink(missing_ok=True)
            return
        self._private()
        whole_files.replace(file, json.dumps([asdict(one) for one in done], indent=2).encode())

    def keep(self, client: str, path: Path) -> str | None:
        """Put the file's present content aside; the name it is kept under."""
        content = whole_files.read(path)
        if content is None:
            return None
        self._private()
        kept = self._copies(client, path)
        newest = int(kept[-1].suffix[1:]) if kept else 0
        in_force = {one.backup for one in self.read(client)}
        for old in kept[: len(kept) - (KEPT - 1)] if len(kept) >= KEPT else []:
            if str(old) not in in_force:
                old.unlink()
        copy = self._folder / f"{client}.{path.name}.{newest + 1}"
        whole_files.replace(copy, content)
        return str(copy)

    def _copies(self, client: str, path: Path) -> list[Path]:
        """Oldest first."""
        stem = f"{client}.{path.name}."
        found = [
            one
            for one in (self._folder.iterdir() if self._folder.exists() else ())
            if one.name.startswith(stem) and one.name.removeprefix(stem).isdigit()
        ]
        return sorted(found, key=lambda one: int(one.suffix[1:]))

    def _private(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
