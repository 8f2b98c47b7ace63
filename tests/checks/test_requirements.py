"""Every promise has a test that claims it, and no test claims a promise that is not there."""

import ast
from collections.abc import Iterator

from tests.checks import tree
from tests.requirements import REQUIREMENTS


def claims() -> Iterator[tuple[str, str]]:
    """(id, test) for each `@pytest.mark.requirement(id)`."""
    for path in tree.tracked("tests/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                for mark in node.decorator_list:
                    match mark:
                        case ast.Call(
                            func=ast.Attribute(attr="requirement"), args=[ast.Constant(str(name))]
                        ):
                            yield name, f"{path.name}::{node.name}"


def test_every_promise_has_a_test() -> None:
    claimed = {name for name, _ in claims()}
    assert sorted(set(REQUIREMENTS) - claimed) == []


def test_no_test_claims_an_unknown_promise() -> None:
    assert sorted((name, test) for name, test in claims() if name not in REQUIREMENTS) == []
