"""Model files in the places where people and programs keep them."""

import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

LIMIT_S = 1.5
MAX_FOUND = 200
MAX_DEPTH = 7
SMALLEST_BYTES = 16 * 1024 * 1024  # anything smaller is a vocabulary or a test

_MAGIC = b"GGUF"
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
# Companions of a model, which cannot be asked anything.
_COMPANION = re.compile(r"(mmproj|imatrix|embd-proj|lora|\.draft)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One model that an engine could load."""

    path: Path
    kind: str
    """`gguf`, a file, or `mlx`, a folder."""
    size_bytes: int

    @property
    def name(self) -> str:
        """A short name for clients to ask by."""
        stem = _PART.sub("", _titled(self.path).name).removesuffix(".gguf")
        return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.").lower() or "model"


def _titled(path: Path) -> Path:
    """In the hub's cache a folder is called by its revision, and two above it by its name."""
    if path.parent.name != "snapshots":
        return path
    return Path(path.parent.parent.name.rpartition("--")[2])


def folders(env: Mapping[str, str], home: Path) -> list[Path]:
    """Where to look, the user's own choice first."""
    named = [
        Path(env[name]) for name in ("LLAMA_CACHE", "HF_HOME", "HF_HUB_CACHE") if env.get(name)
    ]
    usual = [
        home / "models",
        home / "Models",
        home / ".cache" / "llama.cpp",
        home / ".lmstudio" / "models",
        home / ".cache" / "lm-studio" / "models",
        home / ".cache" / "huggingface" / "hub",
    ]
    return list(dict.fromkeys(folder for folder in [*named, *usual] if folder.is_dir()))


def find(env: Mapping[str, str], home: Path, *, limit_s: float = LIMIT_S) -> list[ModelFile]:
    """At most so many, within the limit; larger folders are simply not seen to the end."""
    deadline = time.monotonic() + limit_s
    found: dict[str, ModelFile] = {}
    for folder in folders(env, home):
        for model in _inside(folder, 0, deadline):
            # The hub links one file under several names.
            found.setdefault(os.path.realpath(model.path), model)
            if len(found) >= MAX_FOUND:
                return sorted(found.values(), key=lambda one: one.name)
    return sorted(found.values(), key=lambda one: one.name)


def _inside(folder: Path, depth: int, deadline: float) -> Iterator[ModelFile]:
    if depth > MAX_DEPTH or time.monotonic() > deadline:
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    if "mlx" in str(folder).lower() and (mlx := _mlx(folder, entries)):
        yield mlx
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
            yield from _inside(Path(entry.path), depth + 1, deadline)
        elif entry.name.endswith(".gguf") and (gguf := _gguf(Path(entry.path), entries)):
            yield gguf


def _gguf(path: Path, beside: list[os.DirEntry[str]]) -> ModelFile | None:
    part = _PART.search(path.name)
    if _COMPANION.search(path.name) or (part and part[1] != "00001"):
        return None
    stem = _PART.sub("", path.name)
    try:
        size = path.stat().st_size
        if part:
            size = sum(
                entry.stat().st_size
                for entry in beside
                if _PART.search(entry.name) and _PART.sub("", entry.name) == stem
            )
    except OSError:
        return None
    return ModelFile(path, "gguf", size) if size >= SMALLEST_BYTES and _is_gguf(path) else None


def _is_gguf(path: Path) -> bool:
    """By its first bytes: a download that was cut off at its start, or a pointer to one, has others."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def _mlx(folder: Path, entries: list[os.DirEntry[str]]) -> ModelFile | None:
    names = {entry.name for entry in entries}
    weights = [entry for entry in entries if entry.name.endswith(".safetensors")]
    if "config.json" not in names or not weights:
        return None
    try:
        size = sum(entry.stat().st_size for entry in weights)
    except OSError:
        return None
    return ModelFile(folder, "mlx", size)
