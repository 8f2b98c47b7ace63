"""`python -m tests.runbook.follow`: installs from a clean checkout with nothing but the runbook's own blocks.

The checkout is a clone of HEAD and the home an empty folder, both with a space in their name, and no environment of
ours is on the `PATH`; only the install block needs a package registry. Two things are not the page's: the home has a
configuration that takes any free port, because the usual one may be in use here, and each block that takes nothing
back is run twice, because the page says that it can be. What a block starts is ended, however it goes.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.runbook import page

ROOT = Path(__file__).parents[2]
BLOCK_LIMIT_S = 400.0  # an install over a slow line; everything else ends within seconds
END_WITHIN_S = 15.0
ANY_PORT = "server: {port: 0}\n"
PASSED_ON = ("PIP_", "SSL_", "REQUESTS_CA_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
"""How this machine reaches its package registry."""


class Differs(Exception):
    """A block did not lead to what the page says; the message names it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the blocks run, and all that they may change."""

    folder: Path
    env: Mapping[str, str]

    @property
    def checkout(self) -> Path:
        """Where each block starts."""
        return self.folder / "check out"

    @property
    def home(self) -> Path:
        """The user's."""
        return Path(self.env["HOME"])

    @property
    def settings(self) -> Path:
        """The one file that is there before the first block."""
        return self.home / ".config" / "local-model-gateway" / "config.yaml"


def place(folder: Path) -> Place:
    """An empty home and temporary folder, and an environment that knows of nothing else."""
    home, temporary = folder / "the home", folder / "tmp"
    env = {name: value for name, value in os.environ.items() if name.upper().startswith(PASSED_ON)}
    env |= {"HOME": str(home), "TMPDIR": str(temporary), "PATH": _path(), "LANG": "C.UTF-8"}
    # pip asks `rustc` for its version, and rustup makes itself at home where it was not before.
    env["RUSTUP_HOME"] = os.environ.get("RUSTUP_HOME", str(Path.home() / ".rustup"))
    registry = Path.home() / ".config" / "pip" / "pip.conf"
    if registry.exists():
        env.setdefault("PIP_CONFIG_FILE", str(registry))
    if sys.platform == "darwin":  # the same folders as on Linux, so that the home is all there is
        env |= {"XDG_CONFIG_HOME": str(home / ".config")}
    made = Place(folder, env)
    for one in (made.settings.parent, temporary, made.checkout):
        one.mkdir(parents=True)
    made.settings.write_text(ANY_PORT)
    made.settings.chmod(0o600)
    return made


def _path() -> str:
    """As a new shell has it: the Python that our environment was made from, and no environment."""
    ours = {Path(sys.prefix).resolve(), Path(os.environ.get("VIRTUAL_ENV", sys.prefix)).resolve()}
    folders = [str(Path(sys.base_prefix) / "bin"), *os.environ.get("PATH", os.defpath).split(":")]
    return ":".join(
        dict.fromkeys(one for one in folders if one and Path(one).resolve().parent not in ours)
    )


def follow(book: page.Runbook, where: Place, *, leave_out: str = "nothing") -> None:
    """Every block in order, those that take nothing back twice; raises `Differs` at the first difference."""
    try:
        for block in book.blocks:
            if leave_out in block.marks:
                continue
            for again in (False, True)[: 1 if "undo" in block.marks else 2]:
                began = time.monotonic()
                run(block, where)
                note = (
                    f"{time.monotonic() - began:6.1f} s  {'again: ' if again else ''}{block.name}"
                )
                print(note, flush=True)
    finally:
        ended = end(where)
    if ended:
        raise Differs(f"after the last block these still ran: {', '.join(ended)}")
    if remains := sorted(_unnamed(book, where)):
        raise Differs(f"after the last block these remain, and the page does not say so: {remains}")


def run(block: page.Block, where: Place) -> None:
    """One block in a shell of its own, checked."""
    outputs = where.folder / "said", where.folder / "said beside"
    with outputs[0].open("wb") as out, outputs[1].open("wb") as beside:  # a daemon may hold them
        shell = subprocess.Popen(
            ["sh", "-c", block.script],
            cwd=where.checkout,
            env=where.env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=beside,
            start_new_session=True,
        )
        try:
            code = shell.wait(BLOCK_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
            raise Differs(f"{block.name}\n  did not end within {BLOCK_LIMIT_S:.0f} s") from None
    said, noted = (file.read_text(errors="replace") for file in outputs)
    for file in outputs:
        file.unlink()
    if wrong := page.differences(block, code, said):
        shown = "\n".join([*(f"  {line}" for line in wrong), said[-2000:], noted[-2000:]])
        raise Differs(f"{block.name}\n{shown}")


def end(where: Place) -> list[str]:
    """What still runs in this place is ended, and named."""
    left = dict(_running(where))
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(list(left), END_WITHIN_S)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    return list(left.values())


def _running(where: Place) -> Iterator[tuple[psutil.Process, str]]:
    """Processes with our home, which nobody else has, and what they are."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("HOME") == str(where.home):
                yield process, f"{process.pid} {' '.join(process.cmdline())}"


def _unnamed(book: page.Runbook, where: Place) -> Iterator[str]:
    """Files that were not there before and that the page does not name."""
    allowed = [where.settings, *(where.home / one.removeprefix("~/") for one in book.leaves)]
    for file in where.folder.rglob("*"):
        inside = file.is_relative_to(where.checkout)
        if file.is_dir() or inside or any(file.is_relative_to(one) for one in allowed):
            continue
        yield str(file.relative_to(where.folder))
    if (where.checkout / ".git").exists():
        asked = ["git", "status", "--porcelain", "--ignored"]
        changed = subprocess.run(asked, cwd=where.checkout, capture_output=True, check=True)
        for line in changed.stdout.decode().splitlines():
            if not line.endswith("__pycache__/"):
                yield f"{where.checkout.name}: {line}"


def main() -> int:
    """Follow the page of HEAD; the exit code says how it went."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lmg-runbook-") as folder:
        where = place(Path(folder).resolve())
        clone = ["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(where.checkout)]
        subprocess.run(clone, check=True)
        text = (where.checkout / "docs" / "agent-install.md").read_text(encoding="utf-8")
        try:
            follow(page.read(text), where)
        except Differs as difference:
            print(difference, file=sys.stderr)
            return 1
    print(
        f"the runbook holds, from a clean checkout to nothing, in {time.monotonic() - began:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
