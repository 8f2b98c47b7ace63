"""Servers that people really use, at exact versions, over the transports that they really speak."""

import os
import subprocess
from pathlib import Path
from typing import Any

import anyio
import pytest

from broker import errors
from tests.broker import real_servers
from tests.broker.conftest import Opened

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("real-servers")]


@pytest.fixture(scope="session")
def real() -> real_servers.RealServers:
    try:
        return real_servers.installed()
    except real_servers.CannotInstall as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the real servers are not installed and cannot be: {error}")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit."""
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "read.me").write_text("hello\n")
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"}
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.test"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "the first"]):
        subprocess.run(["git", *command], cwd=folder, check=True, env=env)
    return folder


@pytest.fixture
def sections(
    real: real_servers.RealServers, tmp_path: Path, repository: Path
) -> dict[str, dict[str, Any]]:
    def section(command: list[str], *more: str) -> dict[str, Any]:
        return {"command": command[0], "args": [*command[1:], *more], "trust": True}

    memory = {"MEMORY_FILE_PATH": str(tmp_path / "memory.json")}
    return {
        "everything": section(real.everything),
        "filesystem": section(real.filesystem, str(tmp_path)),
        "memory": {**section(real.memory), "env": memory},
        "git": section(real.git, "--repository", str(repository)),
        "time": section(real.time),
    }


async def test_five_real_servers_are_found_described_and_called(
    opened: Opened, sections: dict[str, dict[str, Any]], tmp_path: Path, repository: Path
) -> None:
    async with opened(sections) as broker:
        for name in sections:
            await broker.refresh(name)

    async with opened(sections) as broker:
        assert {one["state"] for one in await broker.list_servers()} == {"asleep"}
        for query, wanted in [
            ("what time is it in Tokyo", "time:get_current_time"),
            ("read a text file", "filesystem:read_text_file"),
            ("show the commit history", "git:git_log"),
            ("remember a new fact about an entity", "memory:add_observations"),
            ("trigger long operation", "everything:trigger-long-running-operation"),
            ("filesystem move", "filesystem:move_file"),
            ("direcotry tree", "filesystem:directory_tree"),  # codespell:ignore
        ]:
            found = [hit.tool_id for hit in (await broker.search(query)).hits]
            assert wanted in found[:3], (query, found)
        (sheet,) = await broker.describe(["mcp__time__get_current_time"])
        assert sheet.tool is not None
        assert sheet.tool.schema()["required"] == ["timezone"]
        assert sum(one["starts"] for one in broker.status()["servers"]) == 0

        (tmp_path / "note.txt").write_text("the content")
        text = await broker.call("filesystem:read_text_file", {"path": str(tmp_path / "note.txt")})
        assert text.content[0].text == "the content"
        log = await broker.call("git:git_log", {"repo_path": str(repository)})
        assert "the first" in log.content[0].text
        clock = await broker.call("time:get_current_time", {"timezone": "Asia/Tokyo"})
        assert "Asia/Tokyo" in clock.content[0].text
        entity = {"name": "Ada", "entityType": "person", "observations": ["writes"]}
        await broker.call("memory:create_entities", {"entities": [entity]}, confirmed=True)
        graph = await broker.call("memory:read_graph", {})
        assert "Ada" in graph.content[0].text
        assert {one["name"]: one["starts"] for one in broker.status()["servers"]} == {
            "everything": 0,
            "filesystem": 1,
            "memory": 1,
            "git": 1,
            "time": 1,
        }


async def test_eight_cold_calls_of_a_real_server_start_it_once(
    opened: Opened, sections: dict[str, dict[str, Any]]
) -> None:
    only = {"filesystem": sections["filesystem"]}
    async with opened(only) as broker:
        await broker.refresh("filesystem")
    async with opened(only) as broker:
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(broker.call, "filesystem:list_allowed_directories", {})
        (facts,) = broker.status()["servers"]
        assert (facts["starts"], facts["calls"], facts["errors"]) == (1, 8, 0)


async def test_progress_of_a_real_server_is_handed_on(
    opened: Opened, sections: dict[str, dict[str, Any]]
) -> None:
    seen: list[float] = []

    async def progress(
        progress: float, total: float | None = None, message: str | None = None
    ) -> None:
        seen.append(progress)

    async with opened({"everything": sections["everything"]}) as broker:
        await broker.refresh("everything")
        await broker.call(
            "everything:trigger-long-running-operation",
            {"duration": 0.4, "steps": 4},
            confirmed=True,
            progress=progress,
        )
    assert seen == [1, 2, 3, 4]


async def test_writing_to_a_real_file_system_asks_first(
    opened: Opened, sections: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    path = tmp_path / "new.txt"
    arguments = {"path": str(path), "content": "written"}
    async with opened({"filesystem": sections["filesystem"]}) as broker:
        await broker.refresh("filesystem")
        with pytest.raises(errors.NeedsConfirmation) as asked:
            await broker.call("filesystem:write_file", arguments)
        assert not path.exists()
        await broker.call("filesystem:write_file", arguments, token=asked.value.token)
    assert path.read_text() == "written"
