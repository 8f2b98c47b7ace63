"""Models are added in files of their own; the user's configuration stays as it is."""

from pathlib import Path

import pytest
from anyio import to_thread

from local_model_gateway import config
from tests.cli import pseudo_terminal, stub
from tests.doctor import imitations


async def test_the_models_of_a_running_server_are_added(tmp_path: Path) -> None:
    shell = stub.shell(tmp_path)
    with imitations.served(imitations.IMITATIONS[0]) as port:
        url = f"http://127.0.0.1:{port}"
        dry = await shell.lmg("add", "ollama", "--at", url, "--dry-run", "--json")
        assert not (tmp_path / "config").exists()
        ran = await shell.lmg("add", "ollama", "--at", url, "--json")
        again = await shell.lmg("add", "ollama", "--at", url)
    assert (ran.code, ran.json["content"]) == (0, dry.json["content"])
    assert again.code == 6
    env = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    loaded = await to_thread.run_sync(config.load, None, env)
    assert list(loaded.runtimes) == ["gemma4-12b", "qwen3-32b"]
    assert loaded.runtimes["qwen3-32b"].url == url


async def test_one_model_is_added_by_its_file(tmp_path: Path) -> None:
    ran = await stub.shell(tmp_path).lmg(
        "add", "llama-server", "--model", "/m/Qwen 3.gguf", "--name", "qwen3", "--json"
    )
    assert (ran.code, ran.json["models"]) == (0, ["qwen3"])
    assert Path(ran.json["written"]).name == "qwen3.yaml"
    assert 'model: "/m/Qwen 3.gguf"' in ran.json["content"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("olama",), 5, "ollama"),
        (("ollama", "--at", "http://127.0.0.1:9"), 5, "--model"),
        (("llama-server", "--model", "-x"), 2, "--model"),
        (("llama-server", "--model=-x"), 4, "'-'"),
    ],
)
async def test_what_cannot_be_added_is_said(
    tmp_path: Path, words: tuple[str, ...], code: int, says: str
) -> None:
    ran = await stub.shell(tmp_path).lmg("add", *words)
    assert ran.code == code
    assert says in ran.err
    assert not (tmp_path / "config").exists()


async def test_a_model_that_is_configured_already_is_not_added_twice(tmp_path: Path) -> None:
    folder = tmp_path / "config" / "local-model-gateway"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("runtimes:\n  qwen3: {engine: embedded}\n")
    (folder / "config.yaml").chmod(0o600)
    ran = await stub.shell(tmp_path).lmg(
        "add", "llama-server", "--model", "/m/x.gguf", "--name", "qwen3"
    )
    assert ran.code == 6
    assert "config.yaml:2" in ran.err


async def test_top_is_one_picture_where_nobody_watches(tmp_path: Path) -> None:
    async with stub.served() as gateway:
        ran = await stub.shell(tmp_path).lmg("top", "--url", gateway.url)
    assert ran.code == 0
    for words in ("Gateway", "USUAL LOAD", "WAITS FOR", "longest wait so far 4.0 s"):
        assert words in ran.out


async def test_top_goes_on_until_interrupted(tmp_path: Path) -> None:
    async with stub.served() as gateway:
        ran = await pseudo_terminal.lmg(
            stub.shell(tmp_path),
            *("top", "--every", "100ms", "--url", gateway.url),
            until=("USUAL LOAD", "\x03"),
        )
    assert ran.code == 130
    assert len([path for _, path, _ in gateway.asked if path == "/status"]) >= 2
