"""Footprints before the first load: from a file's size, its header and the context."""

import json
import struct
from pathlib import Path

import pytest

from runtimes import footprint, gguf_header

MIB = 1 << 20


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def gguf(path: Path, keys: dict[str, object], size: int = 0) -> Path:
    """A file with only a header, padded to a size."""
    body = b""
    for key, value in keys.items():
        body += text(key)
        if isinstance(value, str):
            body += struct.pack("<I", 8) + text(value)
        elif isinstance(value, list):
            body += struct.pack("<IIQ", 9, 4, len(value)) + struct.pack(f"<{len(value)}I", *value)
        else:
            body += struct.pack("<II", 4, value)
    raw = b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys)) + body
    with path.open("wb") as file:
        file.write(raw)
        file.truncate(max(size, len(raw)))
    return path


LLAMA = {
    "general.architecture": "llama",
    "llama.context_length": 32768,
    "llama.embedding_length": 4096,
    "llama.block_count": 32,
    "llama.attention.head_count": 32,
    "llama.attention.head_count_kv": 8,
    "tokenizer.ggml.model": "llama",
}


def test_weights_cache_and_compute_are_counted(tmp_path: Path) -> None:
    path = gguf(tmp_path / "m.gguf", LLAMA, 4000 * MIB)
    predicted = footprint.of_model(str(path), context=8192, slots=2)
    cache = 32 * 8 * (128 + 128) * 2 * 8192 * 2
    assert predicted == 4000 * MIB + cache + int(4000 * MIB * 0.05) + footprint.FIXED_BYTES


def test_a_context_that_is_not_set_is_the_one_it_was_trained_with(tmp_path: Path) -> None:
    path = str(gguf(tmp_path / "m.gguf", LLAMA, 4000 * MIB))
    assert footprint.of_model(path, None, 1) == footprint.of_model(path, 32768, 1)


def test_layers_without_a_cache_do_not_count(tmp_path: Path) -> None:
    hybrid = {**LLAMA, "llama.attention.head_count_kv": [8, 0] * 16}
    half = footprint.of_model(str(gguf(tmp_path / "h.gguf", hybrid, MIB)), 8192, 1) or 0
    whole = footprint.of_model(str(gguf(tmp_path / "w.gguf", LLAMA, MIB)), 8192, 1) or 0
    assert whole - half == 16 * 8 * 256 * 2 * 8192


def test_all_parts_of_a_model_count(tmp_path: Path) -> None:
    first = gguf(tmp_path / "m-00001-of-00002.gguf", LLAMA, 100 * MIB)
    gguf(tmp_path / "m-00002-of-00002.gguf", {}, 300 * MIB)
    predicted = footprint.of_model(str(first), 256, 1) or 0
    assert 400 * MIB < predicted - footprint.FIXED_BYTES < 500 * MIB


def test_a_folder_counts_its_weights(tmp_path: Path) -> None:
    config = {
        "num_hidden_layers": 10,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "hidden_size": 512,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(100 * MIB)
    predicted = footprint.of_model(str(tmp_path), 1024, 1) or 0
    assert predicted == 105 * MIB + 2 * 10 * 2 * 64 * 2 * 1024 + footprint.FIXED_BYTES


@pytest.mark.parametrize("model", ["", "/nowhere/model.gguf", "Qwen/Qwen3-32B"])
def test_what_is_not_here_is_unknown(model: str) -> None:
    assert footprint.of_model(model, 4096, 1) is None


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"GGUF",
        b"GGML" + bytes(20),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 50),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 9, 1),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 4, 1 << 40),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<I", 77),
    ],
)
def test_a_hostile_header_is_refused_and_its_footprint_unknown(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(raw)
    with pytest.raises(gguf_header.NotGguf):
        gguf_header.read(path)
    assert footprint.of_model(str(path), 4096, 1) is None
