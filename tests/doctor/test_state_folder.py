"""The folder of the queue: whose it is, where it lies, and how much room there is."""

import os
import shutil
from pathlib import Path

import pytest

from local_model_gateway.doctor import state_folder
from local_model_gateway.doctor.finding import Status
from tests.doctor import cases


def mounted(tmp_path: Path, *lines: str) -> Path:
    root = tmp_path / "root"
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mounts").write_text("".join(f"{line} rw 0 0\n" for line in lines))
    return root


@pytest.mark.parametrize(
    ("lines", "id_"),
    [
        (("/dev/sda1 / ext4",), "STATE"),
        (("/dev/sda1 / ext4", "server:/home {} nfs4"), "STATE-NETWORK"),
        (("server:/all / nfs", "/dev/sda1 {} ext4"), "STATE"),
        (("server:/x / fuse.sshfs",), "STATE-NETWORK"),
    ],
)
def test_a_state_folder_on_a_network_is_refused_by_the_mount_that_it_lies_on(
    tmp_path: Path, lines: tuple[str, ...], id_: str
) -> None:
    root = mounted(tmp_path, *(line.format(tmp_path) for line in lines))
    (finding,) = state_folder.state(cases.case(tmp_path, root=root))
    assert finding.id == id_


@pytest.mark.parametrize(
    ("free", "id_", "status"),
    [
        (50 << 20, "DISK-FULL", Status.FAIL),
        (500 << 20, "DISK-LOW", Status.NOTE),
        (5 << 30, "STATE", Status.OK),
    ],
)
def test_little_room_is_noted_and_none_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, id_: str, status: Status
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    subject = cases.case(tmp_path, root=mounted(tmp_path, "/dev/sda1 / ext4"))
    finding = cases.only(state_folder.state, subject, id_)
    assert finding.status is status


def test_a_folder_of_ours_that_cannot_be_written_is_opened_and_anothers_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "my state"
    state.mkdir()
    # As an administrator everything can be written, whatever its mode.
    monkeypatch.setattr(os, "access", lambda *_: False)
    subject = cases.case(tmp_path, state_dir=state)
    finding = cases.only(state_folder.state, subject, "STATE-READ-ONLY")
    assert finding.fix is not None
    assert (finding.fix.command, finding.fix.mends) == (f"chmod u+rwx '{state}'", True)
    monkeypatch.setattr(os, "geteuid", lambda: 4_194_303)
    finding = cases.only(state_folder.state, subject, "STATE-READ-ONLY")
    assert finding.fix is not None
    assert (finding.fix.command, finding.fix.mends) == (f"ls -ld '{state}'", False)


@pytest.mark.skipif(os.geteuid() == 0, reason="to an administrator no folder is closed")
async def test_a_closed_folder_is_opened_by_its_fix(tmp_path: Path) -> None:
    home = cases.home(tmp_path)
    home.write()
    home.state.mkdir(parents=True)
    home.state.chmod(0o500)
    await home.mended("STATE-READ-ONLY")
