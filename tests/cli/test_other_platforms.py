"""What other systems start the gateway with, checked as far as a file can be: Windows, and containers."""

import json
import shlex
import socket
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import anyio
import pytest
import yaml
from anyio import to_thread

from local_model_gateway import errors, service_units
from recipes import loader, render
from recipes.front_matter import Kind
from tests.cli import stub

ROOT = Path(__file__).parents[2]
TASK = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
WINDOWS = {"USERDOMAIN": "HOME&CO", "USERNAME": "ann", "XDG_CONFIG_HOME": "/c"}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's lines as (word, rest), without comments."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    parts = [line.partition(" ") for line in lines if not line.startswith("#")]
    return [(word, rest) for word, _, rest in parts]


def last(word: str) -> str:
    return [rest for name, rest in instructions() if name == word][-1]


def test_the_windows_task_starts_at_logon_hidden_and_again_after_a_failure() -> None:
    service = service_units.windows(WINDOWS, Path("/a b/c&d.yaml"))
    task = ElementTree.fromstring(service.content.encode(service.encoding))

    def said(path: str) -> str | None:
        return task.findtext("/".join(TASK + name for name in path.split("/")))

    assert said("Triggers/LogonTrigger/UserId") == "HOME&CO\\ann"
    assert said("Principals/Principal/RunLevel") == "LeastPrivilege"
    assert said("Settings/Hidden") == "true"
    assert said("Settings/ExecutionTimeLimit") == "PT0S"
    assert said("Settings/RestartOnFailure/Interval") == "PT1M"
    words = said("Actions/Exec/Arguments")
    assert words == '-P -m local_model_gateway.windowless start --quiet --config "/a b/c&d.yaml"'
    assert service_units.named_config(service.argv_of(service.content)) == Path("/a b/c&d.yaml")
    assert str(service.file) in service.install[0].words
    assert said("Settings/Priority") == "5", "a task is slowed down as background work otherwise"


def test_a_windows_path_is_quoted_as_windows_reads_it_or_refused() -> None:
    folder = service_units.windows(WINDOWS, Path("/a b/ends with\\"))
    assert '"/a b/ends with\\\\"</Arguments>' in folder.content
    with pytest.raises(errors.RefusedByGateway, match="a path without %"):
        service_units.windows(WINDOWS, Path("/100%/of 50%/c.yaml"))


async def test_the_gateway_starts_where_no_stream_is_open_as_under_pythonw(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("server: {port: 0}\n")
    file.chmod(0o600)
    words = [
        "-P",
        "-m",
        "local_model_gateway.windowless",
        "start",
        "--quiet",
        "--config",
        str(file),
    ]
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as waiting:
        waiting.bind(address)
        waiting.settimeout(stub.LIMIT_S)
        process = await anyio.open_process(
            ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, *words],
            stdin=None,
            stdout=None,
            stderr=None,
            env={**stub.shell(tmp_path).env, "NOTIFY_SOCKET": address},
        )
        try:
            assert await to_thread.run_sync(waiting.recv, 64) == b"READY=1"
            process.terminate()
            with anyio.fail_after(stub.LIMIT_S):
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def test_another_systems_service_is_shown_and_never_installed(tmp_path: Path) -> None:
    shell = stub.shell(tmp_path)
    words = ("service", "install", "--platform", "windows", "--json")
    shown = await shell.here(*words, "--dry-run")
    assert shown.json["content"].startswith("<?xml")
    assert shown.json["done"] is False
    refused = await shell.here(*words)
    assert refused.code == 6
    assert list(tmp_path.iterdir()) == []


def test_the_image_runs_the_gateway_as_somebody_who_is_not_root() -> None:
    first = (ROOT / "Dockerfile").read_text().splitlines()[0]
    assert first.startswith("# A container cannot start engines on its host")
    assert last("USER") == "1000:1000"
    assert json.loads(last("ENTRYPOINT")) + json.loads(last("CMD"))[:1] == ["lmg", "start"]
    assert last("EXPOSE") == "8787"
    assert "http://127.0.0.1:8787/health" in last("HEALTHCHECK")
    assert json.loads(last("VOLUME")) == ["/var/lib/lmg"], "any other would outlive its container"


def test_the_image_is_made_of_what_is_here_and_locked_by_hash() -> None:
    names = [name for name, _ in instructions()]
    assert "ADD" not in names, "it can fetch what nobody has checked"
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    for name, rest in instructions():
        assert not any(word in rest for word in ("amd64", "x86_64", "arm64", "aarch64"))
        if name == "COPY" and not rest.startswith("--from"):
            for source in shlex.split(rest)[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source.split('/')[0]}" in allowed, source
        if name == "RUN" and "pip install" in rest:
            assert "--require-hashes" in rest or "--no-deps" in rest


def test_the_image_holds_every_package_and_reads_its_configuration_from_the_volume() -> None:
    copied = [shlex.split(rest)[:-1] for name, rest in instructions() if name == "COPY"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"])
    assert packages <= {source for sources in copied for source in sources}
    first_code = min(copied.index([package]) for package in packages)
    locked = next(i for i, sources in enumerate(copied) if "requirements/runtime.txt" in sources)
    assert locked < first_code, "a changed line of code would fetch every dependency again"
    told = dict(pair.split("=", 1) for pair in last("ENV").split())
    assert Path(told["LMG_CONFIG"]).parent == Path("/etc/lmg")
    assert told["LMG_STATE_DIR"] in json.loads(last("VOLUME"))


def test_the_compose_file_is_the_recipe_with_its_image_built_here() -> None:
    recipe = loader.find(Kind.SERVICE, "docker-compose")
    rendered = render.render(recipe, render.Values("http://127.0.0.1:8787", "m"))
    file = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert file["services"]["gateway"].pop("build") == "."
    assert file == yaml.safe_load(rendered.blocks["compose"])
    published = [port for one in file["services"].values() for port in one.get("ports", ())]
    assert published == ["127.0.0.1:8787:8787"]
