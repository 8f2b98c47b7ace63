"""What a configuration becomes, where it is looked for, and how each mistake is pointed at."""

import os
import stat
from pathlib import Path

import pytest

from local_model_gateway import config, config_reader, errors, interpolation, paths
from tests.config.bad_configs import BAD, Bad


def write(folder: Path, text: str, name: str = "config.yaml") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    file.chmod(0o644)
    return file


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_a_mistake_is_one_line_that_says_where_and_what_to_do(tmp_path: Path, bad: Bad) -> None:
    file = write(tmp_path, bad.text)
    with pytest.raises(errors.ConfigError) as caught:
        config.load(file, {})
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{paths.shown(file)}:{bad.at}: ")
    for words in bad.says:
        assert words in message
    assert caught.value.exit_code == 4


def test_every_mistake_in_a_file_is_reported_in_its_order(tmp_path: Path) -> None:
    file = write(tmp_path, "server:\n  port: x\n  prot: 1\nqueue:\n  max_queue: 0\n")
    with pytest.raises(errors.ConfigError) as caught:
        config.load(file, {})
    assert [problem.line for problem in caught.value.problems] == [2, 3, 5]


def test_without_any_file_the_built_in_model_is_configured(tmp_path: Path) -> None:
    loaded = config.load(None, {"XDG_CONFIG_HOME": str(tmp_path)})
    assert list(loaded.runtimes) == ["tiny"]
    assert loaded.files == ()
    assert loaded.server.port == 8787


def test_a_file_without_runtimes_keeps_the_built_in_model(tmp_path: Path) -> None:
    loaded = config.load(write(tmp_path, "server: {port: 1}\n"), {})
    assert list(loaded.runtimes) == ["tiny"]


def test_a_file_that_wants_no_runtime_gets_none(tmp_path: Path) -> None:
    loaded = config.load(write(tmp_path, "runtimes: {}\n"), {})
    assert loaded.runtimes == {}


def test_durations_and_sizes_are_read_in_words(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "queue: {max_queue_wait: 2h}\nscheduling: {max_wait: 0s}\npool: {memory: 1.5GiB}\n",
    )
    loaded = config.load(file, {})
    assert loaded.queue.max_queue_wait == 7200.0
    assert loaded.scheduling.max_wait == 0.0
    assert loaded.pool.memory == 1536 * 1024**2


def test_the_search_order_is_flag_variable_folder_then_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "work"
    platform = tmp_path / "config" / paths.APP
    by_flag = write(tmp_path, "{}", "flag.yaml")
    by_variable = write(tmp_path, "{}", "variable.yaml")
    by_folder = write(here, "{}", paths.PROJECT_FILE)
    main = write(platform, "{}")
    drop_in = write(platform, "{}", "conf.d/ollama.yaml")
    monkeypatch.chdir(here)
    env = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "LMG_CONFIG": str(by_variable)}
    assert config.find(by_flag, env) == [by_flag]
    assert config.find(None, env) == [by_variable]
    del env["LMG_CONFIG"]
    assert config.find(None, env) == [by_folder]
    by_folder.unlink()
    assert config.find(None, env) == [main, drop_in]
    main.unlink()
    assert config.find(None, env) == [drop_in]


def test_drop_ins_add_runtimes_to_the_main_file(tmp_path: Path) -> None:
    folder = tmp_path / paths.APP
    write(folder, "runtimes:\n  a: {engine: embedded}\n")
    write(folder, "version: 1\nruntimes:\n  b: {engine: embedded}\n", "conf.d/b.yaml")
    loaded = config.load(None, {"XDG_CONFIG_HOME": str(tmp_path)})
    assert sorted(loaded.runtimes) == ["a", "b"]
    assert [file.name for file in loaded.files] == ["config.yaml", "b.yaml"]


def test_a_runtime_in_two_files_is_refused_with_both_places(tmp_path: Path) -> None:
    folder = tmp_path / paths.APP
    write(folder, "runtimes:\n  a: {engine: embedded}\n")
    write(folder, "runtimes:\n  a: {engine: embedded}\n", "conf.d/b.yaml")
    with pytest.raises(errors.ConfigError, match=r"b\.yaml:2:3: .*config\.yaml:2"):
        config.load(None, {"XDG_CONFIG_HOME": str(tmp_path)})


def test_references_are_filled_and_remembered_as_written(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("canary-from-a-file\n")
    file = write(
        tmp_path,
        "server:\n  port: ${env:PORT:-9000}\n  keys:\n"
        '    a: "${env:KEY}"\n    b: ${file:key}\n    c: $${env:KEY}\n',
    )
    loaded = config.load(file, {"KEY": "canary-from-env"})
    keys = {name: key.get_secret_value() for name, key in loaded.server.keys.items()}
    assert loaded.server.port == 9000
    assert keys == {"a": "canary-from-env", "b": "canary-from-a-file", "c": "${env:KEY}"}
    assert loaded.written["server", "keys", "a"] == "${env:KEY}"
    assert {"canary-from-env", "canary-from-a-file"} <= loaded.secrets


def test_a_secret_is_in_neither_message_nor_repr(tmp_path: Path) -> None:
    file = write(
        tmp_path, 'server:\n  port: "${env:KEY}"\n  keys: {a: "${env:KEY}", b: inline-canary}\n'
    )
    with pytest.raises(errors.ConfigError) as caught:
        config.load(file, {"KEY": "canary-0123456789"})
    assert "canary-0" not in str(caught.value)
    assert "${env:KEY}" in str(caught.value)
    file = write(tmp_path, 'server:\n  keys: {a: "${env:KEY}", b: inline-canary}\n')
    loaded = config.load(file, {"KEY": "canary-0123456789"})
    assert "canary" not in repr(loaded)
    assert "canary" not in loaded.model_dump_json()


def test_what_a_reference_brings_in_is_not_read_again(tmp_path: Path) -> None:
    filled = interpolation.fill("${env:A}", {"A": "${file:/etc/passwd}"}, tmp_path)
    assert filled.text == "${file:/etc/passwd}"


def test_placeholders_of_others_are_left_alone(tmp_path: Path) -> None:
    filled = interpolation.fill("serve --port ${port}", {}, tmp_path)
    assert filled.text == "serve --port ${port}"
    assert not filled.changed


def test_a_file_that_others_may_change_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, "version: 1\n")
    file.chmod(0o664)
    with pytest.raises(errors.ConfigError, match=r"changed by other users.*chmod go-w"):
        config.load(file, {})


@pytest.mark.parametrize(
    ("mode", "owner", "refused"),
    [(0o600, 7, False), (0o644, 0, False), (0o600, 8, True), (0o620, 7, True), (0o602, 7, True)],
)
def test_only_its_user_and_root_may_own_a_configuration(
    mode: int, owner: int, refused: bool
) -> None:
    status = os.stat_result((stat.S_IFREG | mode, 1, 1, 1, owner, 1, 10, 0, 0, 0))
    assert (config_reader.owner_problem(status, uid=7) is not None) is refused


def test_a_file_too_large_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    file = write(tmp_path, "# " + "x" * config_reader.MAX_BYTES)
    with pytest.raises(errors.ConfigError, match="larger than 256 KiB"):
        config.load(file, {})


@pytest.mark.parametrize("name", ["nothing.yaml", "."])
def test_a_path_that_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(errors.ConfigError, match=r"no such file|is a directory"):
        config.load(tmp_path / name, {})


def test_bytes_that_are_not_utf8_are_refused_with_their_line(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(b"version: 1\n# \xe9t\xe9\n")
    with pytest.raises(errors.ConfigError, match=r"config\.yaml:2:1: .*UTF-8"):
        config.load(file, {})


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("true", True),
        ("on", "on"),
        ("010", "010"),
        ("0x1F", "0x1F"),
        ("1e3", 1000.0),
        ("1e999", "1e999"),
        ("-7", -7),
        ("1_000", "1_000"),
        ("2026-11-20", "2026-11-20"),
        ("~", None),
        ('"true"', "true"),
        ("12345678901234567890123", "12345678901234567890123"),
    ],
)
def test_a_bare_word_is_read_as_yaml_1_2(written: str, read: object) -> None:
    document = config_reader.parse(f"a: {written}\n".encode(), Path("x"), {})
    assert document.data == {"a": read}
