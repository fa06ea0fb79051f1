"""Metadata of a GGUF file read as a configuration, and the names of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from causalsim.arguments import as_int
from causalsim.errors import InputError
from causalsim.models.checks import positive_int
from causalsim.models.config import ModelConfig
from causalsim.models.formats.gguf_header import FETCH_ANEW, Header, Metadata, refused
from causalsim.models.parameters import parameter_shapes

FACTORS = "rope_freqs.weight"

# What each key, below the architecture's name, is in a configuration.
_FIELDS = {
    "block_count": "n_layers",
    "embedding_length": "d_model",
    "feed_forward_length": "d_ff",
    "context_length": "max_length",
    "vocab_size": "vocab_size",
    "attention.head_count": "n_heads",
    "attention.head_count_kv": "n_kv_heads",
    "attention.key_length": "d_head",
    "attention.layer_norm_rms_epsilon": "norm_epsilon",
    "rope.dimension_count": "d_rotary",
    "rope.freq_base": "rope_base",
}
_REQUIRED = (
    "block_count", "embedding_length", "feed_forward_length", "context_length", "attention.head_count",
    "attention.layer_norm_rms_epsilon",
)  # fmt: skip
# Keys that may only say what is so in any case.
_ONLY = {"attention.causal": True, "rope.scaling.type": "none", "expert_count": 0, "expert_used_count": 0}
_GEMMA_FIELDS = {"attn_logit_softcapping": "attention_cap", "final_logit_softcapping": "logit_cap"}
_WINDOW, _GEMMA_WINDOW = "attention.sliding_window", 4096
_VALUES = "attention.value_length"
# Gemma 2's 27B, known by its layers, scales scores by the width for each head and not by the head's own.
_GEMMA_27B_LAYERS = 46

_NAMES = {"embed": "token_embd.weight", "final_norm": "output_norm.weight", "unembed": "output.weight"}
_LAYER_NAMES = {
    "attn.norm": "attn_norm", "attn.q": "attn_q", "attn.k": "attn_k", "attn.v": "attn_v",
    "attn.q_norm": "attn_q_norm", "attn.k_norm": "attn_k_norm", "attn.o": "attn_output",
    "attn.post_norm": "post_attention_norm", "mlp.norm": "ffn_norm", "mlp.gate": "ffn_gate",
    "mlp.up": "ffn_up", "mlp.down": "ffn_down", "mlp.post_norm": "post_ffw_norm",
}  # fmt: skip


def config_of(path: Path, header: Header) -> ModelConfig:
    """The configuration that the metadata give; ``CheckpointError`` names a key that is not understood."""
    said = _hyperparameters(path, header.metadata)
    _check_layers(path, said["block_count"], len(header.tensors))
    fields = {_FIELDS[key]: _plain(value) for key, value in said.items() if key in _FIELDS}
    fields.setdefault("vocab_size", _vocabulary(header))
    try:
        family = _FAMILIES[header.metadata["general.architecture"]](said)
        config = ModelConfig(**fields, **family, **_switches(header))
        _check_values(said, config)
    except InputError as error:
        raise refused(path, "the metadata are a configuration", error, "a model's sizes") from error
    return config


def _hyperparameters(path: Path, metadata: Metadata) -> dict[str, Any]:
    """The keys of the architecture, without its name."""
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str) or architecture not in _FAMILIES:
        rule, hint = (
            "general.architecture is one that is understood",
            "Take a model of one of these families.",
        )
        raise refused(path, rule, repr(architecture), " or ".join(_FAMILIES), hint=hint)
    start = f"{architecture}."
    said = {key.removeprefix(start): value for key, value in metadata.items() if key.startswith(start)}
    for key, value in said.items():
        _check_understood(path, architecture, key, value)
    for key in _REQUIRED:
        if key not in said:
            raise refused(path, "the metadata give every size", f"no {start}{key}")
    return said


def _check_understood(path: Path, architecture: str, key: str, value: object) -> None:
    gemma = key in (*_GEMMA_FIELDS, _WINDOW) and architecture == "gemma2"
    only = key in _ONLY and type(value) is type(_ONLY[key]) and value == _ONLY[key]
    if not (only or gemma or key in _FIELDS or key == _VALUES):
        expected = f"{_ONLY[key]!r}" if key in _ONLY else "no such key"
        hint = "This model computes something that causalsim does not."
        got = f"{architecture}.{key} = {value!r}"
        raise refused(path, "every hyperparameter is understood", got, expected, hint=hint)


def _check_layers(path: Path, n_layers: object, n_tensors: int) -> None:
    """Refuse a number of layers beyond all tensors, before names are made for each of them."""
    whole = as_int(n_layers)
    if whole is None or not 1 <= whole <= n_tensors:
        got = f"block_count {n_layers!r} with {n_tensors:,} tensors"
        raise refused(path, "every layer has tensors", got, f"1 to {n_tensors:,} layers")


def _plain(value: Any) -> Any:
    """A number in Python's own type; a float as the shortest decimal that the file's 32 bits can mean."""
    if isinstance(value, float):
        with np.errstate(over="ignore"):
            short = np.float32(value)
        return float(str(short)) if short == value else value
    return value.tolist() if isinstance(value, np.ndarray) else value


def _vocabulary(header: Header) -> int:
    entry = header.tensors.get(_NAMES["embed"])
    # Without the tensor any number will do: that it is missing is said where tensors are checked.
    return entry.shape[0] if entry else 1


def _switches(header: Header) -> dict[str, Any]:
    """Switches that the presence of tensors tells; that all layers agree is checked with their shapes."""
    there = header.tensors
    return {
        "tied_embeddings": _NAMES["unembed"] not in there,
        "qkv_biases": "blk.0.attn_q.bias" in there,
        "out_biases": "blk.0.attn_output.bias" in there,
        "mlp_biases": "blk.0.ffn_up.bias" in there,
    }


def _check_values(said: Mapping[str, Any], config: ModelConfig) -> None:
    width = _plain(said.get(_VALUES, config.d_head))
    if width != config.d_head:
        got = f"{_VALUES}={width!r}"
        raise InputError("values are as wide as keys", got=got, expected=config.d_head, hint=FETCH_ANEW)


def _gemma2(said: Mapping[str, Any]) -> dict[str, Any]:
    n_layers, window = said["block_count"], _plain(said.get(_WINDOW, _GEMMA_WINDOW))
    d_model = positive_int("embedding_length", said["embedding_length"])
    n_heads = positive_int("attention.head_count", said["attention.head_count"])
    caps = {field: _plain(said[key]) for key, field in _GEMMA_FIELDS.items() if key in said}
    return {
        "activation": "gelu_tanh",
        "post_norms": True,
        "embedding_scale": d_model**0.5,
        "attention_scale": (d_model / n_heads) ** -0.5 if n_layers == _GEMMA_27B_LAYERS else None,
        "windows": tuple(None if layer % 2 else window for layer in range(n_layers)),
        **caps,
    }


_FAMILIES: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "llama": lambda said: {},
    "qwen2": lambda said: {},
    "qwen3": lambda said: {"qk_norms": True},
    "gemma2": _gemma2,
}


def stored_as_pairs(metadata: Metadata) -> bool:
    """True if Q and K are stored for rotary pairs (2i, 2i + 1), as llama.cpp computes for Llama alone."""
    return metadata["general.architecture"] == "llama"


def names_in_file(config: ModelConfig) -> dict[str, str]:
    """The file's name of every parameter, by the canonical one."""
    return {name: _name_in_file(name) for name in parameter_shapes(config)}


def _name_in_file(name: str) -> str:
    if name in _NAMES:
        return _NAMES[name]
    _, layer, part = name.split(".", 2)
    matrix = part.removesuffix("_bias")
    return f"blk.{layer}.{_LAYER_NAMES[matrix]}.{'weight' if matrix == part else 'bias'}"
