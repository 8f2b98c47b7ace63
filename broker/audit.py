"""One line a call: who called what, what was decided, and how it ended; never arguments or answers."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROTATE_AT = 8 * 1024 * 1024
KEPT_FILES = 4


@dataclass(frozen=True, slots=True)
class Row:
    """One call, or one that was not made."""

    tool: str
    caller: str
    effect: str
    action: str
    outcome: str
    arguments_digest: str
    ms: float = 0.0
    result_bytes: int = 0
    confirmed: bool = False


class Audit:
    """Appends to a file and turns it over when it is large; called in a worker thread."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, row: Row) -> None:
        line = json.dumps({"at": round(time.time(), 3), **asdict(row)}, ensure_ascii=False)
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._path.exists() and self._path.stat().st_size > ROTATE_AT:
            self._turn_over()
        if not self._path.exists():
            self._path.touch(mode=0o600)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _turn_over(self) -> None:
        for number in range(KEPT_FILES - 1, 0, -1):
            older = self._path.with_suffix(f".{number}.jsonl")
            if older.exists():
                older.replace(self._path.with_suffix(f".{number + 1}.jsonl"))
        self._path.replace(self._path.with_suffix(".1.jsonl"))

    def tail(self, count: int) -> list[dict[str, object]]:
        """The newest rows, oldest first."""
        if not self._path.exists():
            return []
        lines = self._path.read_text("utf-8").splitlines()[-count:]
        return [json.loads(line) for line in lines]
