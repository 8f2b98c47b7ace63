"""The checks of the tree notice what they are for."""

from pathlib import Path

import pytest

from tests.checks import tree


def test_a_dependency_without_a_reason_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "dependencies.md").write_text("| `known` | a reason |\n| `gone` | old |\n")
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["known>=1", "new[extra]>=2"]\n[project.optional-dependencies]\n'
    )
    (tmp_path / "code.py").write_text("import known.inner\n")
    monkeypatch.setattr(tree, "ROOT", tmp_path)
    monkeypatch.setattr(tree, "tracked", lambda *_: [tmp_path / "code.py"])
    assert list(tree.undescribed_dependencies()) == [
        "new has no line of reason in docs/dependencies.md",
        "docs/dependencies.md explains gone, which is not a dependency",
        "new is declared and nowhere imported",
    ]


def test_a_long_file_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "long.py").write_text("x = 1\n" * 401)
    monkeypatch.setattr(tree, "ROOT", tmp_path)
    monkeypatch.setattr(tree, "tracked", lambda *_: [tmp_path / "long.py"])
    assert list(tree.long_files()) == ["long.py has 401 lines; 400 is the limit"]


def test_a_stale_drawing_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "states.md"
    monkeypatch.setattr(tree, "STATES_PAGE", page)
    assert list(tree.stale_states())
    page.write_text(tree.states_page())
    assert not list(tree.stale_states())
