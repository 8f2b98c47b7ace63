"""Writes the hand-made model as a GGUF file, tiny or blown up with filler to a chosen size."""

from pathlib import Path
from typing import TypeAlias

import gguf
import numpy as np
from numpy.typing import NDArray

from runtimes.tiny_model import vocabulary, weights
from runtimes.tiny_model.weights import Matrix, Weights

Blocks: TypeAlias = NDArray[np.uint8]

Q8 = gguf.GGMLQuantizationType.Q8_0
DESCRIPTION = "written by hand, never trained; says the same sentence whatever it is asked"

BIG_WIDTH, BIG_FEED_FORWARD, BIG_HEADS, BIG_HEAD = 2048, 5632, 16, 128
BIG_LAYER_BYTES = (4 * BIG_WIDTH**2 + 3 * BIG_WIDTH * BIG_FEED_FORWARD) // 32 * 34


def write_tiny(path: Path) -> None:
    """About 400 KB; the bytes are the same on every run."""
    model = weights.hand_made()
    writer = gguf.GGUFWriter(str(path), "llama")
    _describe(
        writer, model, "tiny-hand-made", model.width, weights.FEED_FORWARD, 1, 1, weights.HEAD
    )
    _quantized(writer, "token_embd.weight", model.embedding)
    _quantized(writer, "output.weight", model.output)
    _ones(writer, "output_norm.weight", model.width)
    _ones(writer, "blk.0.attn_norm.weight", model.width)
    _ones(writer, "blk.0.ffn_norm.weight", model.width)
    layer = model.layer
    for name, matrix in (
        ("attn_q", interleaved(layer.q)),
        ("attn_k", interleaved(layer.k)),
        ("attn_v", layer.v),
        ("attn_output", layer.o),
        ("ffn_gate", layer.gate),
        ("ffn_up", layer.up),
        ("ffn_down", layer.down),
    ):
        _quantized(writer, f"blk.0.{name}.weight", matrix)
    _finish(writer)


def write_big(path: Path, size_mib: int) -> None:
    """The same sentences at the size and speed of a real model, for swaps that can be seen."""
    model = weights.hand_made()
    layers = max(1, round(size_mib * 2**20 / BIG_LAYER_BYTES))
    writer = gguf.GGUFWriter(str(path), "llama")
    name = f"filler-{size_mib}MiB"
    _describe(writer, model, name, BIG_WIDTH, BIG_FEED_FORWARD, layers, BIG_HEADS, BIG_HEAD)
    # Normalising makes more of a one in a wider row; the logits have to stay what they were.
    scale = float(np.sqrt(model.width / BIG_WIDTH))
    _quantized(writer, "token_embd.weight", _widened(model.embedding))
    _quantized(writer, "output.weight", _widened(model.output) * scale)
    _ones(writer, "output_norm.weight", BIG_WIDTH)
    filler = _Filler()
    for number in range(layers):
        _ones(writer, f"blk.{number}.attn_norm.weight", BIG_WIDTH)
        _ones(writer, f"blk.{number}.ffn_norm.weight", BIG_WIDTH)
        if number == 0:
            for attention, matrix in _big_attention(model).items():
                _quantized(writer, f"blk.0.{attention}.weight", matrix)
        else:
            for attention in ("attn_q", "attn_k", "attn_v"):
                filler.add(writer, f"blk.{number}.{attention}.weight", BIG_WIDTH, BIG_WIDTH, 1e-5)
            filler.add(writer, f"blk.{number}.attn_output.weight", BIG_WIDTH, BIG_WIDTH, 1e-6)
        for part in ("ffn_gate", "ffn_up"):
            filler.add(writer, f"blk.{number}.{part}.weight", BIG_FEED_FORWARD, BIG_WIDTH, 1e-5)
        filler.add(writer, f"blk.{number}.ffn_down.weight", BIG_WIDTH, BIG_FEED_FORWARD, 1e-6)
    _finish(writer)


def interleaved(matrix: Matrix) -> Matrix:
    """Rows of q and k in the order that llama.cpp rotates them in."""
    rows = matrix.shape[0]
    paired = matrix.reshape(1, 2, rows // 2, matrix.shape[1]).swapaxes(1, 2)
    return np.ascontiguousarray(paired.reshape(matrix.shape))


class _Filler:
    """Random numbers too small to change any word."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(1)

    def add(
        self, writer: gguf.GGUFWriter, name: str, rows: int, columns: int, scale: float
    ) -> None:
        # A Q8_0 block is a half-precision scale and 32 signed bytes.
        blocks: Blocks = np.empty((rows, columns // 32, 34), np.uint8)
        blocks[..., :2] = np.frombuffer(np.float16(scale).tobytes(), np.uint8)
        blocks[..., 2:] = self._random.integers(0, 256, (rows, columns // 32, 32), np.uint8)
        writer.add_tensor(name, blocks.reshape(rows, -1), raw_dtype=Q8)


def _widened(matrix: Matrix) -> Matrix:
    return np.pad(matrix, ((0, 0), (0, BIG_WIDTH - matrix.shape[1])))


def _big_attention(model: Weights) -> dict[str, Matrix]:
    """Head 0 does what the tiny model's only head does; its slowest frequency is the last pair."""
    layer, slow = model.layer, weights.HEAD // 2 - 1
    q, k, v, o = (np.zeros((BIG_WIDTH, BIG_WIDTH), np.float32) for _ in range(4))
    q[BIG_HEAD - 2, : model.width] = layer.q[slow]
    k[BIG_HEAD - 2, : model.width] = layer.k[slow]
    v[: weights.HEAD, : model.width] = layer.v
    o[: model.width, : weights.HEAD] = np.sign(layer.o) / weights.gain(BIG_WIDTH)
    return {"attn_q": q, "attn_k": k, "attn_v": v, "attn_output": o}


def _quantized(writer: gguf.GGUFWriter, name: str, matrix: Matrix) -> None:
    writer.add_tensor(name, gguf.quants.quantize(matrix, Q8), raw_dtype=Q8)


def _ones(writer: gguf.GGUFWriter, name: str, width: int) -> None:
    writer.add_tensor(name, np.ones(width, np.float32))


def _describe(
    writer: gguf.GGUFWriter,
    model: Weights,
    name: str,
    width: int,
    feed_forward: int,
    layers: int,
    heads: int,
    head: int,
) -> None:
    writer.add_name(name)
    writer.add_description(DESCRIPTION)
    writer.add_license("MIT")
    writer.add_context_length(weights.CONTEXT_TOKENS)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(feed_forward)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(int(gguf.LlamaFileType.MOSTLY_Q8_0))
    tokens = model.words.tokens
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([token.text.encode() for token in tokens])
    writer.add_token_scores([token.score for token in tokens])
    writer.add_token_types([token.kind for token in tokens])
    writer.add_bos_token_id(vocabulary.BEGIN)
    writer.add_eos_token_id(vocabulary.END)
    writer.add_unk_token_id(vocabulary.UNKNOWN)
    writer.add_eot_token_id(vocabulary.END)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(vocabulary.TEMPLATE)


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
