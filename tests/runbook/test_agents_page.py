"""What AGENTS.md sends a reader to is there."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

from local_model_gateway import cli

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "AGENTS.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"`([^`\n]+)`", TEXT)


def paths() -> Iterator[str]:
    """Files and folders, whether on their own or as a command's words; and those of links."""
    yield from re.findall(r"\]\(([^)#]+)\)", TEXT)
    for quoted in QUOTED:
        for word in quoted.split():
            if "/" in word.strip("/") and not word.startswith((".venv/", "/")):
                yield word


def modules() -> Iterator[str]:
    """`package.module`, and what `python -m` is given."""
    for quoted in QUOTED:
        yield from re.findall(r"python -m ([\w.]+)", quoted)
        if re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", quoted) and not quoted.endswith(".txt"):
            yield quoted


def packages() -> Iterator[str]:
    """The first column of the map."""
    table = TEXT.partition("| package |")[2].partition("\n\n")[0]
    for line in table.splitlines()[2:]:
        yield from re.findall(r"`([a-z_]+)`", line.split("|")[1])


def test_every_path_exists() -> None:
    found = list(paths())
    assert len(found) > 30
    for path in found:
        assert list(ROOT.glob(path.rstrip("/").replace("NAME", "*"))), path


def test_every_module_can_be_found() -> None:
    found = list(modules())
    assert len(found) > 7
    for module in found:
        assert importlib.util.find_spec(module) is not None, module


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = {target for quoted in QUOTED for target in re.findall(r"\bmake ([a-z-]+)", quoted)}
    assert len(named) > 5
    assert named <= targets


def test_every_verb_exists() -> None:
    named = {verb for quoted in QUOTED for verb in re.findall(r"bin/lmg ([a-z-]+)", quoted)}
    assert named
    assert named <= set(cli.VERBS)


def test_every_package_is_in_the_map() -> None:
    made = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert set(packages()) == made


def test_a_named_test_is_one_that_exists() -> None:
    named = {path for path in paths() if "/test_" in path}
    assert len(named) > 9
    for path in named:
        assert "def test_" in (ROOT / path).read_text(encoding="utf-8"), path


def test_the_page_is_short_and_the_other_one_points_to_it() -> None:
    assert len(TEXT.splitlines()) <= 120
    pointer = (ROOT / "CLAUDE.md").read_text(encoding="utf-8").splitlines()
    assert pointer == ["See [AGENTS.md](AGENTS.md)."]
    first = TEXT.index("## Which are you?")
    assert all(first <= match.start() for match in re.finditer(r"^## ", TEXT, re.MULTILINE))
