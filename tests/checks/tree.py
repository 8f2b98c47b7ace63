"""`python -m tests.checks.tree`: file sizes, dependency reasons, drawn state machines, words that do not belong.

`--write` draws the state machines again.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import vulture

from coordinator import state as work_state
from runtimes import state as runtime_state

ROOT = Path(__file__).parents[2]
CODE_LINES, TEST_LINES = 400, 600
STATES_PAGE = ROOT / "docs" / "states.md"

PACKAGES = (
    "local_model_gateway",
    "mcp_server",
    "openai_shim",
    "broker",
    "catalog",
    "coordinator",
    "runtimes",
    "recipes",
)
# Named in no code of ours, because a library calls them.
CALLED_BY_FRAMEWORKS = frozenset(
    {
        "capture_signals",
        "delete_many",
        "do_GET",
        "do_POST",
        "eof_received",
        "get_many",
        "intercept_tool_call",
        "log_message",
        "pause_writing",
        "put_many",
        "resume_writing",
        "send_400_response",
        "ttl_many",
        "_unsupported_upgrade_warning",
    }
)
# What a package is imported as, where that is not its own name.
IMPORTED_AS = {"pyyaml": "yaml"}
# Declared for those who are not imported by name: see docs/dependencies.md.
NOT_IMPORTED: set[str] = set()


def tracked(*patterns: str) -> list[Path]:
    """Files that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def long_files() -> Iterator[str]:
    """A file is one room with one purpose, and that fits 400 lines."""
    for path in tracked("*.py"):
        limit = TEST_LINES if path.is_relative_to(ROOT / "tests") else CODE_LINES
        lines = path.read_text().count("\n")
        if lines > limit:
            yield f"{path.relative_to(ROOT)} has {lines} lines; {limit} is the limit"


def undescribed_dependencies() -> Iterator[str]:
    """Every dependency has its line of reason, and is imported somewhere."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(one for extra in extras for one in extra)]
    page = (ROOT / "docs" / "dependencies.md").read_text()
    reasons = set(re.findall(r"^\| `([^`]+)` \| \S", page, re.MULTILINE))
    names = {re.split(r"[<>=\[ ]", one)[0] for one in wanted}
    imported = set(_imported())
    for name in sorted(names - reasons):
        yield f"{name} has no line of reason in docs/dependencies.md"
    for name in sorted(reasons - names):
        yield f"docs/dependencies.md explains {name}, which is not a dependency"
    for name in sorted(names - NOT_IMPORTED):
        if IMPORTED_AS.get(name.lower(), name.lower().replace("-", "_")) not in imported:
            yield f"{name} is declared and nowhere imported"


def _imported() -> Iterator[str]:
    for path in tracked("*.py"):
        if path.is_relative_to(ROOT / "tests") or path.is_relative_to(ROOT / "benchmarks"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Import(names):
                    yield from (name.name.partition(".")[0] for name in names)
                case ast.ImportFrom(module=str(module)):
                    yield module.partition(".")[0]


def dead_code() -> Iterator[str]:
    """Functions, methods and classes that nobody names: neither the product, nor a test, nor a framework."""
    finder = vulture.Vulture(
        ignore_names=sorted(CALLED_BY_FRAMEWORKS),
        ignore_decorators=[
            "@*validator*",
            "@*serializer*",
            "@pydantic.*",
            "@app.*",
            "@*.tool*",
            "@*.resource*",
        ],
    )
    finder.scavenge([str(ROOT / name) for name in (*PACKAGES, "tests", "benchmarks")])
    for found in finder.get_unused_code(min_confidence=60):
        path = Path(found.filename).relative_to(ROOT)
        ours = path.parts[0] in PACKAGES
        if ours and found.typ in {"function", "method", "class", "property", "unreachable_code"}:
            yield f"{path}:{found.first_lineno}: nobody uses the {found.typ} {found.name}"


def stale_states() -> Iterator[str]:
    """The drawn state machines are the tables."""
    if not STATES_PAGE.exists() or STATES_PAGE.read_text() != states_page():
        yield "docs/states.md is not what the tables say; run `make docs`"


def states_page() -> str:
    """Both machines, drawn from their tables."""
    parts = [
        "# The two state machines\n",
        "Drawn from `coordinator/state.py` and `runtimes/state.py` by `make docs`; nothing else changes a state.\n",
        "## Work item\n",
        *_drawn(work_state.TRANSITIONS, work_state.SENTENCES, "queued"),
        "## Runtime\n",
        *_drawn(runtime_state.TRANSITIONS, runtime_state.SENTENCES, "unknown"),
    ]
    return "\n".join(parts)


def _drawn(transitions: object, sentences: object, first: str) -> Iterator[str]:
    assert isinstance(transitions, dict | type(runtime_state.TRANSITIONS))
    assert isinstance(sentences, dict | type(runtime_state.SENTENCES))
    yield "```mermaid\nstateDiagram-v2\n    direction LR"
    yield f"    [*] --> {first}"
    for (before, event), after in transitions.items():
        yield f"    {before} --> {after}: {event}"
    yield "```\n\n| state | |\n|---|---|"
    yield from (f"| `{state}` | {sentence} |" for state, sentence in sentences.items())
    yield ""


def foreign_words() -> Iterator[str]:
    """No path of one machine, no address of a package index."""
    hosts = (
        "py" + "pi.org",
        "registry." + "npmjs",
        "files." + "pythonhosted",
        "deb." + "debian.org",
    )
    for path in tracked():
        try:
            text = path.read_text()
        except (UnicodeDecodeError, OSError):
            continue
        for host in hosts:
            if host in text:
                yield f"{path.relative_to(ROOT)} names {host}"
        if re.search(r"/(?:home|Users)/[a-z]{3,}/", text) and path.suffix in {".py", ".toml"}:
            if path.is_relative_to(ROOT / "tests"):
                continue
            yield f"{path.relative_to(ROOT)} names somebody's home"


CHECKS: tuple[Callable[[], Iterator[str]], ...] = (
    long_files,
    undescribed_dependencies,
    dead_code,
    stale_states,
    foreign_words,
)


def main() -> int:
    """Every finding on a line; 1 if there is one."""
    if "--write" in sys.argv:
        STATES_PAGE.write_text(states_page())
    findings = [finding for check in CHECKS for finding in check()]
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
