"""Service files, completion scripts, recipes and the first configuration."""

import plistlib
import shutil
import socket
import subprocess
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from local_model_gateway import config, config_reader, readiness_note, service_units
from tests.cli import stub

# What systemctl would be asked: written down, and always successful.
SYSTEMCTL = '#!/bin/sh\necho "$@" >> "$HOME/calls"\n'


def test_the_systemd_unit_starts_this_interpreter_and_survives_a_strange_path() -> None:
    file = Path("/a b/50%$x.yaml")
    unit = service_units.systemd(Path("/home/x"), {}, file, drain_s=60).content
    assert '"/a b/50%%$$x.yaml"' in unit
    assert "TimeoutStopSec=105" in unit
    assert "Type=notify" in unit
    assert "RestartPreventExitStatus=2 4" in unit


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


def test_the_launch_agent_is_a_plist_that_restarts_only_after_a_crash() -> None:
    service = service_units.launchd(Path("/Users/x"), {}, Path("/a b.yaml"), uid=501)
    plist = plistlib.loads(service.content.encode())
    assert plist["ProgramArguments"][-2:] == ["--config", "/a b.yaml"]
    assert plist["KeepAlive"] == {"SuccessfulExit": False}
    assert plist["ProcessType"] == "Interactive"
    assert service.install[0][:3] == ["launchctl", "bootstrap", "gui/501"]


async def test_installing_writes_one_file_and_uninstalling_leaves_nothing(tmp_path: Path) -> None:
    made = stub.shell(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "systemctl").write_text(SYSTEMCTL)
    (tmp_path / "bin" / "systemctl").chmod(0o755)
    shell = stub.Shell(tmp_path, {**made.env, "PATH": f"{tmp_path / 'bin'}:{made.env['PATH']}"})
    unit = tmp_path / "config" / "systemd" / "user" / service_units.UNIT
    dry = await shell.lmg("service", "install", "--dry-run", "--json")
    assert dry.json["done"] is False
    assert not (tmp_path / "config").exists()
    installed = await shell.lmg("service", "install", "--json")
    assert (installed.code, unit.read_text()) == (0, dry.json["content"])
    status = await shell.lmg("service", "status", "--json")
    assert (status.json["installed"], status.json["active"]) == (True, True)
    removed = await shell.lmg("service", "uninstall", "--json")
    assert (removed.code, unit.exists()) == (0, False)
    asked = (tmp_path / "calls").read_text().splitlines()
    assert asked == [
        "--user daemon-reload",
        f"--user enable --now {service_units.UNIT}",
        f"--user is-active {service_units.UNIT}",
        f"--user disable --now {service_units.UNIT}",
        "--user daemon-reload",
    ]
    assert (await shell.lmg("service", "status", "--json")).json["installed"] is False


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
