"""Writes a hand-made model: `python -m runtimes.tiny_model OUT [--mib N | --hf [--f32]]`.

It runs as a process of its own, so that the gateway never imports numpy.
"""

import argparse
import os
import shutil
from pathlib import Path

from runtimes.tiny_model import gguf_file, hf_folder


def main() -> None:
    """Write under another name first: a half-written model must never be found under the real one."""
    parser = argparse.ArgumentParser(prog="python -m runtimes.tiny_model", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--mib", type=int, help="filler up to this size")
    parser.add_argument("--hf", action="store_true", help="a folder of safetensors")
    parser.add_argument("--f32", action="store_true")
    asked = parser.parse_args()
    out: Path = asked.out
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f"{out.name}.{os.getpid()}.part")
    try:
        if asked.hf:
            hf_folder.write(partial, float32=asked.f32)
            shutil.rmtree(out, ignore_errors=True)
        elif asked.mib:
            gguf_file.write_big(partial, asked.mib)
        else:
            gguf_file.write_tiny(partial)
        partial.replace(out)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
