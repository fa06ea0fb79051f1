"""Configurations of well-known models by name: enough for their graphs and costs, without weights.

Each is what the config.json of its repository on the Hugging Face Hub says, in that file's own
keys, so that one reader serves these and files. Keys that say nothing about sizes are left out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from causalsim.arguments import check_type
from causalsim.errors import CheckpointError
from causalsim.models.config import ModelConfig
from causalsim.models.formats.hf_config import CONFIG, WITHOUT_WEIGHTS, read_configuration, read_object


class Known(NamedTuple):
    """A repository, and the keys of its config.json."""

    source: str
    keys: Mapping[str, Any]


def _llama3(source: str, factor: float, **keys: Any) -> Known:
    stretched = {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    shared = {
        "model_type": "llama",
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "rope_scaling": stretched,
    }
    return Known(source, {**shared, **keys})


def _smollm2(source: str, rope_theta: float, **keys: Any) -> Known:
    shared = {
        "model_type": "llama",
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "rope_theta": rope_theta,
        "tie_word_embeddings": True,
    }
    return Known(source, {**shared, **keys})


def _gemma2(source: str, **keys: Any) -> Known:
    shared = {
        "model_type": "gemma2",
        "head_dim": 256,
        "vocab_size": 256000,
        "max_position_embeddings": 8192,
        "sliding_window": 4096,
        "query_pre_attn_scalar": 256,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    }
    return Known(source, {**shared, **keys})


def _pythia(source: str, **keys: Any) -> Known:
    shared = {"model_type": "gpt_neox", "max_position_embeddings": 2048, "rotary_pct": 0.25}
    return Known(source, {**shared, **keys})


def _sizes(layers: int, width: int, heads: int, d_ff: int) -> dict[str, int]:
    return {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads,
        "intermediate_size": d_ff,
    }


KNOWN: Mapping[str, Known] = MappingProxyType(
    {
        "llama-3.1-8b": _llama3("meta-llama/Llama-3.1-8B", 8.0, **_sizes(32, 4096, 32, 14336)),
        "llama-3.1-70b": _llama3("meta-llama/Llama-3.1-70B", 8.0, **_sizes(80, 8192, 64, 28672)),
        "llama-3.1-405b": _llama3("meta-llama/Llama-3.1-405B", 8.0, **_sizes(126, 16384, 128, 53248)),
        "llama-3.2-1b": _llama3(
            "meta-llama/Llama-3.2-1B", 32.0, **_sizes(16, 2048, 32, 8192), tie_word_embeddings=True
        ),
        "mistral-7b": Known(
            "mistralai/Mistral-7B-v0.1",
            {
                "model_type": "mistral",
                **_sizes(32, 4096, 32, 14336),
                "num_key_value_heads": 8,
                "vocab_size": 32000,
                "max_position_embeddings": 32768,
                "rms_norm_eps": 1e-5,
                "sliding_window": 4096,
            },
        ),
        "qwen2.5-7b": Known(
            "Qwen/Qwen2.5-7B",
            {
                "model_type": "qwen2",
                **_sizes(28, 3584, 28, 18944),
                "num_key_value_heads": 4,
                "vocab_size": 152064,
                "max_position_embeddings": 131072,
                "rope_theta": 1000000.0,
            },
        ),
        "qwen3-8b": Known(
            "Qwen/Qwen3-8B",
            {
                "model_type": "qwen3",
                **_sizes(36, 4096, 32, 12288),
                "num_key_value_heads": 8,
                "head_dim": 128,
                "vocab_size": 151936,
                "max_position_embeddings": 40960,
                "rope_theta": 1000000,
            },
        ),
        "gemma-2-2b": _gemma2("google/gemma-2-2b", **_sizes(26, 2304, 8, 9216), num_key_value_heads=4),
        "gemma-2-9b": _gemma2("google/gemma-2-9b", **_sizes(42, 3584, 16, 14336), num_key_value_heads=8),
        "gpt2": Known(
            "openai-community/gpt2",
            {
                "model_type": "gpt2",
                "n_layer": 12,
                "n_embd": 768,
                "n_head": 12,
                "n_positions": 1024,
                "vocab_size": 50257,
            },
        ),
        "pythia-160m": _pythia("EleutherAI/pythia-160m", **_sizes(12, 768, 12, 3072), vocab_size=50304),
        "pythia-6.9b": _pythia("EleutherAI/pythia-6.9b", **_sizes(32, 4096, 32, 16384), vocab_size=50432),
        "smollm2-135m": _smollm2(
            "HuggingFaceTB/SmolLM2-135M", 100000, **_sizes(30, 576, 9, 1536), num_key_value_heads=3
        ),
        "smollm2-1.7b": _smollm2(
            "HuggingFaceTB/SmolLM2-1.7B", 130000, **_sizes(24, 2048, 32, 8192), num_key_value_heads=32
        ),
    }
)


def known_config(name: str) -> ModelConfig:
    """The configuration of a well-known model.

    Args:
        name: A key of ``KNOWN``.

    Returns:
        The configuration.

    Raises:
        CheckpointError: The name is not known; it lists those that are.

    >>> config = known_config("llama-3.1-8b")
    >>> config.n_layers, config.n_heads, config.n_kv_heads, config.d_model
    (32, 32, 8, 4096)
    """
    if name not in KNOWN:
        raise CheckpointError(
            "a configuration has a known name, or is in a file",
            got=f"{name!r}, neither a known name nor an existing path",
            expected=", ".join(KNOWN),
            hint=f"Give one of these, or the path of a {CONFIG} or of its folder.",
        )
    return read_configuration(KNOWN[name].keys, WITHOUT_WEIGHTS)


def read_config(name_or_path: str | os.PathLike[str]) -> ModelConfig:
    """A configuration by its known name, or from a config.json or the folder that holds it.

    No weights are read. ``CheckpointError`` says which key is not understood, or lists the names.

    Args:
        name_or_path: A key of ``KNOWN``, a file or a folder.

    Returns:
        The configuration.

    >>> read_config("gpt2").positions
    'learned'
    """
    check_type("a configuration's name", name_or_path, (str, os.PathLike), "Give a known name or a path.")
    name = os.fspath(name_or_path)
    # os.path, unlike Path, has an answer for names that no file can have.
    if name in KNOWN or not os.path.exists(name):  # noqa: PTH110
        return known_config(name)
    path = Path(name)
    return read_configuration(read_object(path / CONFIG if path.is_dir() else path), WITHOUT_WEIGHTS)
