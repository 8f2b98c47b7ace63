"""Service files, completion scripts, recipes and the first configuration."""

import contextlib
import dataclasses
import json
import os
import plistlib
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from local_model_gateway import (
    announcement,
    config,
    config_reader,
    paths,
    readiness_note,
    service_manager,
    service_units,
)
from tests.cli import pseudo_terminal, stub

# A stand-in that writes down what it is asked, and can be told to fail; the real one: tests/services.
SYSTEMCTL = """\
#!/bin/sh
echo "$@" >> "$HOME/calls"
case "$*" in
    *"$REFUSES"*) echo "Failed to connect to bus: No medium found" >&2; exit 1 ;;
    *=ActiveState*) echo "ActiveState=$(cat "$HOME/active" || echo inactive)" ;;
    *enable\\ --now*|*restart*) echo active > "$HOME/active" ;;
    *disable*) rm -f "$HOME/active" ;;
esac
"""
SHOW = "--user show --property=Version"
STATE = f"--user show --property=ActiveState {service_units.UNIT}"


def with_systemctl(home: Path, refuses: str = "nothing at all") -> stub.Shell:
    """A shell in which systemctl is the stand-in."""
    made = stub.shell(home)
    program = home / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)
    path = f"{program.parent}:{made.env['PATH']}"
    return stub.Shell(home, {**made.env, "PATH": path, "REFUSES": refuses})


def tree(home: Path) -> dict[str, bytes]:
    """Every file and folder, but for what the stand-in writes."""
    every = {str(path.relative_to(home)): path for path in home.rglob("*")}
    ours = {name: path for name, path in every.items() if name not in {"calls", "active"}}
    return {name: path.read_bytes() if path.is_file() else b"" for name, path in ours.items()}


def test_the_systemd_unit_starts_this_interpreter_and_survives_a_strange_path() -> None:
    file = Path("/a b/50%$x.yaml")
    unit = service_units.systemd(Path("/home/x"), {}, file, drain_s=60).content
    assert '"/a b/50%%$$x.yaml"' in unit
    assert "TimeoutStopSec=105" in unit
    assert "Type=notify" in unit
    assert "RestartPreventExitStatus=2 4" in unit


@pytest.mark.parametrize("name", ["a b", "o'brien", '"50%"', "$HOME", "back\\slash", "a;b", "ü"])
def test_what_a_unit_starts_is_read_back_as_it_was_written(name: str) -> None:
    file = Path("/home") / name / "c.yaml"
    service = service_units.systemd(Path("/home/x"), {}, file, drain_s=60)
    assert service.argv_of(service.content) == service_units.argv(file)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here to ask")
def test_systemd_itself_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    service = service_units.systemd(tmp_path, {"XDG_CONFIG_HOME": str(tmp_path)}, None, 60)
    file = tmp_path / service_units.UNIT
    file.write_text(service.content)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", str(file)],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    complaints = [line for line in done.stderr.splitlines() if service_units.UNIT in line]
    assert complaints == []


@pytest.mark.parametrize("folder", ["/a$b", "/50% off", '/a "b"', "/plain"])
def test_what_a_unit_remembers_is_what_systemd_and_we_read_back(folder: str) -> None:
    env = {"LMG_STATE_DIR": folder}
    service = service_units.systemd(Path("/home/x"), env, None, drain_s=60)
    assert "$$" not in service.content, "nothing is expanded there, and nothing is halved"
    assert service.variables_of(service.content) == service.variables == env


def test_the_launch_agent_is_a_plist_that_restarts_only_after_a_crash() -> None:
    service = service_units.launchd(Path("/Users/x"), {}, Path("/a b.yaml"), drain_s=60, uid=501)
    plist = plistlib.loads(service.content.encode())
    assert plist["ProgramArguments"][-2:] == ["--config", "/a b.yaml"]
    assert plist["ProgramArguments"] == service.argv_of(service.content)
    assert plist["KeepAlive"] == {"SuccessfulExit": False}
    assert plist["ProcessType"] == "Interactive"
    assert plist["ExitTimeOut"] > 60, "it would be killed while it lets answers end"
    assert Path(plist["StandardErrorPath"]).parent in service.folders, "launchd makes no folder"
    assert service.install[-1].words[:3] == ["launchctl", "bootstrap", "gui/501"]
    assert service.install[-1].retry_s > 5, "launchd keeps a label for seconds"


async def test_installing_writes_one_file_and_uninstalling_leaves_nothing(tmp_path: Path) -> None:
    shell = with_systemctl(tmp_path)
    before = tree(tmp_path)
    unit = tmp_path / "config" / "systemd" / "user" / service_units.UNIT
    dry = await shell.lmg("service", "install", "--dry-run", "--json")
    assert dry.json["done"] is False
    assert tree(tmp_path) == before
    installed = await shell.lmg("service", "install", "--json")
    assert (installed.code, unit.read_text()) == (0, dry.json["content"])
    written = tree(tmp_path)
    again = await shell.lmg("service", "install", "--json")
    assert (again.code, again.json["changed"], tree(tmp_path)) == (0, False, written)
    status = await shell.lmg("service", "status", "--json")
    assert (status.json["installed"], status.json["active"]) == (True, True)
    removed = await shell.lmg("service", "uninstall", "--json")
    assert (removed.code, tree(tmp_path)) == (0, before)
    asked = (tmp_path / "calls").read_text().splitlines()
    assert asked == [
        *[SHOW, STATE, "--user daemon-reload", f"--user enable --now {service_units.UNIT}"],
        *[SHOW, STATE],
        STATE,
        *[SHOW, f"--user disable --now {service_units.UNIT}", "--user daemon-reload"],
        f"--user reset-failed {service_units.UNIT}",
    ]
    assert (await shell.lmg("service", "status", "--json")).json["installed"] is False


@pytest.mark.parametrize("refuses", ["Version", "daemon-reload", "enable --now"])
async def test_a_system_that_refuses_leaves_everything_as_it_was(
    tmp_path: Path, refuses: str
) -> None:
    shell = with_systemctl(tmp_path, refuses)
    before = tree(tmp_path)
    ran = await shell.lmg("service", "install", "--json")
    assert ran.code == 1
    assert "No medium found" in ran.json["error"]["message"]
    assert tree(tmp_path) == before


async def test_without_a_bus_the_error_says_how_to_get_one(tmp_path: Path) -> None:
    shell = with_systemctl(tmp_path, "Version")
    ran = await shell.here("service", "install")
    assert "loginctl enable-linger" in ran.err
    assert "export XDG_RUNTIME_DIR=/run/user/$(id -u)" in ran.err
    assert "Nothing was installed" in ran.err


@contextlib.asynccontextmanager
async def in_the_background(shell: stub.Shell) -> AsyncGenerator[tuple[Path, int]]:
    """A gateway of `lmg up`: its configuration and its process; what runs at the end is stopped."""
    file = shell.home / "any-port.yaml"
    file.write_text("server: {port: 0}\n")
    file.chmod(0o600)
    up = await shell.lmg("up", "--json", "--config", str(file))
    try:
        yield file, up.json["pid"]
    finally:
        with anyio.CancelScope(shield=True):
            await shell.lmg("down", "--drain", "0s", "--config", str(file))


async def test_a_service_is_not_put_beside_a_gateway_that_runs_already(tmp_path: Path) -> None:
    shell = with_systemctl(tmp_path)
    async with in_the_background(shell) as (file, pid):
        ran = await shell.here("service", "install", "--config", str(file))
        assert await to_thread.run_sync(announcement.alive, pid)
    assert ran.code == 6, ran
    assert "lmg service install --yes" in ran.err
    assert not (tmp_path / "config" / "systemd").exists()


async def test_a_stranger_that_has_the_number_of_a_crashed_gateway_is_let_alone(
    tmp_path: Path,
) -> None:
    shell = with_systemctl(tmp_path)
    async with in_the_background(shell) as (file, pid):
        note = tmp_path / "state" / paths.APP / announcement.FILE
        left = json.loads(note.read_text())
        os.kill(pid, signal.SIGKILL)
    async with await anyio.open_process(["sleep", "600"]) as stranger:
        try:
            older = {**left, "pid": stranger.pid, "born": None, "started_at": 1.0}
            for named in ({**left, "pid": stranger.pid}, older):
                note.write_text(json.dumps(named))
                down = await shell.lmg("down", "--json", "--config", str(file))
                assert (down.code, down.json["was_running"]) == (0, False)
                checks = (await shell.lmg("doctor", "--json", "--config", str(file))).json["checks"]
                found = {check["id"] for check in checks if check["subject"] == "Gateway"}
                assert "GATEWAY-DOWN" in found
                assert not found & {"GATEWAY-SILENT", "GATEWAY-SUSPENDED"}
            installed = await shell.here("service", "install", "--yes", "--config", str(file))
            assert installed.code == 0, installed
            assert stranger.returncode is None
        finally:
            stranger.kill()


async def test_a_gateway_in_the_background_makes_room_for_the_service(tmp_path: Path) -> None:
    shell = with_systemctl(tmp_path)
    async with in_the_background(shell) as (file, pid):
        words = ("service", "install", "--config", str(file))
        ran = await pseudo_terminal.lmg(shell, *words, typed="y\n")
        assert not await to_thread.run_sync(announcement.alive, pid)
    assert ran.code == 0, ran.out
    assert f"A gateway runs already, pid {pid}. It is stopped first" in ran.out
    assert "installed" in ran.out
    assert "enable --now" in await to_thread.run_sync((tmp_path / "calls").read_text)


async def test_a_gateway_that_made_room_for_nothing_runs_again(tmp_path: Path) -> None:
    shell = with_systemctl(tmp_path, "enable --now")
    async with in_the_background(shell) as (file, pid):
        ran = await shell.here("service", "install", "--yes", "--config", str(file))
        status = await shell.lmg("status", "--json", "--config", str(file))
    assert ran.code == 1, ran
    assert "No medium found" in ran.err
    assert f"started again, pid {status.json['gateway']['pid']}" in ran.err
    assert status.json["gateway"]["pid"] != pid
    assert not (tmp_path / "config" / "systemd").exists()


async def test_a_service_that_could_not_be_replaced_is_started_again(tmp_path: Path) -> None:
    shell = with_systemctl(tmp_path)
    assert (await shell.lmg("service", "install")).code == 0
    unit = tmp_path / "config" / "systemd" / "user" / service_units.UNIT
    before = unit.read_text()
    file = tmp_path / "another.yaml"
    file.write_text("server: {port: 0}\n")
    file.chmod(0o600)
    words = ("service", "install", "--config", str(file))
    ran = await shell.lmg(*words, REFUSES="restart")
    assert (ran.code, unit.read_text()) == (1, before)
    asked = (tmp_path / "calls").read_text().splitlines()
    restart = f"--user restart {service_units.UNIT}"
    assert asked.count(restart) == 2, "once with the new one, once with the one that ran"
    assert asked[-3:] == ["--user daemon-reload", f"--user enable {service_units.UNIT}", restart]


async def test_up_starts_the_service_that_means_the_same_and_enables_nothing(
    tmp_path: Path,
) -> None:
    shell = with_systemctl(tmp_path, "start")
    file = tmp_path / "any-port.yaml"
    file.write_text("server: {port: 0}\n")
    file.chmod(0o600)
    words = ("--config", str(file), "--json")
    assert (await shell.lmg("service", "install", *words, REFUSES="nothing at all")).code == 0
    calls = tmp_path / "calls"
    calls.unlink()
    assert (await shell.lmg("up", *words)).code == 1
    assert calls.read_text().splitlines() == [SHOW, f"--user start {service_units.UNIT}"]
    calls.unlink()
    other = str(tmp_path / "other")
    try:
        up = await shell.lmg("up", *words, LMG_STATE_DIR=other)
        assert up.code == 0, "its state is elsewhere, and so it is not that service's gateway"
    finally:
        await shell.lmg("down", "--drain", "0s", *words, LMG_STATE_DIR=other)
    assert not calls.exists()


def test_a_question_that_nobody_answers_is_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service_manager, "QUESTION_S", 0.2)
    made = service_units.systemd(Path("/home/x"), {}, None, 60)
    for words in (["sleep", "600"], ["/nowhere/systemctl"]):
        service = dataclasses.replace(made, status=words, probe=words)
        assert service_manager.state(service) is None
        assert not service_manager.reachable(service)


async def test_a_gateway_elsewhere_is_down_when_it_answers_no_more(tmp_path: Path) -> None:
    """The number of its process, 1 in a container, is one of ours that goes on."""
    ended: list[stub.Ran] = []

    async def down(url: str) -> None:
        ended.append(await stub.shell(tmp_path).lmg("down", "--json", "--url", url))

    async with anyio.create_task_group() as tasks, stub.served() as gateway:
        tasks.start_soon(down, gateway.url)
        with anyio.fail_after(stub.LIMIT_S):
            while "/admin/shutdown" not in [path for _, path, _ in gateway.asked]:
                await anyio.sleep(0.02)
    assert [ran.code for ran in ended] == [0], ended
    assert ended[0].json["pid"] == 1


def test_where_there_are_no_file_locks_services_can_still_be_looked_at(tmp_path: Path) -> None:
    """As on Windows."""
    text = (
        "import sys; sys.modules['fcntl'] = None\n"
        "from local_model_gateway import cli\n"
        "codes = [cli.run(['service', 'status']), cli.run(['down', '--url', 'http://127.0.0.1:9'])]\n"
        "sys.exit(0 if codes == [0, 0] else 1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=dict(stub.shell(tmp_path).env),
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def test_the_projects_own_configuration_and_folders_are_remembered(tmp_path: Path) -> None:
    shell = with_systemctl(tmp_path)
    project = tmp_path / paths.PROJECT_FILE
    project.write_text("server: {port: 1}\n")
    project.chmod(0o600)
    assert (await shell.here("service", "install")).code == 0
    shown = (await shell.here("service", "--json")).json
    assert shown["config"] == str(project), "it would start with another one"
    unit = Path(shown["file"])
    assert f"Environment=XDG_STATE_HOME={tmp_path}/state\n" in unit.read_text()
    project.unlink()
    gone = await shell.here("service", "status")
    assert "is gone" in gone.out
    assert "lmg service install" in gone.out
    assert (await shell.here("service", "uninstall")).code == 0, "whatever the configuration says"


async def test_a_person_sees_what_happened_in_one_line(tmp_path: Path) -> None:
    shell = with_systemctl(tmp_path)
    unit = f"~/config/systemd/user/{service_units.UNIT}"
    seen = [
        await pseudo_terminal.lmg(shell, "service", *words)
        for words in [(), ("install",), ("install",), ("status",), ("uninstall",), ("uninstall",)]
    ]
    # What stays on the screen, once the line that says what is being waited for is taken away.
    lines = [ran.out.split("\r\x1b[K")[-1].splitlines() for ran in seen]
    assert [said[0] for said in lines] == [
        f"not installed   {unit}",
        f"installed {unit}; it runs, and starts at login",
        f"installed already and running; nothing was changed   {unit}",
        f"installed, running   {unit}",
        f"removed {unit}",
        "not installed",
    ]
    assert [len(said) for said in lines] == [1, 3, 1, 1, 1, 1]
    assert {ran.code for ran in seen} == {0}


async def test_a_service_is_not_installed_for_a_configuration_that_does_not_hold(
    tmp_path: Path,
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("prot: 1\n")
    file.chmod(0o600)
    ran = await stub.shell(tmp_path).lmg("service", "install", "--config", str(file))
    assert ran.code == 4


def test_readiness_is_told_to_whoever_waits_for_it(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as waiting:
        waiting.bind(address)
        assert readiness_note.send("READY=1", {"NOTIFY_SOCKET": address})
        assert waiting.recv(64) == b"READY=1"
    assert not readiness_note.send("READY=1", {"NOTIFY_SOCKET": address})
    assert not readiness_note.send("READY=1", {})


async def test_a_gateway_started_by_systemd_says_when_it_is_ready(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("server: {port: 0}\n")
    file.chmod(0o600)
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as waiting:
        waiting.bind(address)
        waiting.settimeout(stub.LIMIT_S)
        async with stub.child(
            stub.shell(tmp_path), "start", "--config", str(file), NOTIFY_SOCKET=address
        ) as (process, _):
            said = await to_thread.run_sync(waiting.recv, 64)
            process.terminate()
            with anyio.fail_after(stub.LIMIT_S):
                await process.wait()
    assert said == b"READY=1"


@pytest.mark.parametrize(
    ("shell", "check"), [("bash", ["bash", "-n"]), ("zsh", ["zsh", "-n"]), ("fish", ["fish", "-n"])]
)
async def test_completion_is_a_script_that_its_shell_accepts(
    tmp_path: Path, shell: str, check: list[str]
) -> None:
    ran = await stub.shell(tmp_path).lmg("completion", shell)
    assert ran.code == 0
    assert "queue" in ran.out
    if shutil.which(check[0]):
        subprocess.run(check, input=ran.out, text=True, check=True)


async def test_bash_completes_verbs_and_models(tmp_path: Path) -> None:
    shell = stub.shell(tmp_path)
    script = (await shell.lmg("completion", "bash")).out
    program = tmp_path / "lmg"
    program.write_text("#!/bin/sh\necho tiny\necho tall\n")
    program.chmod(0o755)
    asked = script + (
        '\nCOMP_WORDS=(lmg sta); COMP_CWORD=1; _lmg; echo "${COMPREPLY[*]}"'
        '\nCOMP_WORDS=(lmg run ti); COMP_CWORD=2; _lmg; echo "${COMPREPLY[*]}"'
        '\nCOMP_WORDS=(lmg queue pa); COMP_CWORD=2; _lmg; echo "${COMPREPLY[*]}"'
    )
    done = subprocess.run(
        ["bash", "-c", asked],
        capture_output=True,
        text=True,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )
    assert done.stdout.splitlines() == ["start status", "tiny", "pause"]


async def test_init_writes_what_it_read_back_and_never_over_somebodys_own(tmp_path: Path) -> None:
    shell = stub.shell(tmp_path)
    dry = await shell.lmg("init", "--dry-run", "--json")
    assert list(tmp_path.iterdir()) == []
    first = await shell.lmg("init", "--json")
    file = tmp_path / "local-model-gateway.config.yaml"
    assert (first.code, file.read_text()) == (0, dry.json["content"])
    assert file.stat().st_mode & 0o077 == 0
    text = file.read_bytes()
    document = config_reader.parse(text, file, {})
    loaded = await to_thread.run_sync(config.validate, document)
    assert list(loaded.runtimes) == first.json["models"] or list(loaded.runtimes) == ["tiny"]
    file.write_text("version: 1\n")
    refused = await shell.lmg("init", "--json")
    assert (refused.code, file.read_text()) == (6, "version: 1\n")
    forced = await shell.lmg("init", "--force", "--json")
    assert forced.code == 0
    assert Path(forced.json["kept"]).read_text() == "version: 1\n"


async def test_recipes_are_listed_and_shown_filled_in(tmp_path: Path) -> None:
    shell = stub.shell(tmp_path)
    listed = await shell.lmg("recipes", "--json")
    assert {"codex", "ollama"} <= {recipe["id"] for recipe in listed.json["recipes"]}
    shown = await shell.lmg("recipes", "show", "codex", "--url", "http://127.0.0.1:9999")
    assert "http://127.0.0.1:9999/v1" in shown.out
    unknown = await shell.lmg("recipes", "show", "codx")
    assert unknown.code == 5
    assert "codex" in unknown.err
