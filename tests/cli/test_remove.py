"""What was added goes out again byte for byte, and what is the user's own is never touched."""

from pathlib import Path

import pytest
from anyio import to_thread

from local_model_gateway import config
from recipes import loader
from recipes.front_matter import Kind
from tests.cli import stub

MINE = """\
# My own words.
version: 1
runtimes:
  mine:
    engine: llama-server
    model: /m/mine.gguf   # the good one
    aliases:
      - also-mine
  other: {engine: embedded}
"""
ABOUT = {
    "openai": ("--at", "https://api.example.com", "--key-env", "SOME_KEY"),
    "gateway": ("--at", "http://gpu-box.lan:8787", "--key-env", "SOME_KEY"),
    "service": ("--at", "http://127.0.0.1:8099", "--unit", "my-model.service"),
    "tabbyapi": ("--key-env", "SOME_KEY"),
    "sglang": ("--executable", "/opt/venv/bin/python"),
}
"""What a recipe cannot know."""
ADDED = {
    **{id_: ("--model", "/m/some.gguf", *ABOUT.get(id_, ())) for id_ in loader.every(Kind.ENGINE)},
    **dict.fromkeys(loader.every(Kind.MODEL), ("--model", "/m/some.gguf")),
}


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    found = (file for file in folder.rglob("*") if file.is_file())
    return {
        str(file.relative_to(folder)): (file.read_bytes(), file.stat().st_mtime_ns)
        for file in found
    }


def home_with_my_config(tmp_path: Path) -> stub.Shell:
    folder = tmp_path / "config" / "local-model-gateway"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(MINE)
    (folder / "config.yaml").chmod(0o600)
    return stub.shell(tmp_path)


@pytest.mark.parametrize("id_", ADDED)
async def test_every_recipe_is_added_once_and_undone_byte_for_byte(
    tmp_path: Path, id_: str
) -> None:
    shell = home_with_my_config(tmp_path)
    before = snapshot(tmp_path)
    words = ("add", id_, "--name", "added", *ADDED[id_], "--json")
    first = await shell.here(*words, SOME_KEY="canary-0123456789")
    assert (first.code, first.json["changed"]) == (0, True), first.out
    env = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "SOME_KEY": "canary-0123456789"}
    loaded = await to_thread.run_sync(config.load, None, env)
    recipe = loader.every(Kind.MODEL).get(id_)
    assert loaded.runtimes["added"].engine == (recipe.front.runtime["engine"] if recipe else id_)
    once = snapshot(tmp_path)
    assert not any(b"canary" in content for content, _ in once.values())
    second = await shell.here(*words, SOME_KEY="canary-0123456789")
    assert (second.code, second.json["changed"]) == (0, False)
    assert snapshot(tmp_path) == once
    removed = await shell.here("remove", "added", "--json")
    assert (removed.code, removed.json["removed"]) == (0, ["added"])
    assert snapshot(tmp_path) == before


async def test_a_service_without_its_unit_is_refused_in_words(tmp_path: Path) -> None:
    shell = home_with_my_config(tmp_path)
    before = snapshot(tmp_path)
    ran = await shell.here("add", "service", "--model", "m", "--at", "http://127.0.0.1:8099")
    assert ran.code == 4
    assert "`unit`" in ran.err
    assert snapshot(tmp_path) == before


async def test_one_of_several_goes_and_the_others_stay_as_they_were(tmp_path: Path) -> None:
    shell = home_with_my_config(tmp_path)
    presets = tmp_path / "models.ini"
    presets.write_text("[a]\nmodel = /m/a.gguf\nc = 4096\n[b]\nmodel = /m/b.gguf\nc = 4096\n")
    await shell.here("import", "models.ini")
    file = tmp_path / "config/local-model-gateway/conf.d/imported-llama-server-presets.yaml"
    both = file.read_text()
    ran = await shell.here("remove", "a", "--json")
    assert (ran.json["removed"], ran.json["deleted"]) == (["a"], False)
    assert "/m/b.gguf" in file.read_text()
    assert "/m/a.gguf" not in file.read_text()
    await shell.here("import", "models.ini")
    assert sorted(file.read_text()) == sorted(both)
    ran = await shell.here("remove", "imported-llama-server-presets", "--json")
    assert (sorted(ran.json["removed"]), file.exists()) == (["a", "b"], False)


@pytest.mark.parametrize(("name", "lines"), [("mine", "lines 4 to 8"), ("other", "line 9")])
async def test_the_users_own_file_is_not_touched_but_its_lines_are_named(
    tmp_path: Path, name: str, lines: str
) -> None:
    shell = home_with_my_config(tmp_path)
    before = snapshot(tmp_path)
    ran = await shell.here("remove", name)
    assert ran.code == 6
    assert "config.yaml" in ran.err
    assert f"delete {lines} there" in ran.err
    assert snapshot(tmp_path) == before


async def test_a_file_of_conf_d_that_we_did_not_write_is_the_users_too(tmp_path: Path) -> None:
    shell = stub.shell(tmp_path)
    file = tmp_path / "config" / "local-model-gateway" / "conf.d" / "x.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("runtimes:\n  x: {engine: embedded}\n")
    file.chmod(0o600)
    ran = await shell.here("remove", "x", "--force")
    assert ran.code == 6
    assert "conf.d/x.yaml, which is yours: delete line 2" in ran.err
    assert file.exists()


async def test_an_edited_file_is_left_alone_unless_forced_and_then_kept(tmp_path: Path) -> None:
    shell = stub.shell(tmp_path)
    await shell.here("add", "llama-server", "--model", "/m/x.gguf")
    file = tmp_path / "config" / "local-model-gateway" / "conf.d" / "x.yaml"
    edited = file.read_text() + "    pinned: true  # mine\n"
    file.write_text(edited)
    ran = await shell.here("remove", "x")
    assert (ran.code, file.read_text()) == (6, edited)
    ran = await shell.here("remove", "x", "--force", "--json")
    assert ran.code == 0
    assert not file.exists()
    assert Path(ran.json["kept"]).read_text() == edited


@pytest.mark.parametrize("damage", [b"runtimes: [\n", b"\xff\n", b"\x00\n"])
async def test_a_damaged_file_of_ours_goes_by_force_and_stops_nothing_else(
    tmp_path: Path, damage: bytes
) -> None:
    shell = stub.shell(tmp_path)
    for name in "xy":
        await shell.here("add", "llama-server", "--model", f"/m/{name}.gguf")
    folder = tmp_path / "config" / "local-model-gateway" / "conf.d"
    damaged = (folder / "x.yaml").read_bytes() + damage
    (folder / "x.yaml").write_bytes(damaged)
    assert (await shell.here("remove", "y")).code == 0
    refused = await shell.here("remove", "x")
    assert (refused.code, "is damaged; --force" in refused.err) == (6, True)
    ran = await shell.here("remove", "x", "--force", "--json")
    assert ran.code == 0, ran.err
    assert Path(ran.json["kept"]).read_bytes() == damaged
    assert not (folder / "x.yaml").exists()


async def test_a_dry_run_says_what_would_go_and_leaves_it(tmp_path: Path) -> None:
    shell = stub.shell(tmp_path)
    await shell.here("add", "llama-server", "--model", "/m/x.gguf")
    before = snapshot(tmp_path)
    ran = await shell.here("remove", "x", "--dry-run")
    assert ran.code == 0
    assert "would remove ~/config/local-model-gateway/conf.d/x.yaml with x" in ran.out
    assert snapshot(tmp_path) == before


async def test_one_that_still_answers_is_said_to_end_with_that(tmp_path: Path) -> None:
    shell = stub.shell(tmp_path)
    await shell.here("add", "llama-server", "--model", "/m/x.gguf", "--name", "big")
    await shell.here("add", "llama-server", "--model", "/m/y.gguf", "--name", "tiny")
    rows = [stub.RUNTIME, {**stub.RUNTIME, "name": "big", "state": "draining"}]
    async with stub.served(status={**stub.STATUS, "runtimes": rows}) as gateway:
        ran = await shell.lmg("remove", "big", "--url", gateway.url)
    assert ran.code == 0
    assert "has taken it; big ends with its last answer" in ran.out


async def test_a_gateway_that_does_not_take_it_says_why(tmp_path: Path) -> None:
    shell = stub.shell(tmp_path)
    problem = {**stub.STATUS, "config": {"files": ["c.yaml"], "problem": "c.yaml:2: nonsense"}}
    async with stub.served(status=problem) as gateway:
        words = ("--model", "/m/x.gguf", "--json", "--url", gateway.url)
        ran = await shell.lmg("add", "llama-server", *words)
    assert ran.json["gateway"] == {"running": True, "taken": False}


@pytest.mark.parametrize(("name", "says"), [("mina", "mine"), ("zzz", "nothing was added")])
async def test_an_unknown_name_gets_the_near_ones(tmp_path: Path, name: str, says: str) -> None:
    ran = await home_with_my_config(tmp_path).here("remove", name)
    assert ran.code == 5
    assert says in ran.err
