"""Files that llama-server has fetched from a hub before: found in its caches, never fetched."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

USUAL = ("Q4_K_M", "Q8_0")
"""What llama-server takes where nobody says which."""
_PART = re.compile(r"-(\d{5})-of-\d{5}\.gguf$")


def found(repository: str, file: str | None = None) -> tuple[Path, Path | None] | None:
    """The model's file and its projector for images, if they are on this machine."""
    plain, _, tag = repository.partition(":")
    there = [path for path in _files(plain, os.environ, Path.home()) if _first_part(path)]
    projectors = [path for path in there if "mmproj" in path.name.lower()]
    models = [path for path in there if path not in projectors]
    if file:
        models = [path for path in models if path.name.endswith(file.rpartition("/")[2])]
    chosen = _tagged(models, tag)
    return None if chosen is None else (chosen, projectors[0] if len(projectors) == 1 else None)


def _tagged(models: Sequence[Path], tag: str) -> Path | None:
    for wanted in [tag] if tag else USUAL:
        named = [path for path in models if wanted.lower() in path.name.lower()]
        if named:
            return min(named, key=lambda path: (len(path.name), path.name))
    return models[0] if len(models) == 1 and not tag else None


def _files(repository: str, env: Mapping[str, str], home: Path) -> list[Path]:
    """Everything of this repository, in the hub's own cache and in llama.cpp's older one."""
    cache = Path(env.get("XDG_CACHE_HOME") or home / ".cache")
    hub = Path(env.get("HF_HUB_CACHE") or Path(env.get("HF_HOME") or cache / "huggingface") / "hub")
    older = Path(env.get("LLAMA_CACHE") or cache / "llama.cpp")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        return []
    snapshots = hub / f"models--{repository.replace('/', '--')}" / "snapshots"
    files = [*snapshots.glob("*/*.gguf"), *snapshots.glob("*/*/*.gguf")]
    files += older.glob(f"{repository.replace('/', '_')}_*.gguf")
    return sorted(files)


def _first_part(path: Path) -> bool:
    part = _PART.search(path.name)
    return part is None or part[1] == "00001"
