"""Where a client keeps its files: in the home, unless its user has moved them by a variable of that client."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Places:
    """One client's folders, for this user."""

    home: Path
    moved: Mapping[str, str] = field(default_factory=dict)
    """Variables that this client reads, and the folder that each takes the place of."""
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def path(self, written: str) -> Path:
        """A path of the recipe; `~` is the home."""
        for variable, folder in self.moved.items():
            value = self.env.get(variable, "")
            if Path(value).is_absolute() and f"{written}/".startswith(f"{folder}/"):
                return Path(value) / written.removeprefix(folder).removeprefix("/")
        if written.startswith("~/"):
            return self.home / written.removeprefix("~/")
        return Path(written)
