"""GGUF files made from models in our layout, by the package gguf and the conversion that llama.cpp does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize

from causalsim.models import ModelConfig, random_parameters
from causalsim.models.formats.gguf_tokenizer import byte_symbols

Array = np.ndarray[Any, Any]

LLAMA = ModelConfig(
    n_layers=2, n_heads=4, n_kv_heads=2, d_model=32, d_ff=40, vocab_size=264, max_length=64, rope_base=5e5,
    norm_epsilon=1e-5, tied_embeddings=True,
)  # fmt: skip
MERGES = ["t h", "th e", "Ġ the", "i n", "Ġ Ġ"]
SPECIAL = ["<|start|>", "<|end|>", "ünï code"]
TOKENS = [*SPECIAL, *byte_symbols(), *(merge.replace(" ", "") for merge in MERGES)]

_LAYER_NAMES = {
    "attn.norm": "attn_norm.weight", "attn.q_norm": "attn_q_norm.weight", "attn.k_norm": "attn_k_norm.weight",
    "attn.post_norm": "post_attention_norm.weight", "mlp.norm": "ffn_norm.weight",
    "mlp.post_norm": "post_ffw_norm.weight",
    **{f"attn.{each}": f"attn_{each}.weight" for each in "qkv"}, "attn.o": "attn_output.weight",
    **{f"attn.{each}_bias": f"attn_{each}.bias" for each in "qkv"}, "attn.o_bias": "attn_output.bias",
    **{f"mlp.{each}": f"ffn_{each}.weight" for each in ("gate", "up", "down")},
    **{f"mlp.{each}_bias": f"ffn_{each}.bias" for each in ("gate", "up", "down")},
}  # fmt: skip


def metadata(config: ModelConfig, architecture: str = "llama") -> dict[str, Any]:
    """Metadata of a model as a converter writes it, by whole keys."""
    said = {
        "block_count": config.n_layers,
        "context_length": config.max_length,
        "embedding_length": config.d_model,
        "feed_forward_length": config.d_ff,
        "attention.head_count": config.n_heads,
        "attention.head_count_kv": config.n_kv_heads,
        "attention.layer_norm_rms_epsilon": config.norm_epsilon,
        "rope.freq_base": config.rope_base,
        "vocab_size": config.vocab_size,
    }
    return {f"{architecture}.{key}": value for key, value in said.items()}


def tokenizer(pre: str | None = "smollm", **changes: Any) -> dict[str, Any]:
    """Metadata of a byte-level tokenizer of 264 tokens."""
    said = {
        "model": "gpt2",
        "pre": pre,
        "tokens": TOKENS,
        "token_type": [3, 3, 4] + [1] * (len(TOKENS) - len(SPECIAL)),
        "merges": MERGES,
        "bos_token_id": 0,
        "eos_token_id": 1,
        **changes,
    }
    return {f"tokenizer.ggml.{key}": value for key, value in said.items() if value is not None}


def tensors(
    config: ModelConfig, params: Mapping[str, Array], architecture: str = "llama"
) -> dict[str, Array]:
    """The tensors of a model under the file's names and in its layout."""
    names = {"embed": "token_embd.weight", "final_norm": "output_norm.weight", "unembed": "output.weight"}
    made = {}
    for name, tensor in params.items():
        turned = tensor.T if tensor.ndim == 2 and name != "embed" else tensor
        if architecture == "llama" and name.endswith((".q", ".k", ".q_bias", ".k_bias")):
            heads = turned.reshape(-1, config.d_head, *turned.shape[1:])
            parts = [_permuted(heads[:, : config.d_rotary]), heads[:, config.d_rotary :]]
            turned = np.concatenate(parts, axis=1).reshape(turned.shape)
        _, layer, part = name.split(".", 2) if name.startswith("layers.") else ("", "", "")
        made[names.get(name) or f"blk.{layer}.{_LAYER_NAMES[part]}"] = np.ascontiguousarray(turned)
    return made


def _permuted(heads: Array) -> Array:
    """As in llama.cpp's convert_hf_to_gguf.py, ``LlamaModel.permute``."""
    halves = heads.reshape(len(heads), 2, heads.shape[1] // 2, *heads.shape[2:])
    return halves.swapaxes(1, 2).reshape(heads.shape)


def write(path: Path, said: Mapping[str, Any], made: Mapping[str, Any], architecture: str = "llama") -> Path:
    """A file with this metadata and these tensors: float32, or (bytes of blocks, name of their type)."""
    writer = GGUFWriter(path, architecture)
    for key, value in said.items():
        _add(writer, key, value)
    for name, tensor in made.items():
        array, kind = tensor if isinstance(tensor, tuple) else (tensor, None)
        writer.add_tensor(name, array, raw_dtype=None if kind is None else GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
    add.get(type(value), writer.add_array)(key, value)


def as_blocks(tensor: Array, kind: str) -> tuple[Array, str]:
    """A tensor as gguf quantises it."""
    return quantize(np.ascontiguousarray(tensor, np.float32), GGMLQuantizationType[kind]), kind


def llama(path: Path, config: ModelConfig = LLAMA, **said: Any) -> Path:
    """A whole file: a random model, and the byte-level tokenizer."""
    made = tensors(config, random_parameters(config, 0))
    return write(path, {**metadata(config), **tokenizer(), **said}, made)
