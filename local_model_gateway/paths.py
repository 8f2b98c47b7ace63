"""Where the gateway keeps things on this machine; XDG variables win on every platform."""

from collections.abc import Mapping
from pathlib import Path

import platformdirs

APP = "local-model-gateway"
PROJECT_FILE = f"{APP}.config.yaml"
"""Read from the working directory when it is there."""


def config_dir(env: Mapping[str, str]) -> Path:
    """Holds `config.yaml` and `conf.d/`."""
    return _under(env, "XDG_CONFIG_HOME") or Path(platformdirs.user_config_dir(APP))


def state_dir(env: Mapping[str, str]) -> Path:
    """Holds the queue's database, the logs and the running gateway's address."""
    chosen = env.get("LMG_STATE_DIR")
    if chosen:
        return Path(chosen).expanduser()
    return _under(env, "XDG_STATE_HOME") or Path(platformdirs.user_state_dir(APP))


def cache_dir(env: Mapping[str, str]) -> Path:
    """Holds what can be made again: generated models, tool catalogs."""
    return _under(env, "XDG_CACHE_HOME") or Path(platformdirs.user_cache_dir(APP))


def shown(path: Path) -> str:
    """The path as a person would write it; also keeps the account's name out of output."""
    try:
        return str(Path("~") / path.relative_to(Path.home()))
    except (ValueError, RuntimeError):
        return str(path)


def _under(env: Mapping[str, str], variable: str) -> Path | None:
    value = env.get(variable)
    return Path(value) / APP if value and Path(value).is_absolute() else None


def free_beside(path: Path) -> Path:
    """Where a file or folder that makes room is kept: beside its old place, under a name that nobody has."""
    number = 1
    while (kept := path.with_name(f"{path.name}.old-{number}")).exists():
        number += 1
    return kept
