"""Installs the real OpenAI clients that are driven as programs of their own, pinned, once.

python -m tests.clients.install [litellm langchain npm-openai schemathesis]
"""

import argparse
from pathlib import Path

from tests.conformance import install

CLIENTS = install.CACHE / "clients"

PYTHON: dict[str, tuple[str, ...]] = {
    "litellm": ("litellm==1.106.2", "mcp==2.3.0"),
    "langchain": ("langchain-openai==1.7.3",),
    "schemathesis": ("schemathesis==4.32.5",),
}
NPM: dict[str, dict[str, str]] = {"npm-openai": {"openai": "7.55.0"}}


def python(name: str) -> Path:
    """The interpreter of the environment that a Python client has to itself."""
    return install.python_folder(CLIENTS / name, PYTHON[name])


def folder(name: str) -> Path:
    """The folder of a client from npm."""
    return install.npm_folder(CLIENTS / name, NPM[name])


def main() -> None:
    """Install the named ones, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[*PYTHON, *NPM])
    for name in parser.parse_args().names:
        print(name, python(name) if name in PYTHON else folder(name))


if __name__ == "__main__":
    main()
