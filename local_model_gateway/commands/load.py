"""`lmg load`: bring a model up through the queue, or say what that would take."""

import argparse
import urllib.parse

from local_model_gateway import client, durations, errors, phrases
from local_model_gateway.commands.status import Picture
from local_model_gateway.terminal import Terminal

LOAD_S = 3600.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--estimate", action="store_true", help="only say what it would take")
    parser.add_argument(
        "--keep", type=durations.given, metavar="TIME", help="keep it loaded for this long"
    )


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    gateway = client.find(given)
    if given.estimate:
        return _estimate(gateway, given.model, terminal)
    terminal.progress(f"loading {given.model}")
    path = f"/admin/runtimes/{urllib.parse.quote(given.model, safe='')}/load"
    body = {} if given.keep is None else {"keep_s": given.keep}
    done = gateway.post(path, body, timeout_s=LOAD_S)
    terminal.result("lmg.load/1", done, f"{done['runtime']} is {done['state']}")
    return 0


def _estimate(gateway: client.Client, model: str, terminal: Terminal) -> int:
    picture = gateway.get("/status")
    line = named(picture, model)
    footprint, pool = line["footprint_bytes"], picture["pool_bytes"]
    fits = None if footprint is None or pool is None else footprint <= pool
    content = {
        "model": model,
        "runtime": line["name"],
        "state": line["state"],
        "memory_bytes": footprint,
        "pool_bytes": pool,
        "fits": fits,
        "usual_load_s": line["usual_load_s"],
    }
    words = {
        None: "whether it fits is not known before it has been loaded once",
        True: f"fits into {phrases.size(pool)}",
        False: f"does not fit into {phrases.size(pool)}",
    }
    text = (
        f"{line['name']} is {line['state']}, needs {phrases.size(footprint)}: {words[fits]}; "
        f"usual load {phrases.span(line['usual_load_s'])}"
    )
    terminal.result("lmg.load.estimate/1", content, text)
    return 6 if fits is False else 0


def named(picture: Picture, model: str) -> Picture:
    """The runtime that answers to this name."""
    for line in picture["runtimes"]:
        if model in {line["name"], *line["aliases"]}:
            found: Picture = line
            return found
    raise errors.NoSuchThing(f"no model {model!r}; `lmg models` lists them")
