"""Engines, model files and clients are found, told apart, and only looked at."""

import socket
import threading
from pathlib import Path

import pytest

from local_model_gateway import config, config_reader
from local_model_gateway.detection import (
    clients,
    engines,
    model_files,
    processes,
    survey,
    telling,
)
from runtimes import devices
from tests.doctor import imitations
from tests.doctor.imitations import IMITATIONS, OTHERS, Imitation


@pytest.mark.parametrize("imitation", IMITATIONS, ids=lambda one: one.engine)
def test_an_engine_is_known_by_what_it_says_wherever_it_listens(imitation: Imitation) -> None:
    with imitations.served(imitation) as port:
        found = engines.identify(port)
    assert found is not None
    assert found.engine == imitation.engine
    assert found.models == imitation.models


@pytest.mark.parametrize("imitation", OTHERS, ids=lambda one: str(one.answers))
def test_what_is_no_engine_is_not_taken_for_one(imitation: Imitation) -> None:
    with imitations.served(imitation) as port:
        found = engines.identify(port)
    assert found is None


def test_a_port_that_accepts_and_says_nothing_holds_nobody_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert engines.identify(silent.getsockname()[1]) is None


def test_several_ports_are_asked_at_once() -> None:
    with imitations.served(IMITATIONS[0]) as first, imitations.served(IMITATIONS[1]) as second:
        found = engines.running([first, second, 9])
    assert [engine.engine for engine in found] == ["ollama", "llama-server"]


def test_hostile_names_do_not_reach_a_terminal() -> None:
    hostile = Imitation(
        "ollama",
        {"/": "Ollama is running", "/api/tags": {"models": [{"name": "a\x1b[2J"}, {"name": "b"}]}},
    )
    with imitations.served(hostile) as port:
        found = engines.identify(port)
    assert found is not None
    assert found.models == ("b",)


def made(path: Path, size: int = model_files.SMALLEST_BYTES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.write(b"GGUF")
        stream.truncate(size)
    return path


def test_model_files_are_found_once_and_whole(tmp_path: Path) -> None:
    whole = made(tmp_path / "models" / "Qwen3 32B-Q4.gguf")
    made(tmp_path / "models" / "deep" / "m2-00001-of-00002.gguf")
    made(tmp_path / "models" / "deep" / "m2-00002-of-00002.gguf")
    made(tmp_path / "models" / "mmproj-x.gguf")
    made(tmp_path / "models" / "vocabulary.gguf", 100)
    made(tmp_path / "models" / "notes.txt")
    pointer = made(tmp_path / "models" / "not-downloaded.gguf")
    with pointer.open("r+b") as stream:
        stream.write(b"version https://")
    linked = tmp_path / ".cache" / "huggingface" / "hub" / "again.gguf"
    linked.parent.mkdir(parents=True)
    linked.symlink_to(whole)
    folder = tmp_path / "models" / "mlx-community" / "Qwen3-4bit"
    made(folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    hub = tmp_path / ".cache" / "huggingface" / "hub" / "models--mlx-community--Gemma-4bit"
    made(hub / "snapshots" / "9f3a1c" / "model.safetensors")
    (hub / "snapshots" / "9f3a1c" / "config.json").write_text("{}")
    found = model_files.find({}, tmp_path)
    assert [(one.name, one.kind) for one in found] == [
        ("gemma-4bit", "mlx"),
        ("m2", "gguf"),
        ("qwen3-32b-q4", "gguf"),
        ("qwen3-4bit", "mlx"),
    ]
    assert found[1].size_bytes == 2 * model_files.SMALLEST_BYTES


def test_a_folder_that_goes_round_in_circles_ends(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "again").symlink_to(tmp_path / "models")
    made(tmp_path / "models" / "one.gguf")
    assert [one.name for one in model_files.find({}, tmp_path)] == ["one"]


def test_nothing_is_searched_beyond_the_limit(tmp_path: Path) -> None:
    made(tmp_path / "models" / "one.gguf")
    assert model_files.find({}, tmp_path, limit_s=-1.0) == []


def test_clients_are_found_by_their_recipes_signs(tmp_path: Path) -> None:
    (tmp_path / ".codex").mkdir()
    (tmp_path / ".codex" / "config.toml").write_text("")
    found = clients.installed(tmp_path, which={"claude": "/bin/claude"}.get)
    assert {"codex", "claude-code"} == {client.id for client in found}


def surveyed(**parts: object) -> survey.Survey:
    nothing: dict[str, object] = {
        "pool": survey.UNKNOWN_POOL,
        "running": (),
        "programs": {},
        "models": (),
        "clients": (),
        "holders": (),
        "embedded": False,
    }
    return survey.Survey(**{**nothing, **parts})  # type: ignore[arg-type]  # a table of parts


def test_what_is_found_becomes_a_configuration_that_holds(tmp_path: Path) -> None:
    found = surveyed(
        running=[
            engines.Engine("ollama", 11434, "0.32", ("qwen3:32b", "hf.co/a/b:Q4")),
            engines.Engine("ollama", 9999, None, ("qwen3:32b",)),
        ],
        programs={"llama-server": "/bin/llama-server"},
        models=[model_files.ModelFile(Path("/m/A B: #1.gguf"), "gguf", 1)],
    )
    text = survey.as_yaml(survey.choices(found))
    loaded = config.validate(config_reader.parse(text.encode(), tmp_path / "x.yaml", {}))
    assert list(loaded.runtimes) == ["qwen3-32b", "hf.co-a-b-Q4", "qwen3-32b-2", "a-b-1"]
    assert loaded.runtimes["qwen3-32b"].aliases == ["qwen3:32b"]
    assert loaded.runtimes["qwen3-32b-2"].url == "http://127.0.0.1:9999"
    assert loaded.runtimes["a-b-1"].model == "/m/A B: #1.gguf"
    assert "#  minimax-m2.7:" in text


def test_a_machine_with_nothing_gets_the_built_in_model(tmp_path: Path) -> None:
    text = survey.as_yaml(survey.choices(surveyed()))
    loaded = config.validate(config_reader.parse(text.encode(), tmp_path / "x.yaml", {}))
    assert list(loaded.runtimes) == ["tiny"]


@pytest.mark.parametrize(
    ("programs", "embedded", "engine"),
    [({"llama-server": "x"}, True, "llama-server"), ({}, True, "embedded"), ({}, False, None)],
)
def test_a_file_is_served_by_what_there_is(
    programs: dict[str, str], embedded: bool, engine: str | None
) -> None:
    file = model_files.ModelFile(Path("/m/a.gguf"), "gguf", 1)
    chosen = survey.choices(surveyed(programs=programs, embedded=embedded, models=[file]))
    assert [choice.section["engine"] for choice in chosen] == ([engine] if engine else [])


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (devices.Kind.NVIDIA, "NVIDIA RTX 4090, 24.0 GiB, 23.1 free"),
        (
            devices.Kind.NVIDIA_UNIFIED,
            "NVIDIA RTX 4090, 24.0 GiB shared with the system, 23.1 free",
        ),
        (devices.Kind.HOST, "no GPU found; 24.0 GiB of memory, 23.1 free"),
    ],
)
def test_the_machine_is_told_by_what_models_would_share(kind: devices.Kind, line: str) -> None:
    pool = devices.Reading(kind, "NVIDIA RTX 4090", 24 << 30, int(23.1 * (1 << 30)))
    assert f"  Machine   {line}" in telling.survey(surveyed(pool=pool))


def test_who_holds_memory_now_is_told() -> None:
    holder = processes.Holder(3380, "llama-server", 41 << 30, (8080,))
    assert (
        "  Held      41.0 GiB by llama-server, pid 3380 on :8080, outside the queue"
        in telling.survey(surveyed(holders=[holder]))
    )


def test_an_engine_that_listens_elsewhere_is_found_by_its_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with imitations.served(IMITATIONS[0]) as port:
        holder = processes.Holder(3380, "ollama", 41 << 30, (port,))
        monkeypatch.setattr(processes, "outside", lambda _: [holder])
        found = survey.look({}, Path("/nonexistent"), ports=())
    assert [(one.engine, one.port) for one in found.running] == [("ollama", port)]


def test_a_look_that_breaks_or_hangs_leaves_the_others_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = threading.Event()
    monkeypatch.setattr(clients, "installed", lambda _: release.wait(60))
    monkeypatch.setattr(model_files, "find", lambda *_: 1 / 0)
    monkeypatch.setattr(survey, "LIMIT_S", 1.0)
    found = survey.look({}, Path("/nonexistent"), ports=())
    release.set()
    assert (found.clients, found.models) == ([], [])
    assert found.pool.total_bytes
