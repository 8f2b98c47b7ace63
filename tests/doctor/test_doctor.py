"""Each finding is provoked, has its id and a command that runs; and looking changes nothing."""

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from local_model_gateway import config, errors
from local_model_gateway.doctor import bypass, examination, installation, models, setup
from local_model_gateway.doctor.finding import Case, Check, Finding, Status, fail, note, ok
from tests.cli import stub
from tests.doctor import imitations

PICTURE: Mapping[str, Any] = {
    **stub.STATUS,
    "runtimes": [stub.RUNTIME],
    "gateway": {"version": "0.1.0", "pid": 1, "url": "u", "started_at": 0.0, "uptime_s": 0.0},
}


def case(tmp_path: Path, text: str = "{}", **more: Any) -> Case:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    file.chmod(0o600)
    settings, error = None, None
    try:
        settings = config.load(file, dict(os.environ))
    except errors.ConfigError as found:
        error = found
    made = Case({}, tmp_path, settings, error, tmp_path / "state", None)
    return replace(made, **more)


def only(check: Check, subject: Case, id_: str) -> Finding:
    found = [finding for finding in check(subject) if finding.id == id_]
    assert len(found) == 1, [finding.id for finding in check(subject)]
    return found[0]


RUNTIME = "runtimes:\n  a:\n    "
PROVOKED: list[tuple[str, Check, str, dict[str, Any]]] = [
    ("CONFIG-INVALID", setup.configuration, "prot: 1\n", {}),
    (
        "ENGINE-MISSING",
        models.runtimes,
        RUNTIME + "engine: llama-server\n    model: /x.gguf\n    executable: nope-x\n",
        {},
    ),
    (
        "MODEL-MISSING",
        models.runtimes,
        RUNTIME + "engine: embedded\n    model: /nowhere/x.gguf\n",
        {},
    ),
    (
        "ENGINE-DOWN",
        models.runtimes,
        RUNTIME + "engine: ollama\n    model: x\n    url: http://127.0.0.1:9\n",
        {},
    ),
    ("MCP-COMMAND-MISSING", bypass.tool_servers, "mcp_servers:\n  a: {command: nope-x}\n", {}),
    (
        "RUNTIME-FAILED",
        models.failures,
        "{}",
        {
            "picture": {
                "runtimes": [
                    {"name": "a", "failures": 2, "last_error": {"class": "oom", "exit_code": 1}}
                ]
            }
        },
    ),
    (
        "MODEL-TOO-BIG",
        setup.memory,
        "{}",
        {"picture": {"pool_bytes": 1, "runtimes": [{"name": "a", "footprint_bytes": 2}]}},
    ),
    ("STORAGE-UNAVAILABLE", setup.storage, "{}", {"picture": {"storage_problem": "disk full"}}),
    (
        "VERSION-DIFFERS",
        setup.gateway,
        "{}",
        {"picture": {"gateway": {"pid": 1, "version": "0.0.1"}}},
    ),
    ("GATEWAY-DOWN", setup.gateway, "server: {port: 0}\n", {}),
    (
        "GATEWAY-SILENT",
        setup.gateway,
        "server: {port: 0}\n",
        {"gateway_error": "it did not answer in time"},
    ),
    ("CLOCK-JUMP", setup.clock, "{}", {"picture": PICTURE}),
    ("STATE-READ-ONLY", installation.state, "{}", {"state_dir": Path("/etc/hostname/state")}),
]


@pytest.mark.parametrize(
    ("id_", "check", "text", "more"), PROVOKED, ids=[case[0] for case in PROVOKED]
)
def test_a_provoked_problem_has_its_id_a_reason_and_what_to_run(
    tmp_path: Path, id_: str, check: Check, text: str, more: dict[str, Any]
) -> None:
    finding = only(check, case(tmp_path, text, **more), id_)
    assert finding.status in {Status.FAIL, Status.NOTE}
    assert finding.what
    assert finding.why
    assert finding.fix or id_ == "CLOCK-JUMP"


def test_a_key_that_others_can_read_is_found_and_the_fix_closes_it(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("k" * 40)
    key.chmod(0o644)
    subject = case(tmp_path, "server:\n  keys:\n    me: ${file:key}\n")
    finding = only(setup.keys, subject, "KEY-FILE-OPEN")
    assert finding.fix is not None
    subprocess.run(["bash", "-c", finding.fix], check=True)
    assert list(setup.keys(subject)) == []


def test_a_squatter_on_the_port_is_named_and_the_fix_starts_elsewhere(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        port = squatter.getsockname()[1]
        finding = only(setup.gateway, case(tmp_path, f"server: {{port: {port}}}\n"), "PORT-TAKEN")
    assert f"pid {os.getpid()}" in finding.what
    assert finding.fix == f"lmg start --port {port + 1}"


@pytest.mark.parametrize(
    ("engine", "id_"),
    [("ollama", "OLLAMA-KEEPALIVE"), ("lmstudio", "LMSTUDIO-JIT"), ("vllm", "ENGINE-DIRECT")],
)
def test_an_engine_that_answers_clients_directly_is_noted(
    tmp_path: Path, engine: str, id_: str
) -> None:
    imitation = next(one for one in imitations.IMITATIONS if one.engine == engine)
    with imitations.served(imitation) as port:
        finding = only(bypass.listening_engines, case(tmp_path, ports=(port,)), id_)
    assert f":{port}" in finding.what


def test_our_own_gateway_is_not_taken_for_a_bypass(tmp_path: Path) -> None:
    with imitations.served(imitations.IMITATIONS[-1]) as port:
        assert list(bypass.listening_engines(case(tmp_path, ports=(port,)))) == []


def test_a_client_that_goes_around_us_is_noted(tmp_path: Path) -> None:
    file = tmp_path / ".codex" / "config.toml"
    file.parent.mkdir()
    file.write_text('base_url = "http://localhost:11434/v1"\n')
    finding = only(bypass.clients, case(tmp_path), "CLIENT-BYPASS")
    assert finding.fix == "lmg connect codex --dry-run"


async def test_an_engine_that_holds_memory_outside_the_queue_is_found(tmp_path: Path) -> None:
    hog = "import sys; held = bytearray(b'x') * (300 << 20); print('held', flush=True); sys.stdin.read()"
    program = tmp_path / "llama-server"
    program.symlink_to(os.path.realpath(sys.executable))
    async with await anyio.open_process([str(program), "-c", hog]) as process:
        assert process.stdout is not None
        with anyio.fail_after(stub.LIMIT_S):
            await process.stdout.receive()
        findings = await to_thread.run_sync(lambda: list(bypass.memory_holders(case(tmp_path))))
        process.kill()
    mine = [finding for finding in findings if f"pid {process.pid}" in finding.what]
    assert [finding.id for finding in mine] == ["GPU-BYPASS"]
    assert mine[0].status is Status.FAIL


def test_one_check_that_breaks_or_hangs_does_not_hide_the_others(tmp_path: Path) -> None:
    release = threading.Event()

    def breaks(_: Case) -> list[Finding]:
        raise RuntimeError("oh")

    def hangs(_: Case) -> list[Finding]:
        release.wait(60)
        return []

    def works(_: Case) -> list[Finding]:
        return [ok("FINE", "x", "y")]

    found = examination.examine(case(tmp_path), [breaks, hangs, works], limit_s=1.0)
    release.set()
    assert [(one.id, one.status) for one in found] == [
        ("BREAKS", Status.SKIP),
        ("HANGS", Status.SKIP),
        ("FINE", Status.OK),
    ]


@pytest.mark.parametrize(
    ("found", "worst"),
    [
        ([ok("A", "", "")], Status.OK),
        ([ok("A", "", ""), note("B", "", "", "")], Status.NOTE),
        ([note("B", "", "", ""), fail("C", "", "", "")], Status.FAIL),
    ],
)
def test_the_verdict_is_the_worst_of_the_findings(found: list[Finding], worst: Status) -> None:
    assert examination.verdict(found) is worst


def tree(folder: Path) -> dict[str, tuple[int, float, int]]:
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime, path.stat().st_mode)
        for path in sorted(folder.rglob("*"))
    }


async def test_looking_changes_no_file_and_is_json_with_a_schema(tmp_path: Path) -> None:
    shell = stub.shell(tmp_path)
    (tmp_path / ".codex").mkdir()
    (tmp_path / ".codex" / "config.toml").write_text("x")
    before = tree(tmp_path)
    machine = await shell.lmg("doctor", "--json")
    plan = await shell.lmg("doctor", "--fix-plan")
    assert tree(tmp_path) == before
    assert machine.json["schema"] == "lmg.doctor/1"
    ids = {check["id"] for check in machine.json["checks"]}
    assert {"INSTALL", "CONFIG-NONE", "GATEWAY-DOWN", "MODELS"} <= ids
    assert machine.code == (1 if machine.json["problems"] else 0)
    assert "lmg up" in plan.out


async def test_strict_makes_notes_count(tmp_path: Path) -> None:
    ran = await stub.shell(tmp_path).lmg("doctor", "--strict", "--json")
    assert ran.code == 1


async def test_a_running_gateway_is_recognised_and_a_model_can_be_tried(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    async with stub.served(status=dict(PICTURE)) as gateway:
        file.write_text(f"server: {{port: {gateway.url.rpartition(':')[2]}}}\n")
        file.chmod(0o600)
        ran = await stub.shell(tmp_path).lmg(
            "doctor", "--json", "--try", "tiny", "--config", str(file)
        )
    checks: dict[str, Any] = {check["id"]: check for check in ran.json["checks"]}
    assert checks["GATEWAY"]["status"] == "ok"
    assert checks["MODEL-ANSWERS"]["status"] == "ok"
    assert "PORT-TAKEN" not in checks


IDS: Callable[[str], list[str]] = re.compile(r'(?:ok|note|fail|skip)\(\s*"([A-Z-]+)"').findall


def test_every_finding_is_explained_in_the_documentation() -> None:
    root = Path(examination.__file__).parent
    sources = [*root.glob("*.py"), root.parent / "commands" / "doctor.py"]
    ids = {found for source in sources for found in IDS(source.read_text())}
    page = (root.parent.parent / "docs" / "troubleshooting.md").read_text()
    missing = {found for found in ids if f"\n## {found}\n" not in page}
    assert len(ids) > 25
    assert missing == set()
