"""The built wheel, in an empty environment beside two packages that share names with ours."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=300,
    )
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with our wheel, its locked dependencies, and the two packages of the same names."""
    folder = tmp_path_factory.mktemp("a venv")  # with a space, on purpose
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run(
        [*pip, "--no-deps", "broker==0.8.11", "mcp-server==0.1.4"], check=True, timeout=300
    )
    locked = ROOT / "requirements" / "runtime.txt"
    subprocess.run([*pip, "--require-hashes", "-r", str(locked)], check=True, timeout=400)
    subprocess.run([*pip, "--no-deps", str(wheel)], check=True, timeout=120)
    return folder / "bin"


def test_the_wheel_holds_one_name_and_nothing_that_does_not_belong(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"local_model_gateway"}
    assert not [name for name in names if re.search(r"\.(pth|db|log|key|pem|gguf)$", name)]
    assert not [name for name in names if "/tests/" in name]
    assert "local_model_gateway/py.typed" in names


def test_it_runs_beside_packages_of_the_same_names(installed: Path, tmp_path: Path) -> None:
    version = subprocess.run(
        [installed / "local-model-gateway", "--version"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert re.search(r"\d+\.\d+\.\d+", version.stdout)
    theirs = subprocess.run(
        [
            installed / "python",
            "-c",
            "import importlib.util as u; print(u.find_spec('broker').origin)",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert theirs.stdout.strip().endswith("site-packages/broker/__init__.py")


@pytest.mark.requirement("up-serves-a-real-model")
def test_up_serves_the_built_in_model_and_the_printed_line_answers(
    installed: Path, tmp_path: Path
) -> None:
    home = {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }
    port = free_port()
    log = tmp_path / "log.txt"
    config = tmp_path / "config.yaml"
    config.write_text(f"version: 1\nserver: {{port: {port}}}\n")
    config.chmod(0o600)
    with log.open("wb") as out:
        gateway = subprocess.Popen(
            [installed / "lmg", "up", "--yes", "--foreground", "--config", str(config)],
            stdout=out,
            stderr=out,
            cwd=tmp_path,
            env=home,
        )
    try:
        line = wait_for_line(log, gateway, "curl ")
        answer = subprocess.run(
            line, shell=True, capture_output=True, text=True, check=True, timeout=60
        )
        content = json.loads(answer.stdout)["choices"][0]["message"]["content"]
        assert "written by hand" in content
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=10) as status:
            assert json.load(status)["runtimes"][0]["state"] == "ready"
    finally:
        gateway.terminate()
        assert gateway.wait(60) == 0


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_line(log: Path, process: subprocess.Popen[bytes], start: str) -> str:
    """The printed command, continuation lines and all."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        text = log.read_text()
        found = re.search(rf"^\s*({start}.*(?:\\\n.*)*)\n", text, re.MULTILINE)
        if found:
            return found[1]
        assert process.poll() is None, text
        time.sleep(0.1)
    raise AssertionError(log.read_text())
