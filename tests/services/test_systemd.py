"""The service's whole life under a real systemd."""

import json
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
import yaml

from tests.cli import stub
from tests.services import private_systemd
from tests.support import gateway

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
KILL = ("systemctl", "--user", "kill", "--signal=KILL", "--kill-who=main", "local-model-gateway")
UNIT = ".config/systemd/user/local-model-gateway.service"


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncGenerator[private_systemd.Machine]:
    async with private_systemd.machine(tmp_path) as made:
        yield made


def configured(home: Path, port: int, **engine: Any) -> Path:
    """A gateway with one engine, in a path that has to be quoted."""
    file = home / "50% of my files" / "a$b 'c'.yaml"
    file.parent.mkdir(exist_ok=True)
    runtimes = {"slow": gateway.fake("slow", home, **engine)}
    content = {"server": {"port": port}, "pool": {"memory": "8GiB"}, "runtimes": runtimes}
    file.write_text(yaml.safe_dump(content))
    file.chmod(0o600)
    return file


def tree(home: Path) -> set[str]:
    """Files and folders, but for what the gateway itself keeps."""
    every = {str(path.relative_to(home)) for path in home.rglob("*")}
    return {path for path in every if not path.startswith((".local", "witness", "gpu"))}


def client(port: int) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", timeout=stub.LIMIT_S, trust_env=False
    )


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "slow", "messages": [{"role": "user", "content": "hi"}], **more}


async def outcome(http: httpx2.AsyncClient, job_id: str) -> str:
    """How a job ended, which may take a few looks."""
    with anyio.fail_after(2 * stub.LIMIT_S):
        while True:
            job = (await http.get(f"/v1/jobs/{job_id}?wait=30")).json()
            if job["ended_at"] is not None:
                return f"{job['status']} {job['error'] or ''}".strip()


async def test_the_gateway_is_ready_when_it_is_installed_and_a_crash_loses_no_job(
    tmp_path: Path, machine: private_systemd.Machine
) -> None:
    port = gateway.free_port()
    file = configured(tmp_path, port, tokens=40, token_delay_ms=50)
    before = tree(tmp_path)
    installed = await machine.lmg("service", "install", "--config", str(file), "--json")
    assert installed.code == 0, installed.out + machine.log()
    async with client(port) as http:
        # At once and once: `enable --now` came back when the gateway said that it was ready.
        assert (await http.get("/ready")).status_code == 200
        # The first is cut off and tried again, the second keeps its place.
        job = {"path": "/v1/chat/completions", "body": chat(), "max_attempts": 2}
        jobs = [(await http.post("/v1/jobs", json=job)).json()["id"] for _ in range(2)]
        again = await machine.lmg("service", "install", "--json")
        assert (again.code, again.json["changed"], again.json["commands"]) == (0, False, [])
        first = (await machine.unit("MainPID"))["MainPID"]
        await machine.ran(*KILL)
        await machine.until("NRestarts", "1")
        await machine.until("ActiveState", "active")
        assert (await machine.unit("MainPID"))["MainPID"] != first
        assert [await outcome(http, one) for one in jobs] == ["succeeded", "succeeded"]
        async with http.stream("POST", "/v1/chat/completions", json=chat(stream=True)) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            stop = ("systemctl", "--user", "stop", "--no-block", "local-model-gateway")
            assert (await machine.ran(*stop)).code == 0
            seen = [line async for line in lines]
    assert "data: [DONE]" in seen, "an answer was cut off"
    await machine.until("ActiveState", "inactive")
    stopped = await machine.lmg("service", "status", "--json")
    assert (stopped.json["installed"], stopped.json["active"]) == (True, False)
    assert stopped.json["config"] == str(file)
    # Started by hand, it is still the service that runs: two would fight at the next login.
    up = await machine.lmg("up", "--config", str(file), "--json")
    assert (up.code, up.json["created"]) == (0, True), up.out
    assert (await machine.unit("MainPID"))["MainPID"] == str(up.json["pid"])
    assert (await machine.lmg("down", "--config", str(file))).code == 0
    await machine.until("ActiveState", "inactive")
    removed = await machine.lmg("service", "uninstall", "--json")
    assert removed.code == 0, removed.out
    assert tree(tmp_path) - {"systemd.log"} == before - {"systemd.log"}
    assert (await machine.unit("LoadState"))["LoadState"] == "not-found"


async def test_a_configuration_that_stops_to_hold_is_not_tried_again_and_again(
    tmp_path: Path, machine: private_systemd.Machine
) -> None:
    file = configured(tmp_path, gateway.free_port())
    good = file.read_text()
    assert (await machine.lmg("service", "install", "--config", str(file))).code == 0
    file.write_text("prot: 1\n")
    restarted = await machine.ran("systemctl", "--user", "restart", "local-model-gateway")
    assert restarted.code != 0
    said = await machine.unit("ActiveState", "SubState", "ExecMainStatus", "NRestarts")
    assert said == {
        "ActiveState": "failed",
        "SubState": "failed",  # and not "auto-restart"
        "ExecMainStatus": "4",
        "NRestarts": "0",
    }
    status = await machine.lmg("service")
    assert "not running (failed)" in status.out
    assert "journalctl --user" in status.out
    assert (await machine.lmg("service", "install")).code == 4
    file.write_text(good)
    repaired = await machine.lmg("service", "install", "--json")
    assert repaired.code == 0
    remembered = await machine.lmg("service", "status", "--json")
    assert (remembered.json["config"], remembered.json["active"]) == (str(file), True)
    file.unlink()
    assert "is gone" in (await machine.lmg("service", "status", "--json")).json["problem"]
    assert (await machine.lmg("service", "uninstall")).code == 0
    assert (await machine.ran("systemctl", "--user", "is-failed", "local-model-gateway")).code != 0


async def test_an_interpreter_that_is_gone_is_told_and_repaired(
    tmp_path: Path, machine: private_systemd.Machine
) -> None:
    port = gateway.free_port()
    file = configured(tmp_path, port)
    assert (await machine.lmg("service", "install", "--config", str(file))).code == 0
    unit = tmp_path / UNIT
    right = unit.read_text()
    unit.write_text(right.replace(sys.executable, f"/of/last/year{sys.executable}"))
    told = await machine.lmg("service", "status", "--json")
    assert "/of/last/year/" in told.json["problem"]
    assert told.json["fix"] == "lmg service install"
    repaired = await machine.lmg("service", "install", "--json")
    assert (repaired.code, repaired.json["changed"], unit.read_text()) == (0, True, right)
    async with client(port) as http:
        assert (await http.get("/ready")).status_code == 200
    assert (await machine.lmg("service", "status", "--json")).json["problem"] is None


async def test_what_cannot_be_started_leaves_nothing_behind(
    tmp_path: Path, machine: private_systemd.Machine
) -> None:
    port = gateway.free_port()
    file = configured(tmp_path, port)
    before = tree(tmp_path)
    words = ("service", "install", "--config", str(file))
    unreachable = await machine.lmg(*words, XDG_RUNTIME_DIR=str(tmp_path))
    assert unreachable.code == 1
    assert "loginctl enable-linger" in unreachable.err
    assert tree(tmp_path) == before
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    async with listener:
        taken = await machine.lmg(*words, "--json")
    assert taken.code == 1
    assert json.loads(taken.out)["error"]["code"] == "failed"
    assert tree(tmp_path) == before
    assert (await machine.unit("LoadState"))["LoadState"] == "not-found"
