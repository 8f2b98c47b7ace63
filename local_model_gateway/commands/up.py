"""`lmg up`: make sure that a gateway runs, in the background unless told otherwise, and say where."""

import argparse
import os
import sys
import time
from pathlib import Path

from local_model_gateway import announcement, client, config, errors, exposure, paths
from local_model_gateway.commands import start
from local_model_gateway.terminal import Terminal

START_S = 60.0
LOOK_S = 0.05
LAST_LINES = 5


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask anything")
    parser.add_argument("--foreground", action="store_true", help="as `lmg start`")


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    file = Path(given.config) if given.config else None
    created_config = _first_config(given, file, terminal)
    settings = config.load(file, os.environ)
    if danger := exposure.danger(settings.server.host, settings.server.keys.values()):
        raise errors.BindRefused(danger)
    if given.foreground:
        start.serve(settings, terminal)
        return 0
    state_dir = settings.state_path(os.environ)
    announced = announcement.read(state_dir)
    created = announced is None or not _answers(announced, settings)
    if created:
        announced = _started(given, state_dir, terminal)
    assert announced is not None
    url, models = announced.url, list(settings.runtimes)
    content = {
        "status": "ok",
        "pid": announced.pid,
        "created": created,
        "config_created": created_config,
        "config": [str(one) for one in settings.files],
        "endpoints": start.endpoints(url),
        "models": models,
        "next": [f'lmg run {models[0]} "Say hello"'] if models else ["lmg init"],
    }
    terminal.result("lmg.up/1", content, _said(announced, settings, created))
    return 0


def _first_config(given: argparse.Namespace, file: Path | None, terminal: Terminal) -> bool:
    """On a machine without a configuration, look around and offer to write one with what was found."""
    if config.find(file, os.environ) or not (terminal.interactive or given.yes):
        return False
    from local_model_gateway.commands import init
    from local_model_gateway.detection import survey

    terminal.progress("looking for engines and models")
    found = survey.look(os.environ, Path.home())
    chosen = survey.choices(found)
    terminal.note("No configuration yet, so I looked around. Nothing was started or changed.\n")
    terminal.note(survey.described(found) + "\n")
    if not chosen:
        terminal.note("No engine with a model was found; the built-in one runs instead.\n")
        return False
    question = f"Use {'this model' if len(chosen) == 1 else f'these {len(chosen)} models'}? They load only when asked for."
    if not given.yes and not terminal.agreed(question):
        return False
    target = paths.config_dir(os.environ) / "config.yaml"
    init.write(target, survey.as_yaml(chosen))
    terminal.note(f"wrote {paths.shown(target)}, edit it any time\n")
    return True


def _answers(announced: announcement.Announcement, settings: config.Config) -> bool:
    if not announcement.alive(announced.pid):
        return False
    keys = [key.get_secret_value() for key in settings.server.keys.values()]
    try:
        client.Client(announced.url, keys[0] if keys else None).get("/health", timeout_s=5)
    except errors.GatewayError:
        return False
    return True


def _started(
    given: argparse.Namespace, state_dir: Path, terminal: Terminal
) -> announcement.Announcement:
    """Start it as a session of its own, and wait until it announces itself or ends."""
    log = state_dir / "logs" / "start.log"
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    words = [sys.executable, "-m", "local_model_gateway", "start", "--quiet"]
    if given.config:
        words += ["--config", str(Path(given.config).absolute())]
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    pid = os.posix_spawn(
        sys.executable,
        words,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    began = time.monotonic()
    while time.monotonic() - began < START_S:
        terminal.progress(f"starting, {time.monotonic() - began:.0f} s")
        announced = announcement.read(state_dir)
        if announced is not None and announced.pid == pid:
            return announced
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            _fail(os.waitstatus_to_exitcode(status), log)
        time.sleep(LOOK_S)
    raise errors.CommandFailed(
        f"the gateway (pid {pid}) did not answer within {START_S:.0f} s; see {paths.shown(log)}"
    )


def _fail(code: int, log: Path) -> None:
    lines = log.read_text(errors="replace").strip().splitlines()
    said = "\n".join(lines[-LAST_LINES:]) or f"see {paths.shown(log)}"
    error = errors.CommandFailed(f"the gateway ended with exit code {code}: {said}")
    error.exit_code = code if code > 0 else 1
    raise error


def _said(announced: announcement.Announcement, settings: config.Config, created: bool) -> str:
    state = "running in the background" if created else "was running already"
    places = start.endpoints(announced.url)
    key = "any api_key works from this machine" if not settings.server.keys else "with your key"
    lines = [
        f"Local Model Gateway {announced.version}, {state}, pid {announced.pid}",
        "",
        f"  OpenAI API   {places['openai']}       {key}",
        f"  MCP          {places['mcp']}",
        f"  Status       {places['status']}",
        "",
    ]
    if start.has_toy(settings):
        lines += [
            start.TOY,
            "For a real one: `lmg init --user` looks for engines and models on this machine.",
            "",
        ]
    models = list(settings.runtimes)
    if models:
        lines.append(f'Next  lmg run {models[0]} "Say hello"')
        lines.append("      lmg status · lmg logs -f · lmg down")
    return "\n".join(lines)
