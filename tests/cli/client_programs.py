"""Homes with clients in them: their programs, which write down how they were called, and their files."""

import json
from pathlib import Path

from local_model_gateway.connecting.client_places import Places
from recipes import loader, render
from recipes.front_matter import CommandStep, FileStep, Kind, ManualStep, MergeStep
from tests.cli import stub

CLIENTS = loader.every(Kind.CLIENT)
CHANGING = sorted(
    name
    for name, recipe in CLIENTS.items()
    if any(isinstance(step, FileStep | MergeStep | CommandStep) for step in recipe.front.apply)
)
BY_HAND = sorted(
    name
    for name, recipe in CLIENTS.items()
    if all(isinstance(step, ManualStep) for step in recipe.front.apply)
)
LAUNCHABLE = sorted(name for name, recipe in CLIENTS.items() if recipe.front.launch)

# A client's program: it says its version, keeps its servers in a file of its own, and shows what was added.
PROGRAM = """#!/usr/bin/env python3
import json, os, pathlib, signal, sys
home, argv = pathlib.Path(os.environ["HOME"]), sys.argv[1:]
seen = ("ANTHROPIC_", "OPENAI_", "LMG_", "GOOSE_", "COPILOT_")
env = {name: value for name, value in os.environ.items() if name.startswith(seen)}
if argv != ["--version"]:
    with open(home / "calls.jsonl", "a") as stream:
        stream.write(json.dumps({"argv": argv, "env": env}) + "\\n")
kept = home / ".claude.json"
servers = json.loads(kept.read_text()) if kept.exists() and argv[:1] == ["mcp"] else {}
if argv == ["--version"]:
    print("2.1.303 (Claude Code)")
elif argv[:2] == ["mcp", "add"]:
    kept.write_text(json.dumps({**servers, "lmg": argv}))
elif argv[:2] == ["mcp", "remove"]:
    if servers.pop("lmg", None) is None:
        sys.exit("No MCP server found with name: lmg")
    kept.write_text(json.dumps(servers))
elif argv[:1] == ["exit"]:
    sys.exit(int(argv[1]))
elif argv[:1] == ["wait"]:
    print("waiting", flush=True)
    signal.pause()
elif argv[:2] == ["mcp", "get"] and "lmg" not in servers and sys.argv[0].endswith("claude"):
    sys.exit("No MCP server found with name: lmg")
else:
    print("  Status:   lmg   Connected")
"""


def shell_with(home: Path, *programs: str) -> stub.Shell:
    """A shell whose PATH holds these clients."""
    made = stub.shell(home)
    folder = home / "bin"
    folder.mkdir()
    for name in programs:
        (folder / name).write_text(PROGRAM)
        (folder / name).chmod(0o755)
    return stub.Shell(home, {**made.env, "PATH": f"{folder}:{made.env['PATH']}"})


def programs(name: str) -> list[str]:
    """Those that this recipe runs."""
    front = CLIENTS[name].front
    commands = [step.run[0] for step in front.apply if isinstance(step, CommandStep)]
    return sorted({*commands, *front.launch[:1]})


def steps(name: str) -> list[FileStep | MergeStep]:
    """What it writes; any model will do, for the paths do not depend on it."""
    made = render.render(CLIENTS[name], render.Values("http://127.0.0.1:1", "m")).steps
    return [step for step in made if isinstance(step, FileStep | MergeStep)]


def path_of(client: str, step: FileStep | MergeStep, home: Path) -> Path:
    """Where it writes."""
    # `stub.shell` moves the configuration's folder, as some users do, and some clients follow it.
    env = {"XDG_CONFIG_HOME": str(home / "config")}
    return Places(home, CLIENTS[client].front.moved, env).path(step.path)


def calls(home: Path) -> list[dict[str, object]]:
    """How the clients were called, in order."""
    log = home / "calls.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def tree(home: Path) -> dict[str, object]:
    """Everything in the home but our own state: folders, links, contents and modes."""
    skipped = {"bin", "state", "calls.jsonl"}
    found: dict[str, object] = {}
    for path in sorted(home.rglob("*")):
        name = path.relative_to(home)
        if name.parts[0] in skipped:
            continue
        if path.is_symlink():
            found[str(name)] = path.readlink()
        elif path.is_file():
            found[str(name)] = (path.read_bytes(), path.stat().st_mode)
        else:
            found[str(name)] = "folder"
    return found
