"""An engine that somebody started by hand becomes one that the gateway starts, and only then ends."""

import contextlib
import http.server
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import anyio.abc
import psutil
import pytest
from anyio import to_thread

from local_model_gateway import config, errors
from local_model_gateway.adding import adoption, hand_started
from local_model_gateway.detection import probe, processes
from local_model_gateway.importing import command_lines
from tests.cli import programs, pseudo_terminal, stub
from tests.cli.test_remove import snapshot
from tests.doctor import imitations
from tests.support.gateway import free_port

OLLAMA = next(one for one in imitations.IMITATIONS if one.engine == "ollama")
STRANGER = next(one for one in imitations.IMITATIONS if one.engine == "openai")


@contextlib.asynccontextmanager
async def started(
    tmp_path: Path, *words: str, **env: str
) -> AsyncGenerator[tuple[anyio.abc.Process, int]]:
    """A program of ours that was started by hand in `tmp_path/work`, and its port."""
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    (work / "m.gguf").write_bytes(b"GGUF")
    port = free_port()
    process = await anyio.open_process(
        [word.replace("PORT", str(port)) for word in words],
        cwd=work,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **env},
        stderr=None,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        said = b""
        with anyio.fail_after(stub.LIMIT_S):
            while b"listening on" not in said:
                said += await process.stdout.receive()
        yield process, port
    finally:
        with anyio.CancelScope(shield=True):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.aclose()


def bin_(tmp_path: Path, *names: str) -> Path:
    return programs.installed(tmp_path / "bin", *(names or ("llama-server",)))


def llama(tmp_path: Path) -> tuple[str, ...]:
    program = str(bin_(tmp_path) / "llama-server")
    return (program, "-m", "m.gguf", "--port", "PORT", "-c", "8192", "-np", "2", "-a", "mine")


def with_a_port(tmp_path: Path) -> stub.Shell:
    file = tmp_path / "config" / "local-model-gateway" / "config.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("server: {port: 0}\n")
    file.chmod(0o600)
    return stub.shell(tmp_path)


async def loaded(tmp_path: Path) -> config.Config:
    env = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    return await to_thread.run_sync(config.load, None, env)


async def test_it_is_shown_asked_for_written_and_ended_and_the_gateway_starts_it_again(
    tmp_path: Path,
) -> None:
    shell = with_a_port(tmp_path)
    await shell.lmg("up", "--yes")
    before = snapshot(tmp_path / "config")
    try:
        async with started(
            tmp_path, *llama(tmp_path), "-ngl", "99", CUDA_VISIBLE_DEVICES="0", HF_TOKEN="canary"
        ) as (process, port):
            dry = await shell.lmg("adopt", str(port), "--dry-run")
            assert f"pid {process.pid} is then asked to end (nobody is connected to it)" in dry.out
            refused = await shell.lmg("adopt", str(port))
            assert refused.code == 6
            assert process.returncode is None
            assert snapshot(tmp_path / "config") == before
            ran = await shell.lmg("adopt", str(process.pid), "--yes", "--json")
            assert ran.code == 0, ran.err
            assert ran.json["gateway"] == {"running": True, "taken": True}
            with anyio.fail_after(stub.LIMIT_S):
                assert await process.wait() == 0
        runtime = (await loaded(tmp_path)).runtimes["mine"]
        assert (runtime.engine, runtime.model) == ("llama-server", f"{tmp_path}/work/m.gguf")
        assert (runtime.context, runtime.max_concurrency) == (4096, 2)
        assert (runtime.args, runtime.port) == (["-ngl", "99"], None)
        assert runtime.env == {"CUDA_VISIBLE_DEVICES": "0"}
        answer = await shell.lmg("run", "mine", "hello", "--json")
        assert (answer.code, bool(answer.json["text"])) == (0, True), answer.err
        undone = await shell.lmg("remove", "mine", "--json")
        assert undone.json["gateway"] == {"running": True, "taken": True}
    finally:
        await shell.lmg("down", "--drain", "0s")
    assert snapshot(tmp_path / "config") == before


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (["127.0.0.1"], False),
        (["127.0.0.1", "::1"], False),
        (["0.0.0.0"], True),
        (["::"], True),
        (["127.0.0.1", "192.168.1.2"], True),
    ],
)
def test_an_address_that_other_machines_reach_is_told(addresses: list[str], expected: bool) -> None:
    assert hand_started.is_open(addresses) is expected


async def test_open_connections_are_counted(tmp_path: Path) -> None:
    async with (
        started(tmp_path, *llama(tmp_path)) as (_, port),
        await anyio.connect_tcp("127.0.0.1", port) as stream,
    ):
        await stream.send(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        await stream.receive()
        ran = await stub.shell(tmp_path).lmg("adopt", str(port), "--dry-run", "--json")
    assert (ran.json["connections"], ran.json["open"]) == (1, False)


@pytest.mark.parametrize(("answer", "goes"), [("n\n", False), ("y\n", True)])
async def test_a_person_is_asked_first(tmp_path: Path, answer: str, goes: bool) -> None:
    async with started(tmp_path, *llama(tmp_path)) as (process, port):
        ran = await pseudo_terminal.lmg(stub.shell(tmp_path), "adopt", str(port), typed=answer)
        assert "is then asked to end" in ran.out
        assert ran.code == (0 if goes else 6)
        if goes:
            with anyio.fail_after(stub.LIMIT_S):
                await process.wait()
        else:
            assert process.returncode is None
    assert (tmp_path / "config").exists() is goes


async def test_a_script_of_python_and_an_engine_with_a_key_are_understood(tmp_path: Path) -> None:
    vllm = str(bin_(tmp_path, "vllm") / "vllm")
    words = ("serve", "org/model", "--port", "PORT", "--max-model-len", "4096", "--dtype", "half")
    async with started(
        tmp_path, sys.executable, vllm, *words, VLLM_API_KEY="canary", VLLM_LOGGING_LEVEL="DEBUG"
    ) as (_, port):
        ran = await stub.shell(tmp_path).lmg("adopt", f":{port}", "--yes", "--json")
    assert ran.code == 0, ran.err
    runtime = (await loaded(tmp_path)).runtimes["model"]
    assert (runtime.engine, runtime.model, runtime.executable) == ("vllm", "org/model", vllm)
    assert (runtime.context, runtime.args) == (4096, ["--dtype", "half"])
    assert runtime.env == {"VLLM_LOGGING_LEVEL": "DEBUG"}


async def test_what_the_command_leaves_open_is_asked_of_the_engine(tmp_path: Path) -> None:
    program = str(bin_(tmp_path) / "llama-server")
    async with started(tmp_path, program, "-m", "m.gguf", "--port", "PORT") as (_, port):
        ran = await stub.shell(tmp_path).lmg("adopt", str(port), "--dry-run", "--json")
    assert "context: 8192\n    max_concurrency: 1" in ran.json["content"]
    assert ran.json["notes"] == []


def test_a_model_that_came_from_a_hub_is_the_file_that_the_engine_has_loaded() -> None:
    words = ["llama-server", "-hf", "org/never-fetched", "-c", "512", "-ngl", "9"]
    found = command_lines.understood(words, model="/cache/m.gguf")
    assert (found.section["model"], found.section["args"]) == ("/cache/m.gguf", ["-ngl", "9"])


async def test_a_server_that_manages_its_models_goes_on_and_its_models_are_added(
    tmp_path: Path,
) -> None:
    shell = stub.shell(tmp_path)
    with imitations.served(OLLAMA) as port:
        ran = await shell.lmg("adopt", str(port), "--yes", "--json")
        assert (ran.code, ran.json["ended"]) == (0, False)
        before = snapshot(tmp_path)
        again = await shell.lmg("adopt", str(port), "--yes", "--json")
        assert (again.code, again.json["written"], snapshot(tmp_path)) == (0, None, before)
    runtimes = (await loaded(tmp_path)).runtimes
    assert [runtimes[name].model for name in runtimes] == ["gemma4:12b", "qwen3:32b"]


async def test_a_command_that_is_not_understood_changes_nothing_and_says_what_to_write(
    tmp_path: Path,
) -> None:
    with imitations.served(STRANGER) as port:
        ran = await stub.shell(tmp_path).lmg("adopt", str(port), "--yes")
    assert ran.code == 1
    assert "Nothing was changed. Write it by hand" in ran.err
    assert "    cmd: [" in ran.err
    assert not (tmp_path / "config").exists()


async def test_one_that_does_not_end_is_said_and_only_killed_by_force(tmp_path: Path) -> None:
    shell = stub.shell(tmp_path)
    words = llama(tmp_path)
    (tmp_path / "bin" / "deaf-to-term").touch()
    async with started(tmp_path, *words) as (process, port):
        ran = await shell.lmg("adopt", str(port), "--yes", "--wait", "500ms")
        assert ran.code == 1
        assert f"lmg adopt {process.pid} --force" in ran.err
        assert process.returncode is None
        ran = await shell.lmg("adopt", str(process.pid), "--yes", "--wait", "500ms", "--force")
        assert ran.code == 0, ran.err
        with anyio.fail_after(stub.LIMIT_S):
            assert await process.wait() == -signal.SIGKILL


AGAIN = """\
import socket, subprocess, sys, time
subprocess.run(sys.argv[2:])
again = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(600)
"""
"""What a supervisor does: when its child ends, somebody listens there again at once."""


async def test_one_that_something_starts_again_is_said(tmp_path: Path) -> None:
    words = (sys.executable, "-c", AGAIN, "PORT", *llama(tmp_path))
    async with started(tmp_path, *words) as (_, port):
        ran = await stub.shell(tmp_path).lmg("adopt", str(port), "--yes")
    assert ran.code == 1
    assert "something starts it anew" in ran.err


async def test_the_gateway_and_its_own_engines_are_refused(tmp_path: Path) -> None:
    shell = with_a_port(tmp_path)
    up = await shell.lmg("up", "--yes", "--json")
    try:
        await shell.lmg("run", "tiny", "hello")
        children = await to_thread.run_sync(psutil.Process(up.json["pid"]).children)
        assert children
        for pid in (up.json["pid"], *(child.pid for child in children)):
            ran = await shell.lmg("adopt", str(pid), "--yes")
            assert ran.code == 6
            assert "managed already" in ran.err
        assert all(child.is_running() for child in children)
    finally:
        await shell.lmg("down", "--drain", "0s")


LAUNCHER = """\
import os, signal, subprocess, sys
words = sys.argv[sys.argv.index("--port"):][:2]
child = subprocess.Popen([sys.argv[0].replace("ramalama", "llama-server"), "-m", sys.argv[-1], *words])
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
child.wait()
"""


async def test_a_launcher_that_leaves_its_engine_behind_is_ended_with_it(tmp_path: Path) -> None:
    ramalama = bin_(tmp_path) / "ramalama"
    ramalama.write_text(programs.FIRST_LINES + LAUNCHER)
    ramalama.chmod(0o700)
    words = (str(ramalama), "--nocontainer", "serve", "--port", "PORT", "file:///m.gguf")
    async with started(tmp_path, *words) as (process, port):
        children = await to_thread.run_sync(psutil.Process(process.pid).children)
        assert len(children) == 1
        ran = await stub.shell(tmp_path).lmg("adopt", str(port), "--yes", "--json")
        assert (ran.code, ran.json["pid"]) == (0, process.pid), ran.err
        assert not children[0].is_running() or children[0].status() == psutil.STATUS_ZOMBIE
    runtime = (await loaded(tmp_path)).runtimes["m"]
    assert (runtime.engine, runtime.model) == ("ramalama", "file:///m.gguf")


async def test_a_shell_that_has_more_to_do_than_start_the_engine_goes_on(tmp_path: Path) -> None:
    script = " ".join(llama(tmp_path)) + "\nsleep 600"
    async with started(tmp_path, "bash", "-c", script) as (shell, port):
        ran = await stub.shell(tmp_path).lmg("adopt", str(port), "--yes", "--json")
        assert (ran.code, shell.returncode) == (0, None), ran.err
        assert ran.json["pid"] != shell.pid
        assert "sleep" not in ran.json["content"]


async def test_an_engine_whose_launcher_has_ended_meanwhile_is_ended_still(tmp_path: Path) -> None:
    ramalama = bin_(tmp_path) / "ramalama"
    ramalama.write_text(programs.FIRST_LINES + LAUNCHER)
    ramalama.chmod(0o700)
    words = (str(ramalama), "--nocontainer", "serve", "--port", "PORT", "file:///m.gguf")
    async with started(tmp_path, *words) as (process, port):
        stray = await to_thread.run_sync(hand_started.find, f":{port}")
        assert isinstance(stray, hand_started.Stray)
        (engine,) = await to_thread.run_sync(psutil.Process(process.pid).children)
        process.kill()
        await process.wait()
        assert await to_thread.run_sync(hand_started.end, stray, stub.LIMIT_S)
        assert not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE


async def test_no_secret_of_a_command_line_is_shown_or_written(tmp_path: Path) -> None:
    program = str(bin_(tmp_path, "vllm") / "vllm")
    options = "serve org/model --port PORT --hf-token canary-1 --api-key canary-2 --tokenizer t"
    script = f"HF_TOKEN=canary-3 CUDA_VISIBLE_DEVICES= {program} {options}; "
    async with started(tmp_path, "sh", "-c", f"{script} true") as (_, port):
        ran = await stub.shell(tmp_path).lmg("adopt", f":{port}", "--dry-run")
    assert ran.code == 0, ran.err
    assert "canary" not in ran.out + ran.err
    assert "--hf-token ${env:NAME} into `args`" in ran.out
    assert 'args: ["--tokenizer", "t"]' in ran.out


def stray_of(*words: str) -> hand_started.Stray:
    return hand_started.Stray(os.getpid(), 1, words, Path("/x"), {}, None, {}, 0)


@pytest.mark.parametrize(
    "script",
    [
        "HF_TOKEN=canary A_PASSWORD=canary A=b llama-server -m m -c 512",
        "llama-server -m m -hft=canary",
    ],
)
def test_a_secret_of_a_shells_command_is_left_out_and_named(script: str) -> None:
    found = adoption.understood(stray_of("sh", "-c", script))
    assert "canary" not in repr(found)
    assert any("holds a secret" in note for note in found.notes)


@pytest.mark.parametrize(
    "words",
    [
        ("sh", "-c", "cd x; HF_TOKEN=canary llama-server --api-key canary"),
        ("env", "HF_TOKEN=canary", "strange", "--hf-token", "canary", "--api-key=canary"),
    ],
)
def test_a_command_that_is_not_understood_is_shown_without_its_secrets(
    words: tuple[str, ...],
) -> None:
    with pytest.raises(errors.CommandFailed) as caught:
        adoption.understood(stray_of(*words))
    assert "canary" not in str(caught.value)


def test_an_answer_that_is_nested_without_end_is_no_answer() -> None:
    assert probe.Answer(200, {}, "[" * 200_000).json == {}


def test_a_server_that_listens_on_the_newer_loopback_only_is_asked_there() -> None:
    class Newer(http.server.HTTPServer):
        address_family = socket.AF_INET6

    with Newer(("::1", 0), http.server.BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        answer = probe.get(server.server_port, "/", host="::1", timeout_s=stub.LIMIT_S)
        thread.join()
    assert answer.status == 501


class Closed(processes.Table):
    """A system that shows sockets to the administrator only."""

    def listeners(self) -> dict[int, int]:
        return {}


async def test_where_sockets_are_hidden_an_engine_of_ones_own_is_found_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "Table", Closed)
    async with started(tmp_path, *llama(tmp_path)) as (process, port):
        for which in (str(process.pid), f":{port}"):
            ran = await stub.shell(tmp_path).here("adopt", which, "--dry-run", "--json")
            assert (ran.json["pid"], ran.json["port"]) == (process.pid, port)


async def test_a_server_of_another_user_that_manages_its_models_needs_not_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "Table", Closed)
    with imitations.served(OLLAMA) as port:
        ran = await stub.shell(tmp_path).here("adopt", f":{port}", "--dry-run", "--json")
    assert ran.json["models"] == ["gemma4-12b", "qwen3-32b"]


async def test_another_users_engine_is_theirs_to_hand_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with started(tmp_path, *llama(tmp_path)) as (process, port):
        monkeypatch.setattr(os, "getuid", lambda: 4242)
        ran = await stub.shell(tmp_path).here("adopt", str(port), "--yes")
        assert (ran.code, process.returncode) == (6, None)
    assert "only who started it can hand it over" in ran.err


async def test_what_carries_a_gateways_mark_is_its_own_even_when_the_gateway_is_gone(
    tmp_path: Path,
) -> None:
    async with started(tmp_path, *llama(tmp_path), LMG_RUNTIME_NONCE="x") as (process, port):
        ran = await stub.shell(tmp_path).lmg("adopt", str(port), "--yes")
        assert (ran.code, process.returncode) == (6, None)
    assert "managed already" in ran.err


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        (
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/llama.service\n",
            "llama.service",
        ),
        ("0::/user.slice/user-1000.slice/user@1000.service/llama.service\n", "llama.service"),
        ("1:cpu:/system.slice/vllm.service\n0::/\n", "vllm.service"),
        ("0::/system.slice/vllm.service\n", "systemctl disable --now vllm.service"),
        ("0::/system.slice/vllm.service\n", "add service --unit /vllm.service"),
        ("0::/system.slice/docker-0123456789abcdef.scope\n", "container"),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/libpod-12.scope\n",
            "container",
        ),
        ("12:pids:/docker/0123\n", "container"),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", None),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-x.scope\n", None),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-x@autostart.service\n",
            None,
        ),
        ("0::/system.slice/ssh.service\n", None),
        ("0::/\n", None),
    ],
)
def test_what_a_service_or_a_container_holds_is_not_ours_to_end(
    groups: str, says: str | None
) -> None:
    found = hand_started.held_by(groups)
    assert found is None if says is None else found is not None and says in found


@pytest.mark.parametrize(
    ("which", "says"),
    [
        ("llama", "neither a pid nor a port"),
        (":1", "nothing listens on port 1"),
        ("99999999", "pid"),
    ],
)
async def test_what_is_not_there_is_said(tmp_path: Path, which: str, says: str) -> None:
    ran = await stub.shell(tmp_path).here("adopt", which, "--yes")
    assert ran.code == 5
    assert says in ran.err


async def test_a_process_that_listens_nowhere_is_no_engine_yet(tmp_path: Path) -> None:
    ran = await stub.shell(tmp_path).here("adopt", str(os.getppid()), "--yes")
    assert ran.code in {5, 6}
    assert not (tmp_path / "config").exists()
