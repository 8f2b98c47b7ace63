"""What a person or a program gets to see: results on standard output, everything else on standard error."""

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


class Terminal:
    """One command's way of speaking: to a terminal, to a pipe, or as JSON."""

    def __init__(self, *, wants_json: bool = False, no_color: bool = False) -> None:
        self.json = wants_json
        self.interactive = sys.stdin.isatty() and sys.stdout.isatty() and not wants_json
        plain = no_color or wants_json or "NO_COLOR" in os.environ
        self._colors = sys.stdout.isatty() and not plain
        self._live = sys.stderr.isatty() and not wants_json
        self._progress = ""

    def result(self, schema: str, content: Mapping[str, Any], text: str) -> None:  # Any: JSON
        """The command's outcome: `content` for programs, under a stable schema id, or `text` for people."""
        if self.json:
            self.object({"schema": schema, **content})
        else:
            self.say(text)

    def object(self, content: Mapping[str, Any]) -> None:  # Any: JSON
        """One JSON object on one line."""
        self.say(json.dumps(content, ensure_ascii=False))

    def say(self, text: str, *, end: str = "\n") -> None:
        """A result."""
        self.end_progress()
        sys.stdout.write(text + end)
        sys.stdout.flush()  # also into a pipe: whoever follows a log wants each line as it comes

    def note(self, text: str) -> None:
        """Something beside the result."""
        self.end_progress()
        sys.stderr.write(text + "\n")

    def progress(self, text: str) -> None:
        """What is being waited for, replaced in place; silent where nobody watches."""
        if not self._live or text == self._progress:
            return
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"\r\x1b[K{text[:width]}")
        sys.stderr.flush()
        self._progress = text

    def end_progress(self) -> None:
        """Take the progress line away."""
        if self._progress:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._progress = ""

    def failed(self, code: str, message: str) -> None:
        """Why there is no result."""
        self.end_progress()
        if self.json:
            self.object({"schema": "lmg.error/1", "error": {"code": code, "message": message}})
        else:
            sys.stderr.write(f"{message}\n")

    def agreed(self, question: str) -> bool:
        """Whether a person says yes; where there is none, no."""
        if not self.interactive:
            return False
        self.end_progress()
        sys.stderr.write(f"{question} [Y/n] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in {"", "y", "yes"}

    def paint(self, color: str, text: str) -> str:
        """The text in a colour, where colours are wanted."""
        return f"\x1b[{_CODES[color]}m{text}\x1b[0m" if self._colors else text

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        """Columns as wide as they need to be."""
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        lines = [
            "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (header, *rows)
        ]
        return "\n".join([self.paint("bold", lines[0]), *lines[1:]])
