"""Each finding is provoked, has its id, a reason and a command; and every id is explained."""

import os
import re
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from catalog.model import Hints, ServerSnapshot, Tool
from catalog.store import SnapshotStore
from local_model_gateway import announcement, errors
from local_model_gateway.commands import doctor
from local_model_gateway.detection import processes
from local_model_gateway.doctor import (
    bypass,
    catalogue,
    client_files,
    examination,
    gateway,
    memory,
    models,
    setup,
    state_folder,
    tools,
)
from local_model_gateway.doctor.finding import Check, Finding, Status, fail, note, ok
from recipes import loader
from recipes.front_matter import Kind
from tests.cli import stub
from tests.doctor import cases, imitations
from tests.support import gateway as support
from tests.support.fake_engine import knobs

PICTURE: Mapping[str, Any] = {
    **stub.STATUS,
    "runtimes": [stub.RUNTIME],
    "gateway": {"version": "0.1.0", "pid": 1, "url": "u", "started_at": 0.0, "uptime_s": 0.0},
}
OURS = announcement.Announcement("http://127.0.0.1:1", 1, 0.0, "0.1.0")
RUNTIME = "runtimes:\n  a:\n    "
TOOL = Tool("a", "get", "", "", "{}", None, Hints(), "", 0.0)
NOBODY = "http://127.0.0.1:9"
PROVOKED: list[tuple[str, Check, str, dict[str, Any]]] = [
    ("CONFIG-INVALID", setup.configuration, "prot: 1\n", {}),
    ("BIND-UNPROTECTED", setup.configuration, "server: {host: 0.0.0.0}\n", {}),
    (
        "BIND-OPEN",
        setup.address,
        f"server: {{host: 0.0.0.0, keys: {{me: {'k' * 40}}}}}\n",
        {},
    ),
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
        models.servers,
        RUNTIME + f"engine: ollama\n    model: x\n    url: {NOBODY}\n",
        {},
    ),
    ("MCP-COMMAND-MISSING", tools.servers, "mcp_servers:\n  a: {command: nope-x}\n", {}),
    ("MCP-STALE", tools.servers, f"mcp_servers:\n  a: {{url: '{NOBODY}/mcp'}}\n", {}),
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
        memory.budget,
        "{}",
        {"picture": {"pool_bytes": 1, "runtimes": [{"name": "a", "footprint_bytes": 2}]}},
    ),
    (
        "MODEL-TOO-BIG",
        memory.budget,
        "pool: {memory: 1GiB}\n" + RUNTIME + "engine: vllm\n    model: org/x\n    memory: 2GiB\n",
        {},
    ),
    (
        "STORAGE-UNAVAILABLE",
        state_folder.storage,
        "{}",
        {"picture": {"storage_problem": "disk full"}},
    ),
    (
        "VERSION-DIFFERS",
        gateway.gateway,
        "{}",
        {"picture": {"gateway": {"pid": 1, "version": "0.0.1"}}, "announced": OURS},
    ),
    ("SIBLING-GATEWAY", gateway.gateway, "{}", {"picture": PICTURE}),
    ("GATEWAY-DOWN", gateway.gateway, "server: {port: 0}\n", {}),
    (
        "GATEWAY-SILENT",
        gateway.gateway,
        "server: {port: 0}\n",
        {"gateway_error": "it did not answer in time"},
    ),
    ("GATEWAY-SILENT", gateway.gateway, "server: {port: 0}\n", {"announced": OURS}),
    ("CLOCK-JUMP", gateway.clock, "{}", {"picture": PICTURE, "announced": OURS}),
    ("QUEUE-PAUSED", gateway.queue, "{}", {"picture": {"paused": True, "queue": []}}),
    ("CONFIG-STALE", gateway.reloads, "{}", {"picture": {"config": {"problem": "x.yaml:1: no"}}}),
    (
        "CONFIG-RESTART",
        gateway.reloads,
        "{}",
        {"picture": {"config": {"changed_for_the_next_start": ["pool"]}}},
    ),
    ("STATE-BLOCKED", state_folder.state, "{}", {"state_dir": Path("/etc/hostname/state")}),
]


@pytest.mark.parametrize(
    ("id_", "check", "text", "more"),
    PROVOKED,
    ids=[f"{number} {case[0]}" for number, case in enumerate(PROVOKED)],
)
def test_a_provoked_problem_has_its_id_a_reason_and_what_to_run(
    tmp_path: Path, id_: str, check: Check, text: str, more: dict[str, Any]
) -> None:
    finding = cases.only(check, cases.case(tmp_path, text, **more), id_)
    assert finding.status in {Status.FAIL, Status.NOTE}
    assert finding.what
    assert finding.why
    assert finding.fix is not None
    assert "\n" not in finding.fix.command


def test_what_the_fixes_are_about_is_what_the_doctor_was_asked_about(tmp_path: Path) -> None:
    subject = cases.case(tmp_path, "server: {port: 0}\n", config_argument="my file.yaml")
    finding = cases.only(gateway.gateway, subject, "GATEWAY-DOWN")
    assert finding.fix is not None
    assert finding.fix.command == "lmg up --config 'my file.yaml'"


def test_a_model_in_parts_is_missed_when_one_part_is(tmp_path: Path) -> None:
    for number in (1, 4):
        (tmp_path / f"m-0000{number}-of-00004.gguf").write_bytes(b"GGUF")
    model = tmp_path / "m-00001-of-00004.gguf"
    subject = cases.case(tmp_path, f"{RUNTIME}engine: embedded\n    model: {model}\n")
    finding = cases.only(models.runtimes, subject, "MODEL-MISSING")
    assert "m-00002-of-00004.gguf and 1 other part are not there" in finding.what


def test_a_download_that_broke_off_is_no_model(tmp_path: Path) -> None:
    model = tmp_path / "m.gguf"
    model.write_text("<html>")
    subject = cases.case(tmp_path, f"{RUNTIME}engine: embedded\n    model: {model}\n")
    cases.only(models.runtimes, subject, "MODEL-NOT-GGUF")
    model.write_bytes(b"GGUF and more")
    assert [one.id for one in models.runtimes(subject)] == ["MODELS"]


@pytest.mark.parametrize(
    ("script", "id_"),
    [
        ("echo 'version: 6123 (abc)' >&2", "ENGINE-VERSION"),
        ("echo 'libcuda.so.1: cannot open' >&2; exit 127", "ENGINE-BROKEN"),
    ],
)
def test_an_engine_that_does_not_run_is_found_before_it_is_needed(
    tmp_path: Path, script: str, id_: str
) -> None:
    program = tmp_path / "llama-server"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    text = f"{RUNTIME}engine: llama-server\n    model: /x.gguf\n    executable: {program}\n"
    finding = cases.only(models.versions, cases.case(tmp_path, text), id_)
    assert ("cannot open" in finding.what) is (id_ == "ENGINE-BROKEN")
    assert ("version 6123 (abc)" in finding.what) is (id_ == "ENGINE-VERSION")


def test_a_model_that_ollama_does_not_have_is_named_with_its_download(tmp_path: Path) -> None:
    imitation = next(one for one in imitations.IMITATIONS if one.engine == "ollama")
    with imitations.served(imitation) as port:
        sections = "\n".join(
            f"  {name}: {{engine: ollama, model: '{model}', url: 'http://127.0.0.1:{port}'}}"
            for name, model in (("a", "qwen3:32b"), ("b", "other:7b"))
        )
        subject = cases.case(tmp_path, f"runtimes:\n{sections}\n")
        finding = cases.only(models.servers, subject, "MODEL-NOT-PULLED")
    assert finding.fix is not None
    assert finding.fix.command == "ollama pull other:7b"
    assert finding.needs_consent


@pytest.mark.parametrize(
    ("engine", "id_"),
    [("ollama", "OLLAMA-KEEPALIVE"), ("lmstudio", "LMSTUDIO-JIT"), ("vllm", "ENGINE-DIRECT")],
)
def test_an_engine_that_answers_clients_directly_is_noted(
    tmp_path: Path, engine: str, id_: str
) -> None:
    imitation = next(one for one in imitations.IMITATIONS if one.engine == engine)
    with imitations.served(imitation) as port:
        finding = cases.only(bypass.listening, cases.case(tmp_path, ports=(port,)), id_)
    assert f":{port}" in finding.what


def test_a_server_that_the_gateway_uses_is_no_bypass(tmp_path: Path) -> None:
    imitation = next(one for one in imitations.IMITATIONS if one.engine == "tabbyapi")
    with imitations.served(imitation) as port:
        section = f"engine: tabbyapi\n    model: x\n    url: http://127.0.0.1:{port}\n"
        subject = cases.case(tmp_path, RUNTIME + section, ports=(port,))
        assert list(bypass.listening(subject)) == []


def test_our_own_gateway_is_not_taken_for_a_bypass(tmp_path: Path) -> None:
    with imitations.served(imitations.IMITATIONS[-1]) as port:
        assert list(bypass.listening(cases.case(tmp_path, ports=(port,)))) == []


def test_a_client_that_goes_around_us_is_noted(tmp_path: Path) -> None:
    path = tmp_path / ".codex" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text('base_url = "http://localhost:11434/v1"\n')
    finding = cases.only(client_files.clients, cases.case(tmp_path), "CLIENT-BYPASS")
    assert finding.fix is not None
    assert finding.fix.command == "lmg connect codex --yes"
    assert finding.needs_consent


def test_a_variable_that_sends_clients_around_us_is_noted(tmp_path: Path) -> None:
    env = {"OPENAI_BASE_URL": "http://localhost:11434/v1", "PATH": ""}
    finding = cases.only(client_files.clients, cases.case(tmp_path, env=env), "CLIENT-BYPASS")
    assert "OPENAI_BASE_URL" in finding.what
    assert finding.fix is not None
    assert finding.fix.command == "export OPENAI_BASE_URL=http://127.0.0.1:8787/v1"
    mended = {**env, "OPENAI_BASE_URL": finding.fix.command.partition("=")[2]}
    assert [one.id for one in client_files.clients(cases.case(tmp_path, env=mended))] == ["CLIENTS"]


def test_what_only_a_person_can_set_up_is_shown(tmp_path: Path) -> None:
    by_hand = loader.find(Kind.CLIENT, "generic-openai")
    fix = client_files.fix(cases.case(tmp_path), by_hand)
    assert (fix.command, fix.mends) == ("lmg connect generic-openai --dry-run", False)


def test_a_client_that_knows_us_as_well_is_not_noted(tmp_path: Path) -> None:
    path = tmp_path / ".codex" / "config.toml"
    path.parent.mkdir()
    path.write_text("a = 'http://localhost:11434/v1'\nb = 'http://127.0.0.1:8787/v1'\n")
    assert [one.id for one in client_files.clients(cases.case(tmp_path))] == ["CLIENTS"]


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


async def test_a_machine_with_nothing_is_described_with_a_schema(tmp_path: Path) -> None:
    ran = await stub.shell(tmp_path).lmg("doctor", "--json")
    assert ran.json["schema"] == "lmg.doctor/1"
    checks = {check["id"]: check for check in ran.json["checks"]}
    assert {"INSTALL", "CONFIG-NONE", "MODELS", "MEMORY"} <= set(checks)
    # Without a configuration it is the usual port, which may be anybody's on this machine.
    assert {"GATEWAY-DOWN", "PORT-TAKEN", "GATEWAY-SILENT", "SIBLING-GATEWAY"} & set(checks)
    assert {"GPU", "GPU-DRIVER"} & set(checks)
    assert checks["CONFIG-NONE"] == {
        "id": "CONFIG-NONE",
        "status": "note",
        "subject": "Config",
        "what": "none: the built-in model is served",
        "why": "It says one sentence, whatever it is asked.",
        "fix": "lmg init --user",
        "fix_mends": True,
        "needs_consent": False,
        "doc": "docs/troubleshooting.md#config-none",
    }
    assert ran.code == (1 if ran.json["problems"] else 0)


async def test_notes_fail_only_when_they_are_asked_to(tmp_path: Path) -> None:
    home = cases.home(tmp_path)
    home.write()
    ran = await home.doctor("--quick")
    assert (ran.json["problems"], ran.code) == (0, 0)
    assert ran.json["notes"] > 0
    assert (await home.doctor("--quick", "--strict")).code == 1


async def test_a_stub_in_place_of_a_gateway_is_asked_by_the_address_that_is_named(
    tmp_path: Path,
) -> None:
    async with stub.served(status=dict(PICTURE)) as canned:
        words = ("doctor", "--json", "--quick", "--try", "tiny", "--url", canned.url)
        ran = await stub.shell(tmp_path).lmg(*words)
    checks = {check["id"]: check for check in ran.json["checks"]}
    assert checks["GATEWAY"]["status"] == "ok"
    # A stream where an answer was asked for is no answer.
    assert checks["MODEL-SILENT"]["status"] == "fail"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"choices": [{"message": {"content": "Hi"}}]}, "Hi"),
        ({"choices": [{"message": {"content": None, "reasoning_content": "Hm"}}]}, "Hm"),
        ({"choices": [{"message": {"content": ""}}]}, ""),
        ({"choices": []}, ""),
        ([], ""),
    ],
)
def test_an_answer_without_words_is_none(answer: Any, words: str) -> None:

    assert doctor._words(answer) == words


async def test_a_file_that_is_no_configuration_is_said_and_all_else_is_looked_at(
    tmp_path: Path,
) -> None:
    home = cases.home(tmp_path)
    home.config.write_text("version: [1\n")
    home.config.chmod(0o600)
    ran = await home.doctor("--quick")
    ids = [check["id"] for check in ran.json["checks"]]
    assert "CONFIG-INVALID" in ids
    assert {"INSTALL", "STATE", "GPU"} <= {*ids, "GPU"}
    assert ran.code == 1


def test_a_squatter_whom_we_may_not_see_is_one_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_listening", dict)
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        port = squatter.getsockname()[1]
        subject = cases.case(tmp_path, f"server: {{port: {port}}}\n")
        finding = cases.only(gateway.gateway, subject, "PORT-TAKEN")
    assert "a program of another user" in finding.what


@pytest.mark.parametrize(("kept", "id_"), [("0", "OLLAMA"), ("24h", "OLLAMA-KEEPALIVE")])
async def test_what_ollama_was_started_with_is_read_from_its_process(
    tmp_path: Path, kept: str, id_: str
) -> None:
    port = support.free_port()
    words = [*map(str, knobs.argv(dialect="ollama", port=port))]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OLLAMA_KEEP_ALIVE": kept}
    process = await anyio.open_process(
        [sys.executable, "-m", "tests.support.fake_engine", *words], env=env, stderr=None
    )
    try:
        said = b""
        assert process.stdout is not None
        with anyio.fail_after(stub.LIMIT_S):
            while b"listening on" not in said:
                said += await process.stdout.receive()
        found = await to_thread.run_sync(_listening, tmp_path, port)
    finally:
        process.kill()
        await process.aclose()
    assert [one.id for one in found] == [id_]
    assert (f"keeps models {kept}" in found[0].what) is (id_ == "OLLAMA-KEEPALIVE")


def test_an_ollama_that_systemd_starts_gets_a_line_in_its_unit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not bypass._keep_alive_fix(os.getpid()).mends
    monkeypatch.setattr(bypass, "_unit", lambda _: "ollama.service")
    fix = bypass._keep_alive_fix(1)
    assert fix.mends
    assert "printf '[Service]\\nEnvironment=OLLAMA_KEEP_ALIVE=0\\n' | sudo tee" in fix.command
    assert fix.command.endswith("sudo systemctl restart ollama.service")


def _listening(tmp_path: Path, port: int) -> list[Finding]:
    return list(bypass.listening(cases.case(tmp_path, ports=(port,))))


def test_a_port_of_its_own_has_to_be_free_while_an_engine_is_off(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        port = squatter.getsockname()[1]
        text = f"{RUNTIME}engine: vllm\n    model: org/x\n    cmd: ['true']\n    port: {port}\n"
        off = cases.case(tmp_path, text)
        finding = cases.only(models.runtimes, off, "RUNTIME-PORT-TAKEN")
        assert f"pid {os.getpid()}" in finding.what
        row = {**stub.RUNTIME, "name": "a", "state": "ready"}
        on = replace(off, picture={"runtimes": [row]})
        assert [one.id for one in models.runtimes(on)] == ["MODELS"]


@pytest.mark.parametrize(
    ("known", "found"),
    [
        ({"listed_at": -60.0}, ["TOOLS"]),
        ({"listed_at": -40 * 86400.0}, ["MCP-STALE"]),
        ({"listed_at": -60.0, "ttl_s": 30.0}, ["MCP-STALE"]),
        ({"listed_at": -60.0, "stale": True, "error": "it ended"}, ["MCP-STALE"]),
        ({"listed_at": -60.0, "pending": {"get": TOOL}}, ["MCP-CHANGED"]),
    ],
)
def test_a_snapshot_is_judged_by_its_age_its_promise_and_what_waits_for_approval(
    tmp_path: Path, known: dict[str, Any], found: list[str]
) -> None:
    snapshot = ServerSnapshot("a", **{**known, "listed_at": time.time() + known["listed_at"]})
    SnapshotStore(tmp_path / "state" / "broker" / "snapshot").save(snapshot)
    subject = cases.case(tmp_path, f"mcp_servers:\n  a: {{url: '{NOBODY}/mcp'}}\n")
    assert [one.id for one in tools.servers(subject)] == found


def test_a_refused_key_is_said(tmp_path: Path) -> None:
    error = str(errors.RefusedByGateway("a key is needed"))
    subject = replace(cases.case(tmp_path, "server: {port: 0}\n"), gateway_error=error)
    assert "a key is needed" in cases.only(gateway.gateway, subject, "GATEWAY-SILENT").what


CALLS: Callable[[str], list[tuple[str, str]]] = re.compile(
    r'(ok|note|fail|skip|not_executable)\(\s*"([A-Z-]+)"'
).findall
ROOT = Path(examination.__file__).parents[2]


def ids_by_kind() -> dict[str, set[str]]:
    package = ROOT / "local_model_gateway"
    sources = [*(package / "doctor").glob("*.py"), package / "commands" / "doctor.py"]
    found: dict[str, set[str]] = {}
    for source in sources:
        for kind, id_ in CALLS(source.read_text()):
            found.setdefault(kind, set()).add(id_)
    return found


def sections() -> dict[str, str]:
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    return dict(re.findall(r"^## ([A-Z-]+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))


def test_every_id_is_explained_and_no_other_is() -> None:
    told = set().union(*ids_by_kind().values()) | {"BIND-UNPROTECTED", "CONFIG-INVALID"}
    assert len(told) > 60
    assert set(sections()) == told


def test_every_id_that_asks_for_something_has_its_place_in_the_plan() -> None:
    kinds = ids_by_kind()
    asking = kinds["note"] | kinds["fail"] | kinds["not_executable"]
    assert asking | {"BIND-UNPROTECTED", "CONFIG-INVALID"} == set(catalogue.ORDER)
    assert set(catalogue.ORDER) >= catalogue.CONSENT


def test_the_page_says_of_each_fix_whether_somebody_is_asked_first() -> None:
    for id_, text in sections().items():
        said = re.findall(r"(Nothing to do|Needs\s+consent:\s+(?:yes|no))", text)
        assert said, id_
        wanted = "Nothing to do" if id_ not in catalogue.ORDER else "Needs consent: no"
        wanted = "Needs consent: yes" if id_ in catalogue.CONSENT else wanted
        assert " ".join(said[-1].split()) == wanted, id_


async def test_no_finding_of_a_real_run_is_unknown_to_the_page(tmp_path: Path) -> None:
    with anyio.fail_after(stub.LIMIT_S):
        ran = await stub.shell(tmp_path).lmg("doctor", "--json")
    assert {check["id"] for check in ran.json["checks"]} <= set(sections())
