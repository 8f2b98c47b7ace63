"""A systemd of one's own: a real user manager that sees other mounts, processes and control groups than the machine's."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from tests.cli import stub

PROGRAMS = ("unshare", "nsenter", "systemctl", "mount")
MANAGER = Path("/lib/systemd/systemd")
RUNTIME_DIR = "/run/user/0"
# Everything below happens in the namespaces alone. The manager wants to be told that this machine
# was booted by systemd, a folder for its sockets, and the second kind of control groups.
INSIDE = """
set -e
mount --make-rprivate /
mount -t tmpfs own /run
mount -t tmpfs own /sys/fs/cgroup
mount -t cgroup2 own /sys/fs/cgroup
mkdir -p /run/systemd/system -m 755
mkdir -p "$XDG_RUNTIME_DIR"
chmod 700 "$XDG_RUNTIME_DIR"
exec 3>&1 >"$HOME/systemd.log" 2>&1
"$MANAGER" --user --log-target=console &
while ! systemctl --user show --property=Version; do sleep 0.1; done
echo up >&3
wait
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where `lmg` and `systemctl --user` run beside that manager."""

    shell: stub.Shell
    process_id: int

    async def ran(self, *words: str, **env: str) -> stub.Ran:
        """One command inside."""
        inside = ["nsenter", "--target", str(self.process_id), "--mount", "--pid", "--cgroup"]
        with anyio.fail_after(2 * stub.LIMIT_S):
            done = await anyio.run_process(
                [*inside, f"--wd={self.shell.home}", "--", *words],
                check=False,
                cwd=self.shell.home,
                env={**self.shell.env, **env},
            )
        return stub.Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    async def lmg(self, *words: str, **env: str) -> stub.Ran:
        """The command line inside."""
        return await self.ran(sys.executable, "-m", "local_model_gateway", *words, **env)

    async def unit(self, *names: str) -> dict[str, str]:
        """What systemd says of the unit."""
        chosen = ",".join(names)
        words = ("systemctl", "--user", "show", f"--property={chosen}", "local-model-gateway")
        said = (await self.ran(*words)).out
        return dict(line.split("=", 1) for line in said.splitlines())

    async def until(self, name: str, *values: str) -> str:
        """Wait until systemd says one of these of the unit."""
        seen: list[str] = []
        with contextlib.suppress(TimeoutError), anyio.fail_after(stub.LIMIT_S):
            while True:
                value = (await self.unit(name))[name]
                if value in values:
                    return value
                if seen[-1:] != [value]:
                    seen.append(value)
                await anyio.sleep(0.05)
        raise AssertionError(f"{name} was never one of {values}, but {seen}\n{self.log()}")

    def log(self) -> str:
        """What the manager and the gateway wrote last."""
        return (self.shell.home / "systemd.log").read_text()[-4000:]


@contextlib.asynccontextmanager
async def machine(home: Path) -> AsyncGenerator[Machine]:
    """One with this home; skips, and says why, where no manager can be had."""
    _needed()
    plain = stub.shell(home)
    env = {name: value for name, value in plain.env.items() if not name.startswith("XDG_")}
    env |= {"XDG_RUNTIME_DIR": RUNTIME_DIR, "MANAGER": str(MANAGER)}
    group = await to_thread.run_sync(_group)
    # Into a group of its own first: the namespace shows it as the root, and nothing above it.
    enter = f'echo $$ > "{group}/cgroup.procs" && exec "$@"'
    apart = ["unshare", "--mount", "--pid", "--cgroup", "--fork", "--kill-child", "--mount-proc"]
    process = await anyio.open_process(
        ["sh", "-c", enter, "sh", *apart, "sh", "-c", INSIDE],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
    )
    try:
        yield Machine(stub.Shell(home, env), await _up(process, home))
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()  # and everything in its namespace with it
            await process.aclose()
            await _remove(group)


def _needed() -> None:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing or not MANAGER.exists():
        pytest.skip(f"no systemd here to start: {', '.join(missing) or MANAGER} is missing")
    if os.geteuid() != 0:
        pytest.skip("namespaces and control groups of one's own need root")


def _group() -> Path:
    """A control group below this process's own."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    roots = [Path(words[1]) for words in mounts if words[2] == "cgroup2"]
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = [line.removeprefix("0::/") for line in lines if line.startswith("0::/")]
    if not roots or not own:
        pytest.skip("no control groups of the second kind here")
    group = roots[0] / own[0] / f"lmg-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    return group


async def _up(process: anyio.abc.Process, home: Path) -> int:
    """Wait for the manager; returns the number, out here, of the first process inside."""
    assert process.stdout is not None
    try:
        with anyio.fail_after(stub.LIMIT_S):
            assert (await process.stdout.receive()).strip() == b"up"
    except (TimeoutError, anyio.EndOfStream):
        log = home / "systemd.log"
        said = log.read_text()[-300:] if log.exists() else ""
        pytest.skip(f"systemd's manager cannot be started here: {said.strip()}")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return int(children.split()[0])


async def _remove(group: Path) -> None:
    """The group and what the manager made in it, once the last process in it is gone."""
    with anyio.fail_after(stub.LIMIT_S):
        while True:
            try:
                for folder in sorted(group.rglob("*/"), reverse=True):
                    folder.rmdir()
                group.rmdir()
                return
            except OSError:
                await anyio.sleep(0.05)
