"""Makes the virtual environments of the engines that `make test-engines` runs.

    python -m tests.real_engines.install [mlx-lm] [transformers]

Each engine has its own, below `.cache/engines/`, with exact versions; one that is there already is left
alone. Nothing else of the project needs them.
"""

import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "engines"

WANTED: dict[str, list[str]] = {
    # The plain package is for Apple machines; the extra brings the Linux build.
    "mlx-lm": ["mlx-lm==0.32.2", *(["mlx[cpu]==0.32.4"] if sys.platform == "linux" else [])],
    "transformers": ["torch==2.13.0", "transformers[serving]==5.23.0"],
}


def program(engine: str, name: str) -> Path:
    """Where an engine's program is once it is installed."""
    return CACHE / engine / "bin" / name


def installed(engine: str) -> bool:
    """Whether an engine is there in exactly the wanted versions."""
    stamp = CACHE / engine / "wanted.txt"
    return stamp.exists() and stamp.read_text() == "\n".join(WANTED[engine])


def install(engine: str) -> None:
    """Make the environment of one engine; the stamp comes last, so that a broken one is made anew."""
    if installed(engine):
        print(f"{engine}: there already")
        return
    folder, began = CACHE / engine, time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    pip = [
        str(folder / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    subprocess.run([*pip, *WANTED[engine]], check=True)
    (folder / "wanted.txt").write_text("\n".join(WANTED[engine]))
    print(f"{engine}: installed in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    for wanted in sys.argv[1:] or WANTED:
        install(wanted)
