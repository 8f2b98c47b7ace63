"""`lmg load`: bring a model up through the queue, or say what that would take."""

import argparse
import urllib.parse
from collections.abc import Iterable

from local_model_gateway import client, durations, errors, phrases, waiting
from local_model_gateway.commands.status import Picture
from local_model_gateway.terminal import Terminal

LOAD_S = 3600.0
NEAREST = 3
SHOWN = 5
"""Of the smaller ones, the largest."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--estimate", action="store_true", help="only say what it would take")
    parser.add_argument(
        "--keep", type=durations.given, metavar="TIME", help="keep it loaded for this long"
    )


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    gateway = client.find(given)
    picture = gateway.get("/status")
    line = named(picture, given.model)
    if given.estimate:
        return _estimate(picture, line, given.model, terminal)
    if fits(line, picture) is False:
        raise errors.RefusedByGateway(too_big(line, picture))
    name = str(line["name"])
    path = f"/admin/runtimes/{urllib.parse.quote(name, safe='')}/load"
    body = {} if given.keep is None else {"keep_s": given.keep}
    was_ready = line["state"] == "ready"
    try:
        with waiting.shown(waiting.Wait(name), gateway, terminal):
            done = gateway.post(path, body, timeout_s=LOAD_S)
    except KeyboardInterrupt:
        if not terminal.json:
            terminal.note("left the queue; what loads already, loads on: `lmg unload` stops it")
        raise
    word = "was ready already" if was_ready else f"is {done['state']}"
    kept = f", kept for {phrases.span(given.keep)}" if given.keep else ""
    terminal.result("lmg.load/1", done, f"{done['runtime']} {word}{kept}")
    return 0


def _estimate(picture: Picture, line: Picture, model: str, terminal: Terminal) -> int:
    footprint, pool, fit = line["footprint_bytes"], picture["pool_bytes"], fits(line, picture)
    content = {
        "model": model,
        "runtime": line["name"],
        "state": line["state"],
        "memory_bytes": footprint,
        "pool_bytes": pool,
        "fits": fit,
        "usual_load_s": line["usual_load_s"],
    }
    name, needs = line["name"], phrases.rough_size(footprint)
    if fit is False:
        terminal.result("lmg.load.estimate/1", content, too_big(line, picture))
        return 6
    if fit is None:
        said = f"What {name} needs is not known before it has been loaded once."
    else:
        said = f"{name} needs about {needs} of {phrases.rough_size(pool)}: it fits."
    if line["usual_load_s"] is not None:
        said += f" It usually loads in {phrases.span(line['usual_load_s'])}."
    terminal.result("lmg.load.estimate/1", content, "\n".join([said, *_now(line, picture)]))
    return 0


def _now(line: Picture, picture: Picture) -> Iterable[str]:
    """What a load would do to what is there already."""
    if line["state"] not in {"stopped", "unknown"}:
        yield f"It is {line['state']} now."
        return
    needs, pool = line["footprint_bytes"], picture["pool_bytes"]
    others = [one for one in picture["runtimes"] if one["state"] != "stopped"]
    held = [one["footprint_bytes"] for one in others]
    if others and (needs is None or pool is None or None in held or needs + sum(held) > pool):
        names = ", ".join(str(one["name"]) for one in others)
        yield f"{names} may have to make room; running answers end first."


def fits(line: Picture, picture: Picture) -> bool | None:
    """Whether a model fits when nothing else is there; None if nobody knows."""
    footprint, pool = line["footprint_bytes"], picture["pool_bytes"]
    return None if footprint is None or pool is None else bool(footprint <= pool)


def too_big(line: Picture, picture: Picture) -> str:
    """Why it can never be loaded here, and what can."""
    needs, pool = phrases.rough_size(line["footprint_bytes"]), picture["pool_bytes"]
    memory = picture.get("memory") or {}
    if memory.get("total_bytes") and memory.get("reserve_bytes") is not None:
        whole, free = (_gib(memory[name]) for name in ("total_bytes", "reserve_bytes"))
        has = f"this machine has {whole} and {free} are kept free."
    else:
        has = f"models here may hold {phrases.rough_size(pool)} together."
    smaller = sorted(
        (one for one in picture["runtimes"] if one["footprint_bytes"] and fits(one, picture)),
        key=lambda one: (one["footprint_bytes"], one["name"]),
    )[-SHOWN:]
    said = f"{line['name']} needs about {needs}; {has}"
    if smaller:
        names = (f"{one['name']} ({phrases.rough_size(one['footprint_bytes'])})" for one in smaller)
        said += f"\nSmaller ones that fit: {', '.join(names)}"
    return said


def _gib(size_bytes: float) -> str:
    return f"{size_bytes / 1024**3:.0f}"


def named(picture: Picture, model: str) -> Picture:
    """The runtime that answers to this name."""
    for line in picture["runtimes"]:
        if model in {line["name"], *line["aliases"]}:
            found: Picture = line
            return found
    import difflib  # only here: it costs more than the rest of the verb

    known = sorted({name for one in picture["runtimes"] for name in (one["name"], *one["aliases"])})
    near = difflib.get_close_matches(model, known, n=NEAREST, cutoff=0.5)
    near = near or [name for name in known if model.lower() in name.lower()][:NEAREST]
    hint = f"did you mean {' or '.join(near)}?" if near else "`lmg models` lists what there is"
    raise errors.NoSuchThing(f"no model {model!r} here; {hint}")
