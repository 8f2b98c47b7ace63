"""Models are added in files of their own; the user's configuration stays as it is."""

from pathlib import Path

import pytest
from anyio import to_thread

from local_model_gateway import config
from recipes import loader
from recipes.front_matter import Kind
from tests.cli import stub
from tests.doctor import imitations

OLLAMA = next(one for one in imitations.IMITATIONS if one.engine == "ollama")
VLLM = next(one for one in imitations.IMITATIONS if one.engine == "vllm")


def conf_d(tmp_path: Path) -> Path:
    return tmp_path / "config" / "local-model-gateway" / "conf.d"


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below: its bytes, and when it was written."""
    found = (file for file in folder.rglob("*") if file.is_file())
    return {
        str(file.relative_to(folder)): (file.read_bytes(), file.stat().st_mtime_ns)
        for file in found
    }


async def test_the_models_of_a_running_server_are_added(tmp_path: Path) -> None:
    shell = stub.shell(tmp_path)
    with imitations.served(OLLAMA) as port:
        url = f"http://127.0.0.1:{port}"
        dry = await shell.here("add", "ollama", "--at", url, "--dry-run", "--json")
        assert not (tmp_path / "config").exists()
        ran = await shell.here("add", "ollama", "--at", url, "--json")
        before = files(tmp_path)
        again = await shell.here("add", "ollama", "--at", url, "--json")
    assert (ran.code, ran.json["content"]) == (0, dry.json["content"])
    assert (again.code, again.json["changed"], files(tmp_path)) == (0, False, before)
    env = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    loaded = await to_thread.run_sync(config.load, None, env)
    assert list(loaded.runtimes) == ["gemma4-12b", "qwen3-32b"]
    assert loaded.runtimes["qwen3-32b"].url == url


async def test_one_name_is_not_given_to_several_models(tmp_path: Path) -> None:
    with imitations.served(OLLAMA) as port:
        url = f"http://127.0.0.1:{port}"
        ran = await stub.shell(tmp_path).here("add", "ollama", "--at", url, "--name", "one")
    assert (ran.code, "say which with --model" in ran.err) == (1, True)
    assert not (tmp_path / "config").exists()


async def test_what_a_server_has_got_since_is_added_to_what_is_there(tmp_path: Path) -> None:
    shell = stub.shell(tmp_path)
    with imitations.served(OLLAMA) as port:
        url = f"http://127.0.0.1:{port}"
        await shell.here("add", "ollama", "--at", url)
        await shell.here("remove", "gemma4:12b")
        assert "gemma4" not in (conf_d(tmp_path) / "ollama.yaml").read_text()
        ran = await shell.here("add", "ollama", "--at", url, "--json")
    assert (ran.json["changed"], ran.json["there"]) == (True, {"qwen3-32b": "qwen3-32b"})
    written = (conf_d(tmp_path) / "ollama.yaml").read_text()
    assert written.count("engine: ollama") == 2


async def test_one_model_is_added_by_its_file(tmp_path: Path) -> None:
    ran = await stub.shell(tmp_path).here(
        "add", "llama-server", "--model", "/m/Qwen 3.gguf", "--name", "qwen3", "--json"
    )
    assert (ran.code, ran.json["models"]) == (0, ["qwen3"])
    assert Path(ran.json["written"]).name == "qwen3.yaml"
    assert 'model: "/m/Qwen 3.gguf"' in ran.json["content"]


async def test_a_relative_file_is_written_so_that_it_means_the_same_from_anywhere(
    tmp_path: Path,
) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    shell = stub.shell(tmp_path)
    ran = await shell.here("add", "llama-server", "--model", "x.gguf", "--json")
    assert f"model: {tmp_path}/x.gguf" in ran.json["content"]
    by_name = await shell.here("add", "ramalama", "--model", "x.gguf", "--name", "r", "--json")
    assert f'model: "file://{tmp_path}/x.gguf"' in by_name.json["content"]


@pytest.mark.parametrize("id_", loader.every(Kind.MODEL))
async def test_a_model_recipe_asks_for_the_file_that_it_needs(tmp_path: Path, id_: str) -> None:
    shell = stub.shell(tmp_path)
    ran = await shell.here("add", id_)
    assert ran.code == 5
    assert "--model FILE" in ran.err
    usual = str(loader.find(Kind.MODEL, id_).front.runtime["model"])
    assert usual in ran.err
    file = tmp_path / usual.removeprefix("~/")
    file.parent.mkdir()
    file.write_bytes(b"GGUF")
    ran = await shell.here("add", id_, "--json", HOME=str(tmp_path))
    assert (ran.code, ran.json["models"]) == (0, [id_])
    assert f"model: {usual}" in ran.json["content"]


async def test_a_model_file_that_lies_elsewhere_is_found_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "models" / "unsloth" / "Qwen3-32B-Q5_K_M.gguf"
    file.parent.mkdir(parents=True)
    with file.open("wb") as stream:
        stream.write(b"GGUF")
        stream.truncate(20 << 20)
    ran = await stub.shell(tmp_path).here("add", "qwen3-32b", "--json")
    assert ran.code == 0
    assert f"model: {file}" in ran.json["content"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("olama",), 5, "ollama"),
        (("ollama", "--at", "http://127.0.0.1:9"), 5, "--model"),
        (("llama-server", "--model", "-x"), 2, "--model"),
        (("llama-server", "--model=-x"), 4, "'-'"),
        (("openai", "--model", "gpt"), 5, "--at"),
        (("openai", "--model", "g", "--at", "https://x", "--key-env", "NO_KEY"), 1, "NO_KEY"),
    ],
)
async def test_what_cannot_be_added_is_said(
    tmp_path: Path, words: tuple[str, ...], code: int, says: str
) -> None:
    ran = await stub.shell(tmp_path).here("add", *words)
    assert ran.code == code
    assert says in ran.err
    assert not (tmp_path / "config").exists()


async def test_an_engine_that_runs_already_is_pointed_to_adopt(tmp_path: Path) -> None:
    with imitations.served(VLLM) as port:
        ran = await stub.shell(tmp_path).here("add", "vllm", "--at", f"http://127.0.0.1:{port}")
    assert ran.code == 6
    assert f"lmg adopt {port}" in ran.err


async def test_a_model_that_is_configured_already_is_not_added_twice(tmp_path: Path) -> None:
    folder = tmp_path / "config" / "local-model-gateway"
    folder.mkdir(parents=True)
    mine = folder / "config.yaml"
    mine.write_text("runtimes:\n  qwen3: {engine: embedded}\n  x: {engine: vllm, model: /m/x}\n")
    mine.chmod(0o600)
    shell = stub.shell(tmp_path)
    ran = await shell.here("add", "llama-server", "--model", "/m/x.gguf", "--name", "qwen3")
    assert ran.code == 6
    assert "config.yaml:2" in ran.err
    same = await shell.here("add", "vllm", "--model", "/m/x", "--json")
    assert (same.code, same.json["changed"], same.json["there"]) == (0, False, {"x": "x"})
    assert [file.name for file in folder.rglob("*") if file.is_file()] == ["config.yaml"]


async def test_a_file_that_is_the_whole_configuration_gets_words_to_paste(tmp_path: Path) -> None:
    mine = tmp_path / "local-model-gateway.config.yaml"
    mine.write_text("version: 1\n")
    mine.chmod(0o600)
    ran = await stub.shell(tmp_path).here("add", "llama-server", "--model", "/m/x.gguf")
    assert ran.code == 6
    assert "    model: /m/x.gguf" in ran.err
    assert mine.read_text() == "version: 1\n"
    assert not (tmp_path / "config").exists()


async def test_an_edited_file_is_only_replaced_by_force_and_kept(tmp_path: Path) -> None:
    shell = stub.shell(tmp_path)
    await shell.here("add", "llama-server", "--model", "/m/x.gguf", "--name", "x")
    file = conf_d(tmp_path) / "x.yaml"
    edited = file.read_text() + "    pinned: true  # mine\n"
    file.write_text(edited)
    ran = await shell.here("add", "llama-server", "--model", "/m/y.gguf", "--name", "x")
    assert ran.code == 6
    assert file.read_text() == edited
    ran = await shell.here("add", "llama-server", "--model", "/m/y.gguf", "--name", "x", "--force")
    assert ran.code == 0
    assert (conf_d(tmp_path) / "x.yaml.old-1").read_text() == edited


async def test_what_goes_with_a_file_that_is_replaced_is_said_and_a_link_stays_one(
    tmp_path: Path,
) -> None:
    shell = stub.shell(tmp_path)
    real = tmp_path / "dotfiles" / "x.yaml"
    real.parent.mkdir()
    mine = "runtimes:\n  mine: {engine: embedded}\n"
    real.write_text(mine)
    real.chmod(0o600)
    conf_d(tmp_path).mkdir(parents=True)
    (conf_d(tmp_path) / "x.yaml").symlink_to(real)
    words = ("add", "llama-server", "--model", "/m/x.gguf", "--force")
    dry = await shell.here(*words, "--dry-run")
    assert "gone with the old" in dry.out
    assert real.read_text() == mine
    ran = await shell.here(*words)
    assert "x.yaml: mine\n" in ran.out
    kept = tmp_path / "dotfiles" / "x.yaml.old-1"
    assert "the old file is kept as ~/dotfiles/x.yaml.old-1" in ran.out
    assert kept.read_text() == mine
    assert (conf_d(tmp_path) / "x.yaml").readlink() == real
    again = await shell.here(*words, "--json")
    assert (again.json["gone"], again.json["kept"]) == ([], f"{kept.with_suffix('.old-2')}")
    (tmp_path / "x.ini").write_text("[a]\nm = /m/a.gguf\nc = 512\n")
    ran = await shell.here("import", "x.ini", "--output", str(real), "--force", "--json")
    assert (ran.json["gone"], ran.json["kept"]) == (["x"], f"{kept.with_suffix('.old-3')}")


async def test_a_running_gateway_takes_it_over_by_itself(tmp_path: Path) -> None:
    shell = stub.shell(tmp_path)
    mine = tmp_path / "config" / "local-model-gateway" / "config.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("server: {port: 0}\n")
    mine.chmod(0o600)
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    await shell.lmg("up", "--yes")
    try:
        added = await shell.lmg("add", "embedded", "--model", "x.gguf", "--json")
        assert added.json["gateway"] == {"running": True, "taken": True}
        assert '"x"' in (await shell.lmg("models", "--json")).out
        removed = await shell.lmg("remove", "x", "--json")
        assert removed.json["gateway"] == {"running": True, "taken": True}
        assert '"x"' not in (await shell.lmg("models", "--json")).out
    finally:
        await shell.lmg("down", "--drain", "0s")
    assert mine.read_text() == "server: {port: 0}\n"
