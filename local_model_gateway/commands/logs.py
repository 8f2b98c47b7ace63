"""`lmg logs`: the gateway's own log, or the newest lines of a model's engine."""

import argparse
import json
import os
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from local_model_gateway import client, errors, paths, phrases
from local_model_gateway.terminal import Terminal

FOLLOW_S = 0.3


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--follow", action="store_true", help="go on as lines come")
    parser.add_argument("-n", "--lines", type=int, default=50, metavar="N")
    parser.add_argument("--source", metavar="MODEL", help="the log of this model's engine")
    parser.add_argument("--request", metavar="ID", help="only lines about this request")


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    if given.source:
        return _engine(given, terminal)
    file = client.state_dir(given) / "logs" / "gateway.log"
    if not file.exists():
        raise errors.NoSuchThing(f"no log yet at {paths.shown(file)}; start the gateway: lmg up")
    with file.open(errors="replace") as stream:
        *whole, rest = stream.read().split("\n")
        lines = [line for line in whole if _wanted(line, given)]
        for line in lines[-given.lines :] if given.lines else []:
            terminal.say(line if terminal.json else _plain(line))
        if given.follow:
            # From the very byte where reading ended: nothing falls between the two.
            for line in _following(file, stream, rest):
                if _wanted(line, given):
                    terminal.say(line if terminal.json else _plain(line))
    return 0


def _engine(given: argparse.Namespace, terminal: Terminal) -> int:
    gateway = client.find(given)
    path = f"/admin/runtimes/{urllib.parse.quote(given.source, safe='')}/log"
    found = gateway.get(path)
    seen = list(found["lines"])
    lines: Sequence[str] = seen[-given.lines :] if given.lines else []
    if not given.follow:
        text = "\n".join(lines) or "this engine has said nothing yet"
        terminal.result("lmg.logs/1", {"runtime": found["runtime"], "lines": list(lines)}, text)
        return 0
    while True:
        for line in lines:
            terminal.object({"line": line}) if terminal.json else terminal.say(line)
        time.sleep(FOLLOW_S)
        now = list(gateway.get(path)["lines"])
        lines, seen = since(seen, now), now


def since(before: Sequence[str], now: Sequence[str]) -> Sequence[str]:
    """What was added: only the newest lines are told, so the old ones may have moved out of sight."""
    for gone in range(len(before) + 1):
        kept = len(before) - gone
        if list(before[gone:]) == list(now[:kept]):
            return now[kept:]
    return now


def _following(file: Path, stream: TextIO, rest: str) -> Iterator[str]:
    """Lines as they are written, also over a rotation, until interrupted."""
    while True:
        rest += stream.read()
        *whole, rest = rest.split("\n")
        yield from whole
        if _rotated(file, stream):
            # What was written to the old file until now is read before it is left.
            *whole, rest = (rest + stream.read()).split("\n")
            yield from whole
            stream = file.open(errors="replace")
        else:
            time.sleep(FOLLOW_S)


def _rotated(file: Path, stream: TextIO) -> bool:
    try:
        return file.stat().st_ino != os.fstat(stream.fileno()).st_ino
    except FileNotFoundError:
        return False  # between the renaming and the new file


def _wanted(line: str, given: argparse.Namespace) -> bool:
    return not given.request or f'"{given.request}"' in line


def _plain(line: str) -> str:
    try:
        fields = json.loads(line)
        at, level, message = (fields.pop(name) for name in ("at", "level", "message"))
    except (ValueError, KeyError, AttributeError):
        return line
    fields.pop("logger", None)
    error = fields.pop("error", None)
    if "method" in fields and "path" in fields:
        message = " ".join(_request(fields))
    rest = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
    return f"{at} {level:7} {message} {rest}".rstrip() + (f"\n{error}" if error else "")


def _request(fields: dict[str, Any]) -> Iterator[str]:  # Any: JSON
    """What came, how it ended and where its time went, in the order of reading; takes what it says."""
    yield f"{fields.pop('method')} {fields.pop('path')} {fields.pop('status', '')}"
    outcome = fields.pop("outcome", "ok")
    if outcome != "ok":
        yield str(outcome)
    model, runtime = fields.pop("model", None), fields.pop("runtime", None)
    if model is not None:
        yield str(model) if runtime in {None, model} else f"{model} by {runtime}"
    times = (("queued", "queue_ms"), ("load", "load_ms"), ("first token", "ttft_ms"))
    for word, name in (*times, ("took", "latency_ms")):
        if (spent := fields.pop(name, None)) is not None:
            yield f"{word} {spent / 1000:.1f} s" if spent >= 50 else f"{word} {spent:.0f} ms"
    if (tokens := fields.pop("tokens", None)) is not None:
        yield phrases.count(tokens, "token")
    if (speed := fields.pop("tokens_per_s", None)) is not None:
        yield f"at {speed:.1f}/s"
