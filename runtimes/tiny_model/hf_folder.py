"""Writes the hand-made model as a folder of safetensors and tokenizer files, for engines that read those."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from runtimes.tiny_model import vocabulary, weights
from runtimes.tiny_model.weights import Matrix, Weights

TEMPLATE = "<s>" + vocabulary.TEMPLATE  # these tokenizers do not add it by themselves


def write(folder: Path, *, float32: bool = False) -> None:
    """Half precision unless an engine insists on more."""
    model = weights.hand_made()
    folder.mkdir(parents=True, exist_ok=True)
    _safetensors(folder / "model.safetensors", _tensors(model), float32=float32)
    _json(folder / "config.json", _config(model, "float32" if float32 else "float16"))
    special = {"bos_token": "<s>", "eos_token": "<|end|>", "unk_token": "<unk>"}
    ids = {"bos_token_id": vocabulary.BEGIN, "eos_token_id": vocabulary.END}
    _json(folder / "generation_config.json", {**ids, "do_sample": False})
    _json(folder / "special_tokens_map.json", special)
    _json(
        folder / "tokenizer_config.json",
        {
            **special,
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            "model_max_length": weights.CONTEXT_TOKENS,
            "chat_template": TEMPLATE,
        },
    )
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    _json(folder / "tokenizer.json", _tokenizer(model))


def _tensors(model: Weights) -> dict[str, Matrix]:
    layer, ones = model.layer, np.ones(model.width, np.float32)
    prefix = "model.layers.0."
    return {
        "model.embed_tokens.weight": model.embedding,
        "lm_head.weight": model.output,
        "model.norm.weight": ones,
        prefix + "input_layernorm.weight": ones,
        prefix + "post_attention_layernorm.weight": ones,
        prefix + "self_attn.q_proj.weight": layer.q,
        prefix + "self_attn.k_proj.weight": layer.k,
        prefix + "self_attn.v_proj.weight": layer.v,
        prefix + "self_attn.o_proj.weight": layer.o,
        prefix + "mlp.gate_proj.weight": layer.gate,
        prefix + "mlp.up_proj.weight": layer.up,
        prefix + "mlp.down_proj.weight": layer.down,
    }


def _safetensors(path: Path, tensors: dict[str, Matrix], *, float32: bool) -> None:
    """The format is: length of the header, the header as JSON, the raw tensors."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    blobs, offset = [], 0
    for name, matrix in tensors.items():
        raw = matrix.astype(np.float32 if float32 else np.float16).tobytes()
        header[name] = {
            "dtype": "F32" if float32 else "F16",
            "shape": list(matrix.shape),
            "data_offsets": [offset, offset + len(raw)],
        }
        blobs.append(raw)
        offset += len(raw)
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    path.write_bytes(struct.pack("<Q", len(head)) + head + b"".join(blobs))


def _config(model: Weights, dtype: str) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": model.width,
        "intermediate_size": weights.FEED_FORWARD,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": weights.HEAD,
        "vocab_size": len(model.words.tokens),
        "max_position_embeddings": weights.CONTEXT_TOKENS,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e6,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": vocabulary.BEGIN,
        "eos_token_id": vocabulary.END,
        "attention_bias": False,
        "mlp_bias": False,
        "dtype": dtype,
        "torch_dtype": dtype,
    }


def _tokenizer(model: Weights) -> dict[str, Any]:
    added = [
        {
            "id": number,
            "content": text,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": number not in (vocabulary.CALL, vocabulary.CALL_END),
        }
        for number, text in enumerate(vocabulary.SPECIAL)
    ]
    bpe = {
        "type": "BPE",
        "dropout": None,
        "unk_token": "<unk>",
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": True,
        "ignore_merges": False,
        "vocab": {token.text: number for number, token in enumerate(model.words.tokens)},
        "merges": [f"{left} {right}" for left, right in model.words.merges],
    }
    spaces = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [spaces, {"type": "ByteFallback"}, {"type": "Fuse"}],
        },
        "model": bpe,
    }


def _json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
