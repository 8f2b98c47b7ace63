"""A full disk: new work is refused in the open, running streams end well, nothing needs a restart."""

import contextlib
import os
import subprocess
from collections.abc import Generator
from pathlib import Path

import anyio
import pytest

from tests.support.gateway import fake, gateway


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """Four MiB of disk."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode != 0 and not os.environ.get("CI"):
        pytest.skip("mounting a small disk needs root")
    assert mounted.returncode == 0, mounted.stderr
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> None:
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 4096)


@pytest.mark.requirement("disk-full-loses-nothing")
async def test_a_full_disk_refuses_work_and_loses_none(tmp_path: Path, small_disk: Path) -> None:
    config = {
        "runtimes": {"a": fake("a", tmp_path, slots=2)},
        "state_dir": str(small_disk / "state"),
    }
    async with gateway(config, tmp_path) as here:
        await here.start()
        body = {
            "model": "a",
            "messages": [{"role": "user", "content": "x. [[tokens:40]] [[delay-ms:50]]"}],
        }
        async with (
            here.client() as client,
            client.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as stream,
        ):
            lines = stream.aiter_lines()
            while "data: {" not in await anext(lines):
                pass
            fill(small_disk)
            with anyio.fail_after(30):
                while True:
                    refused = await client.post("/v1/jobs", json=body)
                    if refused.status_code == 503:
                        break
            error = refused.json()["error"]
            assert error["code"] == "storage_unavailable", refused.text
            assert here.process is not None
            assert here.process.returncode is None, here.log
            rest = [line async for line in lines]
            assert "data: [DONE]" in rest
            (small_disk / "filler").unlink()
            with anyio.fail_after(60):
                while True:
                    accepted = await client.post("/v1/jobs", json=body)
                    if accepted.status_code == 202:
                        break
                    await anyio.sleep(0.1)
                job = (await client.get(f"/v1/jobs/{accepted.json()['id']}?wait=30")).json()
            assert job["status"] == "succeeded", job
