"""The command line where there is no console: under `pythonw` no stream exists, and every one is opened to nowhere."""

import os
import sys
from pathlib import Path

from local_model_gateway import cli


def main() -> None:
    """Open what is missing, then run the command line as ever."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            # Never closed, as the streams that it stands for.
            setattr(sys, name, Path(os.devnull).open("r" if name == "stdin" else "w"))  # noqa: SIM115
    cli.main()


if __name__ == "__main__":
    main()
