"""A case made by hand for one check, and a home in which the whole doctor is run."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from local_model_gateway import config, errors
from local_model_gateway.doctor.finding import Case, Check, Finding
from tests.cli import stub

Found = Mapping[str, dict[str, Any]]


def case(tmp_path: Path, text: str = "{}", **more: Any) -> Case:
    """What a check may look at, around the configuration that is given as text."""
    file = tmp_path / "config.yaml"
    file.write_text(text)
    file.chmod(0o600)
    settings, error = None, None
    try:
        settings = config.load(file, dict(os.environ))
    except errors.ConfigError as found:
        error = found
    env = {"PATH": os.environ["PATH"]}
    return replace(Case(env, tmp_path, settings, error, tmp_path / "state", None), **more)


def only(check: Check, subject: Case, id_: str) -> Finding:
    """The one finding of this id."""
    every = list(check(subject))
    found = [finding for finding in every if finding.id == id_]
    assert len(found) == 1, [finding.id for finding in every]
    return found[0]


@dataclass(frozen=True)
class Home:
    """A home of its own, with `lmg` on the PATH, in which a fix is run as a person would paste it."""

    shell: stub.Shell
    config: Path
    usual: bool = False
    """Whether the configuration is where it is looked for, and no verb has to be told."""

    @property
    def folder(self) -> Path:
        """Where it is; there is a space in its name."""
        return self.shell.home

    @property
    def state(self) -> Path:
        """Where its gateway keeps the queue, unless the configuration says otherwise."""
        return self.folder / "state" / "local-model-gateway"

    @property
    def named(self) -> tuple[str, ...]:
        """What tells a verb which configuration is meant."""
        return () if self.usual else ("--config", str(self.config))

    def write(self, settings: Mapping[str, Any] | None = None, **more: Any) -> Path:
        """The configuration, whole; a port of its own unless something else is said."""
        text = json.dumps({"version": 1, "server": {"port": 0}, **(settings or {}), **more})
        self.config.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.config.with_suffix(".new")
        fresh.write_text(text)
        fresh.chmod(0o600)
        fresh.replace(self.config)
        return self.config

    async def doctor(self, *words: str) -> stub.Ran:
        """Look, as a program does."""
        named = self.named if self.config.exists() else ()
        return await self.shell.lmg("doctor", "--json", *named, *words)

    async def found(self, *words: str) -> Found:
        """The findings, by id; where one id is there twice, the last of them."""
        ran = await self.doctor(*words)
        return {check["id"]: check for check in ran.json["checks"]}

    async def paste(self, command: str) -> None:
        """Run it in a shell, without changing a letter; it has to succeed."""
        with anyio.fail_after(stub.LIMIT_S):
            done = await anyio.run_process(
                ["bash", "-c", command], check=False, cwd=self.folder, env=self.shell.env
            )
        assert done.returncode == 0, (command, done.stdout.decode(), done.stderr.decode())

    async def lmg(self, *words: str) -> stub.Ran:
        """Another verb, about the same configuration."""
        return await self.shell.lmg(*words, *self.named)

    async def mended(self, id_: str) -> Found:
        """The finding is there with a fix that claims to mend; it is run, and the finding is gone."""
        before = await self.found()
        assert id_ in before, sorted(before)
        assert before[id_]["fix_mends"], before[id_]
        await self.paste(before[id_]["fix"])
        after = await self.found()
        assert id_ not in after, after.get(id_)
        return after


def home(tmp_path: Path, *, usual: bool = False) -> Home:
    """A new one."""
    folder = tmp_path / "a home"
    program = folder / "bin" / "lmg"
    program.parent.mkdir(parents=True)
    program.symlink_to(Path(sys.executable).with_name("lmg"))
    made = stub.shell(folder)
    env = {**made.env, "PATH": f"{program.parent}:{made.env['PATH']}"}
    place = folder / "config" / "local-model-gateway" / "config.yaml"
    return Home(stub.Shell(folder, env), place if usual else folder / "a config.yaml", usual)


def tree(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything below the folder: mode, time of the last change, content."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(folder.rglob("*"))
        if not path.is_socket()
    }


async def tree_of(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """The same, off the loop."""
    return await to_thread.run_sync(tree, folder)
