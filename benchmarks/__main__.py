"""`python -m benchmarks`: which measurements there are."""

import ast
from pathlib import Path

FOLDER = Path(__file__).parent


def main() -> None:
    """One line each: the command, and the first sentence of its module."""
    for path in sorted(FOLDER.glob("*.py")):
        if path.stem.startswith("_"):
            continue
        tree = ast.parse(path.read_text())
        docstring = ast.get_docstring(tree) or ""
        if "__main__" in path.read_text():
            print(f"python -m benchmarks.{path.stem:14} {docstring.splitlines()[0]}")


if __name__ == "__main__":
    main()
