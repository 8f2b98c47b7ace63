"""SQL, and the driver that speaks it, are in the store's files and nowhere else in the coordinator."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[3] / "coordinator"
OWN = {"connection", "writing", "reading", "takeover", "retention", "migrate", "opening", "journal"}
SQL = re.compile(
    r"\b(SELECT\s.+\sFROM\b|INSERT\s+(OR\s+\w+\s+)?INTO\b|UPDATE\s+\w+\s+SET\b|DELETE\s+FROM\b"
    r"|CREATE\s+(TABLE|INDEX|TRIGGER|UNIQUE)\b|BEGIN\s+IMMEDIATE\b|PRAGMA\s+\w+)",
    re.DOTALL,
)
DRIVERS = {"sqlite3", "aiosqlite"}
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))


def strings(tree: ast.AST) -> Iterator[str]:
    """Each string of the code, docstrings and the fixed parts of f-strings included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def drivers(tree: ast.AST) -> set[str]:
    """The database drivers that this module imports."""
    imported: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                imported |= {name.name.partition(".")[0] for name in names}
            case ast.ImportFrom(module=str(module)):
                imported.add(module.partition(".")[0])
    return imported & DRIVERS


@pytest.mark.parametrize("name", [name for name in MODULES if name not in OWN])
def test_no_other_module_speaks_sql(name: str) -> None:
    tree = ast.parse((PACKAGE / f"{name}.py").read_text())
    assert [text for text in strings(tree) if SQL.search(text)] == []
    assert drivers(tree) == set()


def test_the_search_would_find_it() -> None:
    found = {name for name in OWN if any(map(SQL.search, strings(tree_of(name))))}
    assert found == OWN - {"journal"}


def test_only_the_connection_knows_the_async_driver() -> None:
    assert [name for name in MODULES if "aiosqlite" in drivers(tree_of(name))] == ["connection"]


def tree_of(name: str) -> ast.AST:
    return ast.parse((PACKAGE / f"{name}.py").read_text())


@pytest.mark.parametrize("name", sorted(OWN))
def test_values_are_bound_and_never_written_into_a_statement(name: str) -> None:
    """An f-string may hold only what this package itself names: constants, columns, a version, a size."""
    allowed = {
        "_COLUMNS", "_OF_WORK", "_OWNED", "WAL_LIMIT_BYTES", "VACUUM_PAGES", "step.sql", "step.version",
        "'FULL' if full else 'NORMAL'", "', '.join(_ADMITTED_COLUMNS)",
        "', '.join((f':{name}' for name in _ADMITTED_COLUMNS))",
    }  # fmt: skip
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.JoinedStr) and any(map(SQL.search, strings(node))):
            holes = {
                ast.unparse(part.value)
                for part in node.values
                if isinstance(part, ast.FormattedValue)
            }
            assert holes <= allowed
