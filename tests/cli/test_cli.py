"""The command line itself: what it costs, what it imports, usage, and where it finds the gateway."""

import json
import os
import shlex
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from local_model_gateway import announcement, cli
from tests.cli import stub
from tests.cli.test_verbs import EVENTS
from tests.config.bad_configs import BAD, Bad
from tests.doctor import imitations

# Runs in the child: the verb, then what it cost the processor and what it dragged in.
MEASURE = """
import json, sys, time
from local_model_gateway import cli
code = cli.run(sys.argv[1:])
heavy = [name for name in ("mcp", "fastmcp", "cyclopts", "pydantic", "starlette", "anyio", "rich") if name in sys.modules]
sys.stderr.write(json.dumps({"code": code, "cpu_s": time.process_time(), "heavy": heavy}))
"""


@pytest.mark.requirement("cli-is-light")
@pytest.mark.parametrize(
    "words", [("--help",), ("status",), ("status", "--json"), ("ps",), ("queue",)]
)
async def test_a_glance_costs_little_and_imports_nothing_heavy(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    shell = stub.shell(tmp_path)
    async with stub.served() as gateway:
        costs = []
        for _ in range(3):
            ran = await _python(shell, MEASURE, *words, LMG_URL=gateway.url)
            measured = json.loads(ran.err)
            assert (measured["code"], measured["heavy"]) == (0, [])
            costs.append(measured["cpu_s"])
    assert min(costs) < 0.150


async def _python(shell: stub.Shell, program: str, *words: str, **env: str) -> stub.Ran:
    import subprocess
    import sys

    import anyio

    done = await anyio.run_process(
        [sys.executable, "-c", program, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=shell.home,
        env={**shell.env, **env},
    )
    return stub.Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


async def test_help_names_every_verb(tmp_path: Path) -> None:
    ran = await stub.shell(tmp_path).lmg("--help")
    assert ran.code == 0
    for verb in cli.VERBS:
        assert f"\n  {verb}" in ran.out


@pytest.mark.parametrize("verb", sorted(set(cli.VERBS) - {"mcp"}))
async def test_every_verb_explains_itself(tmp_path: Path, verb: str) -> None:
    ran = await stub.shell(tmp_path).here(verb, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert f"usage: lmg {verb}" in ran.out
    assert "--json" in ran.out


async def test_a_misspelt_verb_is_guessed_and_is_a_usage_error(tmp_path: Path) -> None:
    ran = await stub.shell(tmp_path).lmg("statuz")
    assert ran.code == 2
    assert "did you mean `lmg status`?" in ran.err


async def test_an_unknown_option_is_a_usage_error(tmp_path: Path) -> None:
    ran = await stub.shell(tmp_path).lmg("status", "--nope")
    assert ran.code == 2
    assert "--nope" in ran.err


async def test_what_the_disk_refuses_is_said_in_one_line_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    ran = await stub.shell(tmp_path).here("init", "--output", "file/here/config.yaml")
    assert ran.code == 1
    assert ran.err.endswith("~/file/here: Not a directory\n")
    assert "Traceback" not in ran.err


async def test_an_output_that_takes_nothing_is_said_and_blames_nobody_else(tmp_path: Path) -> None:
    shell = stub.shell(tmp_path)
    async with stub.served(events=EVENTS) as gateway:
        for words in ("status", "run tiny hi"):
            script = f"exec {shlex.join(shell.argv())} {words} --url {gateway.url} > /dev/full"
            with anyio.fail_after(stub.LIMIT_S):
                ran = await anyio.run_process(["sh", "-c", script], check=False, env=shell.env)
            said = ran.stderr.decode()
            assert ran.returncode == 1, said
            assert said.endswith("the output could not be written: No space left on device\n")
            assert "Traceback" not in said


@pytest.mark.parametrize(
    "words",
    ["run tiny -", "queue cancel", "queue priority", "jobs show", "status --url http://[::1"],
)
async def test_what_is_missing_on_the_command_line_is_a_usage_error(
    tmp_path: Path, words: str
) -> None:
    async with stub.served() as gateway:
        given = words.split()
        more = [] if "--url" in given else ["--url", gateway.url]
        ran = await stub.shell(tmp_path).lmg(*given, *more)
    assert ran.code == 2
    assert len(ran.err.splitlines()) == 1


async def test_a_gateway_that_wants_a_key_is_given_one_by_a_variable(tmp_path: Path) -> None:
    refused = (401, "invalid_api_key", "A valid key is needed; send `Authorization: Bearer KEY`.")
    async with stub.served(refuse=refused) as gateway:
        ran = await stub.shell(tmp_path).here("status", "--url", gateway.url)
    assert ran.code == 6
    assert "set LMG_API_KEY" in ran.err


async def test_the_version_is_told(tmp_path: Path) -> None:
    ran = await stub.shell(tmp_path).lmg("--version")
    assert (ran.code, ran.out) == (0, "local-model-gateway 0.1.0\n")


@pytest.mark.parametrize("words", [("--json", "status"), ("status", "--json"), ("--json",)])
async def test_shared_options_may_stand_before_the_verb(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    async with stub.served() as gateway:
        ran = await stub.shell(tmp_path).lmg("--url", gateway.url, *words)
    assert ran.json["schema"] == "lmg.status/1"


async def test_the_running_gateway_is_found_by_its_note(tmp_path: Path) -> None:
    shell = stub.shell(tmp_path)
    folder = tmp_path / "state" / "local-model-gateway"
    async with stub.served() as gateway:
        note = announcement.Announcement(gateway.url, os.getpid(), 1.0, "x")
        await to_thread.run_sync(announcement.write, folder, note)
        assert (folder / "gateway.json").stat().st_mode & 0o077 == 0
        ran = await shell.lmg("status", "--json")
    assert ran.code == 0


async def test_the_note_of_a_dead_gateway_is_not_believed(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "local-model-gateway"
    note = announcement.Announcement("http://127.0.0.1:9", 2**22 - 1, 1.0, "x")
    await to_thread.run_sync(announcement.write, folder, note)
    ran = await stub.shell(tmp_path).lmg("status")
    assert "127.0.0.1:9." not in ran.err


async def test_what_is_no_gateway_is_not_taken_for_one(tmp_path: Path) -> None:
    shell = stub.shell(tmp_path)
    page = imitations.Imitation("none", {"/": "a web page", "/status": "<html>"})
    with imitations.served(page) as port:
        for words in (["status"], ["queue", "pause"]):
            ran = await shell.here(*words, "--url", f"http://127.0.0.1:{port}")
            assert ran.code == 3
            assert f"What answers at http://127.0.0.1:{port} is not a gateway" in ran.err


async def test_the_configured_port_and_key_are_used(tmp_path: Path) -> None:
    async with stub.served() as gateway:
        port = gateway.url.rpartition(":")[2]
        file = tmp_path / "c.yaml"
        file.write_text(f"server: {{port: {port}, keys: {{a: '${{env:KEY}}'}}}}\n")
        file.chmod(0o600)
        ran = await stub.shell(tmp_path).lmg(
            "status", "--json", "--config", str(file), KEY="k" * 40
        )
    assert ran.code == 0


@pytest.mark.requirement("bad-config-starts-nothing")
@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_a_bad_configuration_is_one_line_and_exit_code_4_and_nothing_starts(
    tmp_path: Path, bad: Bad, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(bad.text)
    file.chmod(0o600)
    monkeypatch.setenv("LMG_STATE_DIR", str(tmp_path / "state"))
    code = cli.run(["start", "--config", str(file)])
    out, err = capsys.readouterr()
    assert (code, out) == (4, "")
    assert len(err.strip().splitlines()) == 1
    assert f":{bad.at}: " in err
    assert not (tmp_path / "state").exists()


async def test_validate_points_a_finger_at_every_problem(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("server:\n  prot: 1\nqueue:\n  max_queue: 0\n")
    file.chmod(0o600)
    ran = await stub.shell(tmp_path).lmg("config", "validate", str(file))
    machine = await stub.shell(tmp_path).lmg("config", "validate", str(file), "--json")
    assert ran.code == 4
    assert ":2:3: unknown key 'prot' in server, did you mean 'port'?" in ran.err
    assert "2 |   prot: 1\n       |   ^" in ran.err
    assert [problem["line"] for problem in machine.json["problems"]] == [2, 4]


async def test_a_good_configuration_is_shown_without_its_secrets(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "server:\n  port: 9000\n  keys: {a: '${env:KEY}', b: inline-canary-0123456789}\n"
        "mcp_servers:\n  x: {url: 'http://127.0.0.1:1', headers: {A: '${env:KEY}'}}\n"
    )
    file.chmod(0o600)
    shell = stub.shell(tmp_path)
    shown = await shell.lmg("config", "show", str(file), KEY="canary-0123456789")
    machine = await shell.lmg("config", "show", str(file), "--json", KEY="canary-0123456789")
    assert (shown.code, machine.code) == (0, 0)
    assert "canary" not in shown.out + machine.out
    assert machine.json["config"]["server"]["keys"]["a"] == "${env:KEY}"
    assert machine.json["config"]["server"]["port"] == 9000


async def test_the_paths_are_told(tmp_path: Path) -> None:
    ran = await stub.shell(tmp_path).lmg("config", "path", "--json")
    assert ran.json["used"] == []
    assert ran.json["state_dir"] == str(tmp_path / "state" / "local-model-gateway")


async def test_logs_show_the_newest_lines_of_one_request(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "local-model-gateway" / "logs"
    folder.mkdir(parents=True)
    lines = [
        json.dumps({"at": "t", "level": "info", "message": "request", "request_id": f"req_{n}"})
        for n in range(100)
    ]
    (folder / "gateway.log").write_text("\n".join(lines) + "\n")
    shell = stub.shell(tmp_path)
    newest = await shell.lmg("logs", "-n", "3")
    one = await shell.lmg("logs", "--request", "req_7", "--json")
    assert newest.out.splitlines()[0] == "t info    request request_id=req_97"
    assert [json.loads(line)["request_id"] for line in one.out.splitlines()] == ["req_7"]
