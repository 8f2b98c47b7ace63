"""The snapshot on disk."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog import model
from catalog.errors import BadServerName
from catalog.model import Hints, ServerSnapshot, Tool
from catalog.store import SnapshotStore

TEXT = st.text(max_size=30)
HINTS = st.builds(Hints, *[st.sampled_from([None, True, False])] * 4)


def tool(server: str, name: str, description: str = "", hints: Hints = Hints()) -> Tool:  # noqa: B008 (frozen)
    schemas = ('{"type":"object"}', None)
    digest = model.digest(name, "", description, schemas, hints)
    return Tool(server, name, "", description, *schemas, hints, digest, 1.5)


@given(
    names=st.lists(TEXT, unique=True, max_size=4),
    text=TEXT,
    hints=HINTS,
    ttl=st.none() | st.just(3.5),
)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None
)
def test_what_is_saved_is_loaded(
    tmp_path: Path, names: list[str], text: str, hints: Hints, ttl: float | None
) -> None:
    tools = tuple(tool("one", name, text, hints) for name in names)
    pending = {name: tool("one", name, "changed") for name in names[:1]}
    saved = ServerSnapshot("one", tools, pending, text, text, "1", 2.0, ttl, True, text)
    store = SnapshotStore(tmp_path)
    store.save(saved)
    assert store.load().servers == {"one": saved}


def test_a_file_that_cannot_be_read_is_named_and_the_rest_is_loaded(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    store.save(ServerSnapshot("good"))
    (tmp_path / "cut.json").write_text('{"format": 1, "server": "cu')
    (tmp_path / "newer.json").write_text(json.dumps({"format": 99}))
    assert list(store.load().servers) == ["good"]
    assert sorted(store.unreadable) == ["cut", "newer"]


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SnapshotStore(tmp_path)
    store.save(ServerSnapshot("one", title="old"))

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        store.save(ServerSnapshot("one", title="new"))
    assert store.load().servers["one"].title == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["one.json"]


@pytest.mark.parametrize("name", ["", " a", "a:b", "a\u200bb", "a\nb", "x" * 101])
def test_a_name_that_cannot_be_part_of_an_id_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadServerName):
        SnapshotStore(tmp_path).save(ServerSnapshot(name))


def test_any_other_name_stays_in_the_folder_and_apart(tmp_path: Path) -> None:
    names = ["../up", "a/b", ".hidden", "Hub", "hub", "Brave Search", "@who/what", "天气"]
    folder = tmp_path / "snapshot"
    store = SnapshotStore(folder)
    for name in names:
        store.save(ServerSnapshot(name))
    assert set(store.load().servers) == set(names)
    assert len({path.name.lower() for path in folder.iterdir()}) == len(names)
    assert list(tmp_path.iterdir()) == [folder]


def test_another_processs_write_changes_the_stamp(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    before = store.stamp()
    SnapshotStore(tmp_path).save(ServerSnapshot("one"))
    assert store.stamp() != before
    store.forget("one")
    assert store.stamp() == before
