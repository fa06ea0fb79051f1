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


# The sizes as the families of Llama name them, in the order of the table below.
_SIZES = (
    "num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads", "intermediate_size",
    "vocab_size", "max_position_embeddings",
)  # fmt: skip


def _known(source: str, family: str, *sizes: int | None, **keys: Any) -> Known:
    """A model whose family names its sizes as Llama does; ``None`` for one that it does not have."""
    given = {key: size for key, size in zip(_SIZES, sizes, strict=True) if size is not None}
    return Known(source, {"model_type": family, **given, **keys})


def _llama3(factor: float, **keys: Any) -> dict[str, Any]:
    turned = {"factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaling = {"rope_type": "llama3", **turned, "original_max_position_embeddings": 8192}
    return {"rms_norm_eps": 1e-5, "rope_theta": 500000.0, "rope_scaling": scaling, **keys}


def _smollm2(rope_theta: float) -> dict[str, Any]:
    return {"rms_norm_eps": 1e-5, "rope_theta": rope_theta, "tie_word_embeddings": True}


_GEMMA2 = {
    "head_dim": 256, "sliding_window": 4096, "query_pre_attn_scalar": 256, "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
}  # fmt: skip
_GPT2 = {
    "model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12, "n_positions": 1024,
    "vocab_size": 50257,
}  # fmt: skip

# By name: repository, family, layers, width, heads of queries and of K/V, width of the MLP, vocabulary,
# context, and what else the file says.
KNOWN: Mapping[str, Known] = MappingProxyType({
    "llama-3.1-8b": _known(
        "meta-llama/Llama-3.1-8B", "llama", 32, 4096, 32, 8, 14336, 128256, 131072, **_llama3(8.0)
    ),
    "llama-3.1-70b": _known(
        "meta-llama/Llama-3.1-70B", "llama", 80, 8192, 64, 8, 28672, 128256, 131072, **_llama3(8.0)
    ),
    "llama-3.1-405b": _known(
        "meta-llama/Llama-3.1-405B", "llama", 126, 16384, 128, 8, 53248, 128256, 131072, **_llama3(8.0)
    ),
    "llama-3.2-1b": _known(
        "meta-llama/Llama-3.2-1B", "llama", 16, 2048, 32, 8, 8192, 128256, 131072,
        **_llama3(32.0, tie_word_embeddings=True),
    ),
    "mistral-7b": _known(
        "mistralai/Mistral-7B-v0.1", "mistral", 32, 4096, 32, 8, 14336, 32000, 32768,
        rms_norm_eps=1e-5, sliding_window=4096,
    ),
    "qwen2.5-7b": _known(
        "Qwen/Qwen2.5-7B", "qwen2", 28, 3584, 28, 4, 18944, 152064, 131072, rope_theta=1000000.0
    ),
    "qwen3-8b": _known(
        "Qwen/Qwen3-8B", "qwen3", 36, 4096, 32, 8, 12288, 151936, 40960, head_dim=128, rope_theta=1000000
    ),
    "gemma-2-2b": _known("google/gemma-2-2b", "gemma2", 26, 2304, 8, 4, 9216, 256000, 8192, **_GEMMA2),
    "gemma-2-9b": _known("google/gemma-2-9b", "gemma2", 42, 3584, 16, 8, 14336, 256000, 8192, **_GEMMA2),
    "gpt2": Known("openai-community/gpt2", _GPT2),
    "pythia-160m": _known(
        "EleutherAI/pythia-160m", "gpt_neox", 12, 768, 12, None, 3072, 50304, 2048, rotary_pct=0.25
    ),
    "pythia-6.9b": _known(
        "EleutherAI/pythia-6.9b", "gpt_neox", 32, 4096, 32, None, 16384, 50432, 2048, rotary_pct=0.25
    ),
    "smollm2-135m": _known(
        "HuggingFaceTB/SmolLM2-135M", "llama", 30, 576, 9, 3, 1536, 49152, 8192, **_smollm2(100000)
    ),
    "smollm2-1.7b": _known(
        "HuggingFaceTB/SmolLM2-1.7B", "llama", 24, 2048, 32, 32, 8192, 49152, 8192, **_smollm2(130000)
    ),
})  # fmt: skip


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
