"""`lmg demo`: generated models, large enough to be seen loading, streaming and swapping; nothing is downloaded."""

import argparse
import os
import re

import anyio
import psutil

from local_model_gateway import errors, paths
from local_model_gateway.adding import additions
from local_model_gateway.terminal import Terminal

_SIZE = re.compile(r"([0-9]{1,6})(MiB|GiB)")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", default="256MiB", metavar="SIZE", help="of each model (256MiB)")
    parser.add_argument("--models", type=int, default=2, metavar="N", help="how many (2)")


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    from runtimes import embedded, launch  # it is the one verb that makes models

    size = _SIZE.fullmatch(given.size)
    if size is None:
        raise errors.CommandFailed(f"{given.size!r} is not a size; write it like 256MiB or 2GiB")
    mib = int(size[1]) * (1024 if size[2] == "GiB" else 1)
    folder = paths.cache_dir(os.environ) / "demo"
    names = [f"demo-{number + 1}" for number in range(max(1, min(given.models, 8)))]
    # More than half of the memory each, they say: only one fits, and a swap is to be seen.
    claim_mib = psutil.virtual_memory().total * 11 // 20 >> 20
    section: list[str] = ["runtimes:"]
    for name in names:
        file = folder / f"{name}-{mib}.gguf"
        terminal.progress(f"writing {paths.shown(file)}")
        try:
            anyio.run(embedded.make_tiny, file, "--mib", str(mib))
        except launch.Unstartable as error:
            raise errors.CommandFailed(str(error)) from None
        section += [f"  {name}:", "    engine: embedded", f"    model: {file}"]
        section += [f"    memory: {claim_mib}MiB"]
    written = paths.config_dir(os.environ) / "conf.d" / "demo.yaml"
    written.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    written.write_text("\n".join(["version: 1", *section]) + "\n", encoding="utf-8")
    written.chmod(0o600)
    content = {"status": "ok", "models": names, "config": str(written), "size_mib": mib}
    taken = additions.taken(given, added=names)
    text = "\n".join(
        [
            f"wrote {paths.shown(written)}: {', '.join(names)}, {mib} MiB each",
            "They say one sentence, whatever you ask; what there is to see is the queue.",
            taken.said,
            "",
            "Next  lmg top, in a terminal beside",
            *(f'      lmg run {name} "Say hello"' for name in names),
            f"Undo  rm {paths.shown(written)}; rm -r {paths.shown(folder)}",
        ]
    )
    terminal.result("lmg.demo/1", content, text)
    return 0
