"""The first minute on a machine with real engines and real model files: found, offered, asked, examined."""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from anyio import to_thread

from tests.cli import pseudo_terminal, stub
from tests.cli.test_first_minute import in_order, shell_in, shown
from tests.real_engines import fleet, install
from tests.real_engines.fleet import Models
from tests.support import private_network

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="networks of one's own are Linux's")


BIG_ENOUGH_MIB = 20
"""What is smaller is not taken for a model."""


@pytest.fixture
def network() -> Generator[private_network.Network]:
    with private_network.made() as made:
        yield made


async def answers(shell: stub.Shell, model: str) -> None:
    """The model says what its weights say, and the line below says where the time went."""
    ran = await pseudo_terminal.lmg(shell, "run", model, "Say hello")
    assert ran.code == 0, ran.out
    in_order(shown(ran), fleet.SENTENCE, "load ", "first token ", " tokens")
    as_json = await shell.lmg("run", model, "Say hello", "--json")
    assert as_json.json["text"].strip() == fleet.SENTENCE
    assert as_json.json["finish_reason"] == "stop"


def fine(doctor: stub.Ran) -> None:
    """Nothing wrong with what was set up here; processes of others are theirs."""
    status = {check["id"]: check["status"] for check in doctor.json["checks"]}
    assert {status[name] for name in ("CONFIG", "GATEWAY", "MODELS")} == {"ok"}, doctor.out


async def test_a_model_file_in_the_home_is_offered_and_answers(
    network: private_network.Network, tmp_path: Path, models: Models
) -> None:
    made = await models.gguf(BIG_ENOUGH_MIB)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "Hand-Made-Q8.gguf").hardlink_to(made)
    shell = shell_in(network, tmp_path)
    up = await pseudo_terminal.lmg(shell, "up", typed="\n")
    try:
        await answers(shell, "hand-made-q8")
        doctor = await shell.lmg("doctor", "--json")
    finally:
        down = await shell.lmg("down", "--drain", "5s")
    in_order(
        shown(up),
        "  Models    1 GGUF file, ",
        ", for llama.cpp, built in\n",
        "Use this model? It loads only when asked for. [Y/n]",
        "✓ wrote ",
        "✓ Local Model Gateway",
        'Next  lmg run hand-made-q8 "Say hello"\n',
    )
    assert (up.code, down.code) == (0, 0)
    fine(doctor)


def alike(text: str) -> list[str]:
    """Without what differs from machine to machine and from run to run: numbers, and the machine itself."""
    lines = (re.sub(r"[0-9.]+", "#", line.rstrip()) for line in text.splitlines())
    return [
        " ".join(line.replace("~/config", "~/#config").removesuffix(" at #/s").split())
        for line in lines
        if line and not line.startswith(("  Machine", "  Held"))
    ]


async def test_the_readme_shows_what_is_really_printed(
    network: private_network.Network, tmp_path: Path, models: Models
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "Hand-Made-Q8.gguf").hardlink_to(await models.gguf(BIG_ENOUGH_MIB))
    (tmp_path / ".claude.json").write_text("{}")
    shell = shell_in(network, tmp_path)
    seen: list[str] = []
    try:
        for words, typed in ((["up"], "\n"), (["run", "hand-made-q8", "Say hello"], "")):
            ran = await pseudo_terminal.lmg(shell, *words, typed=typed)
            seen += ["$ lmg " + shlex.join(words).replace("'", '"'), *shown(ran).splitlines()]
    finally:
        await shell.lmg("down", "--drain", "0s")
    page = (Path(__file__).parents[2] / "README.md").read_text()
    printed = page.split("```console\n")[1].split("```")[0]
    assert alike(printed) == alike("\n".join(seen))


@pytest.mark.engines
@pytest.mark.timeout(240)
async def test_two_real_engines_are_found_and_both_answer(
    network: private_network.Network, tmp_path: Path, models: Models
) -> None:
    fleet.wanted("mlx-lm")
    await to_thread.run_sync(
        _two_kinds, tmp_path, await models.gguf(BIG_ENOUGH_MIB), await models.hf()
    )
    shell = shell_in(network, tmp_path, str(install.program("mlx-lm", "mlx_lm.server").parent))
    up = await shell.lmg("up", "--yes", "--json")
    try:
        for model in ("hand-made-mlx", "hand-made-q8"):
            await answers(shell, model)
        doctor = await shell.lmg("doctor", "--json")
    finally:
        await shell.lmg("down", "--drain", "5s")
    assert {(one["id"], one["engine"]) for one in up.json["models"]} == {
        ("hand-made-q8", "embedded"),
        ("hand-made-mlx", "mlx-lm"),
    }
    fine(doctor)


def _two_kinds(home: Path, gguf: Path, folder: Path) -> None:
    (home / "models" / "mlx-community").mkdir(parents=True)
    (home / "models" / "Hand-Made-Q8.gguf").hardlink_to(gguf)
    mine = home / "models" / "mlx-community" / "Hand-Made-MLX"
    shutil.copytree(folder, mine, copy_function=os.link)
