"""The doctor ends in its time whatever hangs: what is too slow is a `skip`, and everything else is said."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

import anyio
import pytest

from local_model_gateway.detection import probe, processes
from local_model_gateway.doctor import bypass, client_files, examination, memory, models, setup
from local_model_gateway.doctor.finding import Case, Finding, Status, ok
from tests.cli import stub
from tests.doctor import cases, imitations

PROMISED_S, PROBE_S = 5.0, 0.75
STARTS_WITHIN_S = 1.0
"""The interpreter's own start and its end, on a machine that has something else to do as well."""


@contextlib.contextmanager
def silent_ports(number: int) -> Generator[list[int]]:
    """Ports that accept and say nothing."""
    with contextlib.ExitStack() as stack:
        listening = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)
        ]
        yield [one.getsockname()[1] for one in listening]


@contextlib.contextmanager
def trickling_port() -> Generator[int]:
    """A port that says a byte at a time, for ever, and so never lets a read time out."""
    stop = threading.Event()

    def trickle(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
            while not stop.wait(0.05):
                connection.sendall(b"x")

    def accept(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = listening.accept()[0]
                threading.Thread(target=trickle, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, args=(listening,), daemon=True).start()
        try:
            yield int(listening.getsockname()[1])
        finally:
            stop.set()
            listening.shutdown(socket.SHUT_RDWR)


def test_all_limits_together_are_within_what_is_promised() -> None:
    gateway_s = examination.GATEWAY_S * examination.GATEWAY_TRIES
    before_checks = examination.CONFIG_S + gateway_s + examination.GATEWAY_S
    assert before_checks + examination.CHECK_S <= PROMISED_S
    assert examination.LIMIT_S + STARTS_WITHIN_S <= PROMISED_S
    assert max(probe.TIMEOUT_S, examination.GATEWAY_S) <= PROBE_S
    assert max(bypass.PORT_S, client_files.FILE_S, 2 * models.PROBE_S) < examination.LIMIT_S


def test_one_check_that_breaks_or_hangs_does_not_hide_the_others(tmp_path: Path) -> None:
    release = threading.Event()

    def breaks(_: Case) -> list[Finding]:
        raise RuntimeError("oh")

    def hangs(_: Case) -> Generator[Finding]:
        yield ok("FIRST", "x", "y")
        release.wait(60)

    def works(_: Case) -> list[Finding]:
        return [ok("FINE", "x", "y")]

    began = time.monotonic()
    found = examination.examine(cases.case(tmp_path), [breaks, hangs, works], limit_s=1.0)
    release.set()
    assert [(one.id, one.status) for one in found] == [
        ("BREAKS", Status.SKIP),
        ("FIRST", Status.OK),
        ("HANGS", Status.SKIP),
        ("FINE", Status.OK),
    ]
    # The doctor's own deadline, and room for a machine that is busy.
    assert time.monotonic() - began < 1.0 + PROMISED_S


def test_ports_that_say_nothing_or_never_end_do_not_hide_an_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bypass, "PORT_S", 6.0)  # the engine has to answer on a busy machine too
    imitation = next(one for one in imitations.IMITATIONS if one.engine == "lmstudio")
    with (
        silent_ports(9) as silent,
        trickling_port() as endless,
        imitations.served(imitation) as port,
    ):
        subject = cases.case(tmp_path, ports=(*silent, endless, port))
        found = list(bypass.listening(subject))
    slow = [one.what for one in found if one.id == "ENGINE-SLOW"]
    assert any(f":{endless} " in what for what in slow)
    assert [one.id for one in found if one.id != "ENGINE-SLOW"] == ["LMSTUDIO-JIT"]


def test_one_clients_file_that_hangs_does_not_hide_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".codex").mkdir()
    (tmp_path / ".codex" / "config.toml").write_text("x = 'http://localhost:11434/v1'")
    release, read = threading.Event(), client_files._text

    def slow(file: Path) -> str:
        if ".cursor" in str(file):
            release.wait(60)
        return read(file)

    monkeypatch.setattr(client_files, "_text", slow)
    found = list(client_files.clients(cases.case(tmp_path)))
    release.set()
    assert {"CLIENT-SLOW", "CLIENT-BYPASS"} <= {one.id for one in found}
    assert [one.what for one in found if "Cursor" in one.what]


def test_a_pipe_in_place_of_a_clients_file_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / ".codex").mkdir()
    os.mkfifo(tmp_path / ".codex" / "config.toml")
    assert [one.id for one in client_files.clients(cases.case(tmp_path))] == ["CLIENTS"]


def test_a_process_table_without_an_end_costs_its_own_checks_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def endless() -> dict[int, processes.Row]:
        release.wait(60)
        return {}

    monkeypatch.setattr(processes, "_read", endless)
    checks = [setup.configuration, memory.holders, setup.keys, memory.budget]
    found = examination.examine(cases.case(tmp_path), checks, limit_s=1.0)
    release.set()
    assert {one.id: one.status for one in found} == {
        "CONFIG": Status.OK,
        "HOLDERS": Status.SKIP,
        "MEMORY": Status.OK,
    }


async def test_a_configuration_that_cannot_be_read_to_its_end_ends_the_wait_for_it(
    tmp_path: Path,
) -> None:
    home = cases.home(tmp_path)
    os.mkfifo(home.config)
    # Opening it waits for a writer that never comes, in the library's own threads too.
    checks = (await home.doctor("--quick")).json["checks"]
    found = {check["id"]: check for check in checks}
    assert "could not be read within" in found["CONFIG-INVALID"]["what"]
    assert "INSTALL" in found


async def test_a_gateway_that_never_finishes_its_answer_is_called_silent(tmp_path: Path) -> None:
    home = cases.home(tmp_path)
    with trickling_port() as port:
        home.write(server={"port": port})
        with anyio.fail_after(stub.LIMIT_S):
            found = await home.found("--quick")
    # It is another program's port, as far as that can be seen.
    assert {"PORT-TAKEN", "GATEWAY-SILENT"} & set(found)
    assert "STATE" in found


def test_nothing_of_the_doctor_is_waited_for_at_the_end(tmp_path: Path) -> None:
    """A pool's threads are joined when the interpreter ends, a hanging one included; ours are not."""
    names = _threads_during(examination.examine, cases.case(tmp_path))
    assert names
    assert not [name for name in names if name.startswith("ThreadPoolExecutor")]


def _threads_during(examine: Callable[..., list[Finding]], subject: Case) -> list[str]:
    seen: list[str] = []

    def watch(_: Case) -> Generator[Finding]:
        for _look in range(20):
            seen.extend(thread.name for thread in threading.enumerate())
            time.sleep(0.01)
        yield ok("SEEN", "x", "y")

    examine(subject, [*examination.CHECKS, watch])
    return seen
