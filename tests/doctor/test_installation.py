"""The program itself, as it could have been installed."""

import importlib.metadata
import importlib.util
import resource
import sys
from pathlib import Path

import pytest

from local_model_gateway.doctor import installation, models
from local_model_gateway.doctor.finding import Status
from tests.doctor import cases


def test_another_lmg_on_the_path_is_named(tmp_path: Path) -> None:
    other = tmp_path / "other bin" / "lmg"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    subject = cases.case(tmp_path, env={"PATH": str(other.parent)})
    finding = cases.only(installation.program, subject, "PATH-SHADOW")
    assert str(other) in finding.what
    assert finding.fix is not None
    assert finding.fix.command == f"'{other}' --version"


def test_a_link_to_this_lmg_is_no_other_one(tmp_path: Path) -> None:
    link = tmp_path / "bin" / "lmg"
    link.parent.mkdir()
    link.symlink_to(Path(sys.executable).with_name("lmg"))
    subject = cases.case(tmp_path, env={"PATH": str(link.parent)})
    assert [one.id for one in installation.program(subject)] == ["INSTALL"]


def test_a_folder_that_two_programs_share_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners = {"broker": ["local-model-gateway", "broker"], "mcp_server": ["local-model-gateway"]}
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: owners)
    finding = cases.only(installation.neighbours, cases.case(tmp_path), "PACKAGE-COLLISION")
    assert finding.fix is not None
    assert finding.fix.command.endswith(" -m pip show --files broker")
    assert not finding.fix.mends


@pytest.mark.parametrize(
    ("hard", "found"), [(1024, ["FILE-LIMIT"]), (65536, []), (resource.RLIM_INFINITY, [])]
)
def test_few_open_files_are_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hard: int, found: list[str]
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, hard))
    assert [one.id for one in installation.files(cases.case(tmp_path))] == found


def test_an_old_python_is_a_problem_and_nothing_else_is_said_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    (finding,) = installation.program(cases.case(tmp_path))
    assert (finding.id, finding.status) == ("PYTHON-OLD", Status.FAIL)


def test_an_embedded_engine_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    subject = cases.case(tmp_path, "runtimes:\n  a: {engine: embedded}\n")
    finding = cases.only(models.runtimes, subject, "EMBEDDED-MISSING")
    assert finding.needs_consent
