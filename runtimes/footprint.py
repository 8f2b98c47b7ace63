"""How much memory a model will take, before it was ever loaded: weights, cache and room to compute.

A guess on the high side, corrected by the first load. What cannot be guessed is None, which the plan
takes for the whole pool.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from runtimes import gguf_header

CACHE_BYTES = 2  # half precision, which is every engine's default
FIXED_BYTES = 256 << 20  # the process itself, graphs, buffers that do not grow with the model
COMPUTE_SHARE = 0.05  # of the weights; measured 4 to 8 % on models from 50 MB to 700 MB
DEFAULT_CONTEXT = 4096
SHARD = re.compile(r"(.*)-00001-of-(\d{5})\.gguf")


@dataclass(frozen=True, slots=True)
class Shape:
    """What the size of the cache depends on."""

    cache_values_per_token: int
    """Keys and values of all layers."""
    trained_context: int | None = None


def of_model(model: str, context: int | None, slots: int) -> int | None:
    """Bytes for this model at this context and so many slots; None when the model cannot be looked into."""
    if not model:
        return None
    path = Path(model)
    try:
        if path.is_dir():
            return predict(_folder_bytes(path), _folder_shape(path), context, slots)
        if path.is_file() and path.suffix.lower() == ".gguf":
            return predict(_file_bytes(path), _gguf_shape(path), context, slots)
    except (OSError, ValueError, TypeError, gguf_header.NotGguf):
        return None
    return None


def predict(weight_bytes: int, shape: Shape | None, context: int | None, slots: int) -> int | None:
    """Weights, cache, compute."""
    if not weight_bytes:
        return None
    cache = 0
    if shape is not None:
        # An engine that is not told takes what the model was trained with.
        tokens = context * slots if context else shape.trained_context or DEFAULT_CONTEXT
        cache = shape.cache_values_per_token * CACHE_BYTES * tokens
    return weight_bytes + cache + int(weight_bytes * COMPUTE_SHARE) + FIXED_BYTES


def _file_bytes(path: Path) -> int:
    match = SHARD.fullmatch(path.name)
    if match is None:
        return path.stat().st_size
    count = int(match[2])
    names = (f"{match[1]}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1))
    return sum((path.parent / name).stat().st_size for name in names)


def _gguf_shape(path: Path) -> Shape | None:
    header = gguf_header.read(path)
    family = header.get("general.architecture")

    def number(key: str) -> int | None:
        value = header.get(f"{family}.{key}")
        return value if isinstance(value, int) else None

    layers, heads, width = (
        number("block_count"),
        number("attention.head_count"),
        number("embedding_length"),
    )
    if layers is None or width is None:
        return None
    kv_heads = header.get(f"{family}.attention.head_count_kv", heads)
    in_layers = kv_heads if isinstance(kv_heads, list) else [kv_heads] * layers
    key = number("attention.key_length") or (width // heads if heads else 0)
    value = number("attention.value_length") or key
    return Shape(_whole(in_layers) * (key + value), number("context_length"))


def _whole(numbers: Iterable[object]) -> int:
    return sum(each for each in numbers if isinstance(each, int))


def _folder_bytes(path: Path) -> int:
    return sum(
        file.stat().st_size
        for file in path.iterdir()
        if file.suffix in (".safetensors", ".bin", ".gguf", ".npz")
    )


def _folder_shape(path: Path) -> Shape | None:
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    config = config.get("text_config", config)
    layers, heads = config.get("num_hidden_layers"), config.get("num_attention_heads")
    if not layers or not heads:
        return None
    head = config.get("head_dim") or config["hidden_size"] // heads
    kv_heads = config.get("num_key_value_heads") or heads
    return Shape(2 * layers * kv_heads * head, config.get("max_position_embeddings"))
