"""A changed configuration is taken as a whole or not at all, and only what differs is touched."""

from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from local_model_gateway import config, paths, reload

LIMIT_S = 30.0
TEXT = "runtimes:\n  a: {engine: embedded}\n  b: {engine: embedded}\n"


def write(file: Path, text: str) -> None:
    """As editors do: another file under the same name."""
    made = file.with_suffix(".new")
    made.write_text(text)
    made.chmod(0o600)
    made.replace(file)


async def loaded(file: Path, text: str) -> config.Config:
    await to_thread.run_sync(write, file, text)
    return await to_thread.run_sync(config.load, file, {})


async def test_only_what_differs_in_meaning_is_a_difference(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    before = await loaded(file, TEXT)
    same = await loaded(
        file, "# a comment\n" + TEXT.replace("b: {engine: embedded}", "b:\n    engine: embedded")
    )
    other = await loaded(
        file,
        "server: {port: 1}\nruntimes:\n  b: {engine: embedded, pinned: true}\n  c: {engine: embedded}\n",
    )
    assert not reload.difference(before, same)
    assert reload.difference(before, other) == reload.Difference(
        ("c",), ("a",), ("b",), ("server",)
    )


class Changes:
    """A running reloader, and what it said."""

    def __init__(self, reloader: reload.Reloader) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[reload.Outcome](16)
        self.reloader = reloader

    async def run(self) -> None:
        await self.reloader.run(self._send.send)

    async def after(self, file: Path, text: str, *, ask: bool) -> reload.Outcome:
        """What is said of this text; written again and again, as nobody tells when watching has begun."""
        async with anyio.create_task_group() as tasks:

            async def write_on() -> None:
                while True:
                    await to_thread.run_sync(write, file, text)
                    if ask:
                        self.reloader.ask()
                    await anyio.sleep(1.5)

            tasks.start_soon(write_on)
            outcome = await self._receive.receive()
            tasks.cancel_scope.cancel()
        return outcome

    def close(self) -> None:
        self._send.close()
        self._receive.close()


@pytest.mark.parametrize("ask", [False, True], ids=["watched", "asked"])
@pytest.mark.parametrize("name", ["c.yaml", "conf.d/a.yaml"])
async def test_a_change_is_noticed_and_a_bad_one_leaves_the_running_configuration(
    tmp_path: Path, ask: bool, name: str
) -> None:
    folder = tmp_path / paths.APP
    file = folder / name
    env = {"XDG_CONFIG_HOME": str(tmp_path)} if "/" in name else {"LMG_CONFIG": str(file)}
    await to_thread.run_sync(lambda: file.parent.mkdir(parents=True))
    await to_thread.run_sync(write, file, TEXT)
    running = await to_thread.run_sync(config.load, None, env)
    changes = Changes(reload.Reloader(running, None, env))
    bad, good = TEXT + "prot: 1\n", TEXT + "  c: {engine: embedded}\n"
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(changes.run)
            first = await changes.after(file, bad, ask=ask)
            second = await changes.after(file, good, ask=ask)
            third = await changes.after(file, TEXT, ask=ask)
            tasks.cancel_scope.cancel()
    changes.close()
    assert isinstance(first, reload.Refused)
    assert "prot" in str(first.error)
    assert isinstance(second, reload.Reloaded)
    assert second.difference == reload.Difference(("c",), (), (), ())
    assert list(second.wanted.runtimes) == ["a", "b", "c"]
    assert isinstance(third, reload.Reloaded)
    assert third.difference.removed == ("c",)
