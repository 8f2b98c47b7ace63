"""What a person or a program gets to see: results on standard output, everything else on standard error."""

import io
import itertools
import json
import os
import re
import shutil
import sys
import threading
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
TURN_S = 0.1
CALM_S = 0.3
"""What is over sooner needs no line that flashes up."""
GAPS = ("   ", "  ")
"""Between columns, where there is room and where there is little."""
TITLE = 10
NARROWEST = 10
"""Below so many cells a column says nothing any more: the last ones are rather left out."""
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


class Terminal:
    """One command's way of speaking: to a terminal, to a pipe, or as JSON."""

    def __init__(self, *, wants_json: bool = False, no_color: bool = False) -> None:
        self.json = wants_json
        self.interactive = sys.stdin.isatty() and sys.stdout.isatty() and not wants_json
        plain = no_color or wants_json or "NO_COLOR" in os.environ
        self._colors = sys.stdout.isatty() and not plain
        self.live = sys.stderr.isatty() and not wants_json and os.environ.get("TERM") != "dumb"
        """Whether somebody watches a line that is replaced in place."""
        self._progress = ""
        self._turning: _Turning | None = None
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A terminal that lacks a character of ours shall show another one, not a traceback.
            sys.stdout.reconfigure(errors="replace")

    def result(self, schema: str, content: Mapping[str, Any], text: str) -> None:  # Any: JSON
        """The command's outcome: `content` for programs, under a stable schema id, or `text` for people."""
        if self.json:
            self.object({"schema": schema, **content})
        else:
            self.say(text)

    def object(self, content: Mapping[str, Any]) -> None:  # Any: JSON
        """One JSON object on one line."""
        self.say(json.dumps(content, ensure_ascii=not _knows_unicode(sys.stdout)))

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
        if self.live and text != self._progress:
            _replace(text)
            self._progress = text

    def watch(self, words: Callable[[int], str]) -> None:
        """One line that turns and tells by itself until something else is said.

        `words` gets the cells that there are, and is asked ten times a second from a thread of its own.
        """
        self.end_progress()
        if self.live:
            self._turning = _Turning(words)
            self._turning.start()

    @property
    def watched(self) -> bool:
        """Whether a line turns now."""
        return self._turning is not None

    def end_progress(self) -> None:
        """Take the progress line away."""
        if self._turning is not None:
            self._turning.end()
            self._turning = None
        if self._progress:
            _erase()
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

    def titled(self, title: str, lines: Sequence[str]) -> str:
        """Lines beside a title; on a terminal they are broken where it ends, and stay beside it."""
        if sys.stdout.isatty():
            room = max(NARROWEST, shutil.get_terminal_size().columns - TITLE)
            lines = [piece for line in lines for piece in broken(line, room)]
        indent = "\n" + " " * TITLE
        return f"{title:{TITLE}}{indent.join(lines)}"

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        """Columns as wide as they need to be; on a terminal, no wider than it is."""
        widths = [max(map(cells, column)) for column in zip(header, *rows, strict=True)]
        gap, room = GAPS[0], shutil.get_terminal_size().columns
        if sys.stdout.isatty() and sum(widths) + len(gap) * (len(widths) - 1) > room:
            gap = GAPS[1]
            widths = _squeezed(widths, len(gap), room)
        lines = [
            gap.join(map(_padded, row, widths)).rstrip()  # `map` ends with the shorter: the widths
            for row in (header, *rows)
        ]
        return "\n".join([self.paint("bold", lines[0]), *lines[1:]])


def cells(text: str) -> int:
    """How many columns of a terminal the text takes: an East Asian character two, an accent or a colour none."""
    if "\x1b" in text:
        text = _COLOR.sub("", text)
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(each) in "WF" for each in text)
    none = sum(unicodedata.category(each) in {"Mn", "Me", "Cf"} for each in text)
    return len(text) + wide - none


def cut(text: str, width: int) -> str:
    """The text in at most so many cells; `…` says that something is missing."""
    if cells(text) <= width:
        return text
    taken = next(end for end in range(len(text), -1, -1) if cells(text[:end]) < max(1, width))
    return text[:taken].rstrip() + "…"


def broken(line: str, room: int) -> list[str]:
    """The line in pieces that fit, broken between words where that is possible."""
    pieces = [""]
    for word in line.split(" "):
        joined = f"{pieces[-1]} {word}" if pieces[-1] else word
        if cells(joined) <= room:
            pieces[-1] = joined
            continue
        pieces.append("")
        for character in word:
            if cells(pieces[-1] + character) > room:
                pieces.append("")
            pieces[-1] += character
    return [piece for piece in pieces if piece] or [""]


def _padded(text: str, width: int) -> str:
    short = cut(text, width)
    return short + " " * (width - cells(short))


def _squeezed(widths: Sequence[int], gap: int, room: int) -> list[int]:
    """Narrower columns, the widest first; those at the end for which there is no room are left out."""
    kept = list(widths)
    while len(kept) > 1 and sum(min(w, NARROWEST) + gap for w in kept) - gap > room:
        kept.pop()
    while sum(kept) + gap * (len(kept) - 1) > room and max(kept) > 1:
        kept[kept.index(max(kept))] -= 1
    return kept


class _Turning:
    """The thread that redraws a line: it stands still only while it draws, and ends at once."""

    def __init__(self, words: Callable[[int], str]) -> None:
        self._words = words
        self._drawing, self._over = threading.Lock(), threading.Event()
        self._drawn = False
        self._frames = itertools.cycle(FRAMES if _knows_unicode(sys.stderr) else "|/-\\")
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Nothing of the line is left, and nothing more of it will come."""
        self._over.set()
        with self._drawing:
            if self._drawn:
                _erase()

    def _run(self) -> None:
        pause_s = CALM_S
        while not self._over.wait(pause_s):
            pause_s = TURN_S
            with self._drawing:
                if self._over.is_set():
                    return
                words = self._words(shutil.get_terminal_size().columns - 3)
                _replace(f"{next(self._frames)} {words}")
                self._drawn = True


def _knows_unicode(stream: TextIO) -> bool:
    return "utf" in (stream.encoding or "utf-8").lower()


def _replace(text: str) -> None:
    # One cell stays free: a full line would wrap, and could not be taken back.
    # Written over first, cleared after: a line that is blank in between would flicker.
    sys.stderr.write(f"\r{cut(text, shutil.get_terminal_size().columns - 1)}\x1b[K")
    sys.stderr.flush()


def _erase() -> None:
    sys.stderr.write("\r\x1b[K")
    sys.stderr.flush()
