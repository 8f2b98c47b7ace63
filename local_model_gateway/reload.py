"""A changed configuration, noticed and validated as a whole before anybody acts on it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio
import watchfiles
from anyio import to_thread

from local_model_gateway import config, paths
from local_model_gateway.errors import ConfigError

DEBOUNCE_MS = 500
"""An editor writes a file in several steps; what is there half a second later is meant."""
STOP_MS = 300
"""How often the watching thread looks whether it should end; until then nothing else of the gateway can."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What another configuration would change."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    """Runtimes with other settings: they drain before they start anew. All others stay untouched."""
    sections: tuple[str, ...]
    """Everything else that differs, by the names of the sections."""

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.sections)


def difference(running: config.Config, wanted: config.Config) -> Difference:
    """By meaning, not by text: comments, order and the file that says it make no difference."""
    before, after = running.runtimes, wanted.runtimes
    return Difference(
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        changed=tuple(name for name in after if name in before and after[name] != before[name]),
        sections=tuple(
            name
            for name in config.Config.model_fields
            if name != "runtimes" and getattr(running, name) != getattr(wanted, name)
        ),
    )


@dataclass(frozen=True, slots=True)
class Reloaded:
    """A configuration that holds and differs from the one before."""

    wanted: config.Config
    difference: Difference


@dataclass(frozen=True, slots=True)
class Refused:
    """A configuration that does not hold; the running one stays."""

    error: ConfigError


Outcome = Reloaded | Refused


class Reloader:
    """Looks again whenever a file changes, or when asked to."""

    def __init__(self, running: config.Config, file: Path | None, env: Mapping[str, str]) -> None:
        self._running, self._file, self._env = running, file, env
        self._changed = anyio.Event()
        self._said: str | None = None

    def ask(self) -> None:
        """Look now, as at a SIGHUP."""
        self._changed.set()

    async def run(self, act: Callable[[Outcome], Awaitable[None]]) -> None:
        """Have `act` called with each change, one at a time, until cancelled; a complaint comes once."""
        places = await to_thread.run_sync(self._places)
        async with anyio.create_task_group() as tasks:
            for folder, deep in places.items():
                tasks.start_soon(self._watch, folder, deep)
            while True:
                await self._changed.wait()
                # Before looking: what changes while we look makes us look again.
                self._changed = anyio.Event()
                outcome = await to_thread.run_sync(self._look)
                if outcome is not None:
                    await act(outcome)

    async def _watch(self, folder: Path, deep: bool) -> None:
        async for _ in watchfiles.awatch(
            folder,
            watch_filter=_is_yaml,
            debounce=DEBOUNCE_MS,
            recursive=deep,
            rust_timeout=STOP_MS,
        ):
            self._changed.set()

    def _look(self) -> Outcome | None:
        try:
            wanted = config.load(self._file, self._env)
        except ConfigError as error:
            known, self._said = self._said, str(error)
            return Refused(error) if known != self._said else None
        self._said = None
        changes = difference(self._running, wanted)
        if not changes:
            return None
        self._running = wanted
        return Reloaded(wanted, changes)

    def _places(self) -> dict[Path, bool]:
        """Folders, not files: editors and tools replace a file rather than write into it."""
        found = {file.parent: False for file in config.find(self._file, self._env)}
        folder = paths.config_dir(self._env)
        if self._file is None and not self._env.get("LMG_CONFIG"):
            try:
                # What is not there cannot be watched, and the first configuration may come while this runs.
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError:
                return found
            found = {place: deep for place, deep in found.items() if folder not in place.parents}
            found[folder] = True  # `conf.d` may come later
        return found


def _is_yaml(_: watchfiles.Change, path: str) -> bool:
    return path.endswith((".yaml", ".yml"))
