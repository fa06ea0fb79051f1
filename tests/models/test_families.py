"""Every family against transformers: values that it computed, kept in ``tests/golden``; no torch here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from causalsim.errors import CheckpointError
from causalsim.models import Checkpoint, ModelConfig, parameter_shapes, read_checkpoint
from causalsim.models.formats.hf_config import Limits, read_configuration
from causalsim.models.formats.hf_families import FAMILIES
from tests.models.textbook import forward

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = sorted(path.parent.name for path in GOLDEN.glob("*/config.json"))
BOUND = 1e-5


@cache
def _read(name: str) -> Checkpoint:
    return read_checkpoint(GOLDEN / name)


def _config(name: str) -> dict[str, Any]:
    return json.loads((GOLDEN / name / "config.json").read_text())


def _expected(name: str) -> dict[str, np.ndarray[Any, Any]]:
    return load_file(GOLDEN / name / "expected.safetensors")


def _assert_close(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    for name, value in theirs.items():
        error = np.abs(ours[name] - value).max() / max(1.0, np.abs(value).max())
        assert error <= BOUND, f"{name}: {error}"


# -- the right numbers ------------------------------------------------------------------------


def test_every_family_is_there() -> None:
    assert {_config(name)["model_type"] for name in NAMES} == set(FAMILIES)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_holds_the_model_that_transformers_ran(name: str) -> None:
    """The reader alone: its configuration and tensors, in a forward pass that shares no code with ours."""
    expected = _expected(name)
    config, params, tokenizer = _read(name)
    assert list(params) == list(parameter_shapes(config))
    assert tokenizer is None
    _assert_close(forward(config, params, expected.pop("ids")), expected)


def test_reading_imports_no_torch() -> None:
    code = (
        "import sys, causalsim.models.formats.checkpoint as c; c.read_checkpoint(sys.argv[1]);"
        "assert not {'torch', 'transformers', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(GOLDEN / "qwen2_multi_query")], check=True)


# -- keys -------------------------------------------------------------------------------------

ENOUGH = Limits(10**3, 10**6)


def _changed(name: str, **changes: Any) -> ModelConfig:
    return read_configuration({**_config(name), **changes}, ENOUGH)


def _without(name: str, *keys: str) -> dict[str, Any]:
    return {key: value for key, value in _config(name).items() if key not in keys}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("key", ["foo", "quantization_config", "num_experts", "Hidden_size", "auto_map", ""])
def test_a_key_that_is_not_understood_is_refused_by_name(name: str, key: str) -> None:
    with pytest.raises(CheckpointError, match=f"configuration key '{key}' is not understood"):
        _changed(name, **{key: 1})


@pytest.mark.parametrize("name", NAMES)
def test_every_key_of_transformers_is_checked(name: str) -> None:
    """No key of the files is read without a look at its value, but those that mean nothing."""
    from causalsim.models.formats.hf_families import SILENT

    for key in _config(name).keys() - SILENT:
        with pytest.raises(CheckpointError, match=f"configuration key '{key}'"):
            _changed(name, **{key: ["no such value"]})


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("llama_grouped", {"model_type": "mamba"}, "'model_type' names a supported family.*'mamba'.*gemma2"),
        ("llama_grouped", {"model_type": ["llama"]}, "'model_type'"),
        ("llama_grouped", {"hidden_act": "relu"}, "'hidden_act' names a supported activation"),
        ("llama_grouped", {"pretraining_tp": 2}, "'pretraining_tp' has a supported value: got 2, expected 1"),
        ("llama_grouped", {"hidden_size": 0}, "'hidden_size' is a size"),
        ("llama_grouped", {"hidden_size": True}, "'hidden_size' is a size"),
        ("llama_grouped", {"hidden_size": 32.0}, "'hidden_size' is a size"),
        ("llama_grouped", {"hidden_size": None}, "'hidden_size' is a size"),
        ("llama_grouped", {"num_attention_heads": 3}, "n_kv_heads divides n_heads"),
        ("llama_grouped", {"num_hidden_layers": 2000}, "n_layers=2000.*at most 1000"),
        ("llama_grouped", {"head_dim": 2**30}, "d_head=1073741824"),
        ("llama_grouped", {"rms_norm_eps": -1e-5}, "'rms_norm_eps' is a positive"),
        ("llama_grouped", {"rms_norm_eps": 10**400}, "'rms_norm_eps' is a positive"),
        ("llama_grouped", {"attention_bias": 1}, "'attention_bias' is a switch"),
        ("llama_grouped", {"rope_parameters": 3}, "'rope_parameters' is an object"),
        ("llama_grouped", {"rope_parameters": {"rope_type": "yarn"}}, "'rope_type' is a supported one"),
        ("llama_grouped", {"rope_parameters": {"rope_type": {}}}, "'rope_type' is a supported one"),
        ("llama_grouped", {"rope_parameters": {"mrope_section": [1]}}, "'mrope_section' is not understood"),
        ("llama_grouped", {"rope_parameters": {"factor": 2.0}}, "'factor' is not understood"),
        ("llama_grouped", {"rope_theta": 5.0}, "'rope_theta' has one value"),
        ("llama_grouped", {"partial_rotary_factor": 0.5}, "'partial_rotary_factor' is 1"),
        ("llama_linear", {"rope_parameters": {"rope_type": "linear"}}, "'factor' is there"),
        ("llama_linear", {"rope_scaling": {"type": "dynamic", "factor": 2.5}}, "'rope_type' has one value"),
        ("gpt_neox", {"rotary_pct": 0.25}, "'partial_rotary_factor' has one value"),
        ("gpt_neox", {"rope_parameters": {"partial_rotary_factor": 1e99}}, "is a part of a head"),
        ("gpt_neox", {"rope_parameters": {"partial_rotary_factor": 0.4}}, "consistent.*pairs"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "'scale_attn_by_inverse_layer_idx' has a"),
        ("gpt2", {"activation_function": "quick_gelu"}, "'activation_function' names"),
        ("mistral_grouped", {"sliding_window": 0}, "'sliding_window' is a size"),
        ("qwen2_grouped", {"layer_types": ["full_attention"]}, "'layer_types' is one a layer"),
        ("qwen2_grouped", {"layer_types": ["linear_attention"] * 2}, "'layer_types' is one a layer"),
        ("qwen2_grouped", {"sliding_window": None}, "'sliding_window' is there where layers slide"),
        ("qwen2_grouped", {"use_sliding_window": False}, "'sliding_window' is there where layers slide"),
        ("qwen2_grouped", {"max_window_layers": -1}, "'max_window_layers' counts layers"),
        ("gemma2_grouped", {"use_bidirectional_attention": True}, "'use_bidirectional_attention' has a"),
        ("gemma2_grouped", {"query_pre_attn_scalar": 0}, "'query_pre_attn_scalar' is a positive"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)  # fmt: skip
def test_a_value_that_is_not_supported_is_refused_by_name(
    name: str, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(CheckpointError, match=words):
        _changed(name, **changes)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("gpt2", "n_embd"), ("gpt2", "n_positions"), ("llama_grouped", "vocab_size"),
        ("mistral_grouped", "num_key_value_heads"), ("mistral_grouped", "sliding_window"),
        ("qwen3_grouped", "head_dim"), ("gemma2_grouped", "attn_logit_softcapping"),
    ],
)  # fmt: skip
def test_a_missing_key_is_named(name: str, key: str) -> None:
    with pytest.raises(CheckpointError, match=f"'{key}' is there: got none"):
        read_configuration(_without(name, key), ENOUGH)


@pytest.mark.parametrize(
    ("name", "old"),
    [
        ("llama_grouped", {"rope_theta": 10000.0, "rope_scaling": None}),
        ("llama_grouped", {}),
        ("llama_linear", {"rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 2.5}}),
        ("gpt_neox", {"rotary_emb_base": 10000, "rotary_pct": 0.5}),
        (
            "llama_llama3",
            {
                "rope_theta": 100.0,
                "rope_scaling": {
                    "rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0,
                    "high_freq_factor": 3.0, "original_max_position_embeddings": 24,
                },
            },
        ),
    ],
)  # fmt: skip
def test_rotary_keys_of_before_transformers_5(name: str, old: dict[str, Any]) -> None:
    given = {**_without(name, "rope_parameters"), **old}
    assert read_configuration(given, ENOUGH) == _read(name).config


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("qwen2_grouped", ["layer_types"]),
        ("gemma2_grouped", ["layer_types"]),
        ("llama_multi_query", ["attention_bias", "mlp_bias", "pretraining_tp", "head_dim", "hidden_act"]),
        ("gpt2", ["activation_function", "layer_norm_epsilon", "tie_word_embeddings", "scale_attn_weights"]),
        ("gpt_neox", ["attention_bias", "hidden_act", "use_parallel_residual", "tie_word_embeddings"]),
        ("gemma2_grouped", ["tie_word_embeddings", "hidden_activation", "attention_bias"]),
    ],
)
def test_keys_that_are_left_out_mean_what_transformers_takes(name: str, keys: list[str]) -> None:
    assert read_configuration(_without(name, *keys), ENOUGH) == _read(name).config


def test_gpt_neox_turns_a_quarter_of_a_head_unless_told() -> None:
    given = {**_without("gpt_neox", "rope_parameters"), "num_attention_heads": 2}
    assert read_configuration(given, ENOUGH).d_rotary == 4


def test_windows_from_a_layer_upwards() -> None:
    given = {**_without("qwen2_grouped", "layer_types"), "num_hidden_layers": 4, "max_window_layers": 3}
    assert read_configuration(given, ENOUGH).windows == (None, None, None, 4)
    assert read_configuration({**given, "max_window_layers": 28}, ENOUGH).windows is None
    assert read_configuration({**given, "use_sliding_window": False}, ENOUGH).windows is None


def test_published_configurations_are_understood() -> None:
    """The keys of real files, at sizes for which limits are no matter."""
    smollm2 = {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 576,
        "initializer_range": 0.041666666666666664, "intermediate_size": 1536, "is_llama_config": True,
        "max_position_embeddings": 8192, "model_type": "llama", "num_attention_heads": 9,
        "num_hidden_layers": 30, "num_key_value_heads": 3, "pad_token_id": 2, "pretraining_tp": 1,
        "rms_norm_eps": 1e-05, "rope_interleaved": False, "rope_scaling": None, "rope_theta": 100000,
        "tie_word_embeddings": True, "torch_dtype": "bfloat16", "transformers_version": "4.42.3",
        "transformers.js_config": {"kv_cache_dtype": {}}, "use_cache": True, "vocab_size": 49152,
    }  # fmt: skip
    config = read_configuration(smollm2, Limits(300, 10**9))
    assert (config.n_layers, config.d_head, config.n_kv_heads, config.rope_base) == (30, 64, 3, 1e5)
    assert config.tied_embeddings


# -- tensors ----------------------------------------------------------------------------------


def test_gains_of_gemma_are_one_more_than_in_the_file() -> None:
    stored = load_file(GOLDEN / "gemma2_multi_head" / "model.safetensors")["model.norm.weight"]
    ours = _read("gemma2_multi_head").params["final_norm"]
    np.testing.assert_array_equal(ours, np.float32(1) + stored)


def test_old_buffers_and_a_second_copy_of_a_tied_matrix_are_no_parameters(tmp_path: Path) -> None:
    for name, more in {
        "gpt2": {"transformer.h.0.attn.bias": np.ones((4, 4), bool), "transformer.h.1.attn.masked_bias": 0},
        "gpt_neox": {"gpt_neox.layers.1.attention.rotary_emb.inv_freq": np.ones(2, np.float32)},
        "gemma2_multi_head": {"lm_head.weight": "model.embed_tokens.weight"},
    }.items():  # fmt: skip
        folder = _copy(name, tmp_path, more)
        config, params, _ = read_checkpoint(folder)
        assert config == _read(name).config
        assert all(np.array_equal(params[key], _read(name).params[key]) for key in params)


def _copy(name: str, into: Path, more: Mapping[str, Any]) -> Path:
    from safetensors.numpy import save_file

    shutil.copytree(GOLDEN / name, into / name)
    tensors = load_file(GOLDEN / name / "model.safetensors")
    for key, value in more.items():
        tensors[key] = tensors[value].copy() if isinstance(value, str) else np.asarray(value)
    save_file(tensors, into / name / "model.safetensors")
    return into / name


def test_tied_matrices_that_differ_are_refused(tmp_path: Path) -> None:
    folder = _copy("gemma2_multi_head", tmp_path, {"lm_head.weight": np.zeros((61, 32), np.float32)})
    with pytest.raises(CheckpointError, match="tied embeddings are one matrix") as caught:
        read_checkpoint(folder)
    assert caught.value.tensor == "lm_head.weight"


def test_a_model_that_was_saved_without_its_head(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    shutil.copytree(GOLDEN / "gpt2", tmp_path / "gpt2")
    tensors = load_file(GOLDEN / "gpt2" / "model.safetensors")
    save_file(
        {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()},
        tmp_path / "gpt2" / "model.safetensors",
    )
    params = read_checkpoint(tmp_path / "gpt2").params
    assert all(np.array_equal(params[key], value) for key, value in _read("gpt2").params.items())
