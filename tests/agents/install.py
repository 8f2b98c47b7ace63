"""Installs the real clients, each in a folder of its own, pinned, once."""

import argparse
import functools
from pathlib import Path

from tests.conformance import install

AGENTS = install.CACHE / "agents"

NPM: dict[str, dict[str, str]] = {
    "inspector": {"@modelcontextprotocol/inspector": "2.12.0"},
    "codex": {"@openai/codex": "0.169.0"},
    "opencode": {"opencode-ai": "1.18.33"},
    "claude-code": {"@anthropic-ai/claude-code": "2.1.329"},
    "gemini-cli": {"@google/gemini-cli": "0.61.0"},
    "qwen-code": {"@qwen-code/qwen-code": "0.24.4"},
    "continue": {"@continuedev/cli": "1.5.47"},
    "cline": {"cline": "3.0.65"},
    "pi": {"@mariozechner/pi-coding-agent": "0.73.1"},
    "copilot-cli": {"@github/copilot": "1.0.102"},
}

PYTHON: dict[str, tuple[str, ...]] = {
    "openai-agents": ("openai-agents==0.24.0", "mcp==2.3.0"),
    "langchain-mcp-adapters": ("langchain-mcp-adapters==0.3.2", "mcp==1.30.0"),
    "pydantic-ai": ("pydantic-ai-slim[mcp,openai]==2.68.0", "fastmcp==4.1.2"),
    "hermes": ("hermes-agent[mcp]==0.19.0",),
    "llamaindex": (
        "llama-index-core==0.14.25",
        "llama-index-llms-openai-like==0.8.1",
        "llama-index-tools-mcp==0.6.0",
    ),
    "aider": ("aider-chat==0.86.2",),
    "fastmcp-tasks": ("fastmcp==4.1.2", "fastmcp-tasks==4.1.2"),
}


def program(name: str, command: str) -> Path:
    """A command line client from npm."""
    return install.npm_folder(AGENTS / name, NPM[name]) / "node_modules" / ".bin" / command


def python(name: str) -> Path:
    """The interpreter of the environment that a Python client has to itself."""
    return install.python_folder(AGENTS / name, PYTHON[name])


def main() -> None:
    """Install the named ones, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[*PYTHON, *NPM])
    for name in parser.parse_args().names:
        folder = AGENTS / name
        install.report(
            name,
            functools.partial(python, name)
            if name in PYTHON
            else functools.partial(install.npm_folder, folder, NPM[name]),
        )


if __name__ == "__main__":
    main()
