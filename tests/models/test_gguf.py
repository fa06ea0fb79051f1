"""GGUF files against what they were made from; oracles: gguf's writer, plain dequantisation by hand."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from causalsim.models import ModelConfig, parameter_shapes, random_parameters, read_checkpoint
from causalsim.models.formats.gguf_model import read_gguf
from tests.models.gguf_made import LLAMA, as_blocks, llama, metadata, tensors, write

Array = np.ndarray[Any, Any]


def _assert_same(found: Any, expected: Any) -> None:
    assert list(found) == list(expected)
    for name in expected:
        assert found[name].dtype == np.float32 and not found[name].flags.writeable
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


# -- architectures ----------------------------------------------------------------------------

FAMILIES = {
    "llama": LLAMA,
    "llama untied": dataclasses.replace(LLAMA, tied_embeddings=False),
    "llama biased": dataclasses.replace(LLAMA, qkv_biases=True, out_biases=True, mlp_biases=True),
    "llama multi-query": dataclasses.replace(LLAMA, n_kv_heads=1),
    "llama multi-head": dataclasses.replace(LLAMA, n_kv_heads=4),
    "llama half turned": dataclasses.replace(LLAMA, d_rotary=4),
    "qwen2": dataclasses.replace(LLAMA, qkv_biases=True),
    "qwen3": dataclasses.replace(LLAMA, qk_norms=True, d_head=16, attention_scale=0.25, d_rotary=16),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_model_that_was_written_comes_back(name: str, tmp_path: Path) -> None:
    config, architecture = FAMILIES[name], name.split()[0]
    params = random_parameters(config, 1)
    said = metadata(config, architecture)
    said[f"{architecture}.rope.dimension_count"] = config.d_rotary
    if config.d_head != config.d_model // config.n_heads:
        said |= {f"{architecture}.attention.{each}_length": config.d_head for each in ("key", "value")}
    path = write(tmp_path / "a.gguf", said, tensors(config, params, architecture), architecture)
    found, theirs, tokenizer = read_gguf(path)
    assert found == config
    assert tokenizer is None
    _assert_same(theirs, params)


@pytest.mark.parametrize("n_layers", [2, 46])
def test_gemma2(n_layers: int, tmp_path: Path) -> None:
    config = dataclasses.replace(
        LLAMA, n_layers=n_layers, d_head=16, d_rotary=16, post_norms=True, activation="gelu_tanh",
        embedding_scale=32**0.5, attention_scale=0.25 if n_layers == 2 else 8**-0.5, attention_cap=50.0,
        logit_cap=30.0, windows=(16, None) * (n_layers // 2),
    )  # fmt: skip
    params = random_parameters(config, 1)
    more = {
        "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "attention.sliding_window": 16,
        "attention.key_length": 16, "attention.value_length": 16,
    }  # fmt: skip
    said = metadata(config, "gemma2") | {f"gemma2.{key}": value for key, value in more.items()}
    found, theirs, _ = read_gguf(
        write(tmp_path / "a.gguf", said, tensors(config, params, "gemma2"), "gemma2")
    )
    assert found == config
    _assert_same(theirs, params)


def test_rotary_factors(tmp_path: Path) -> None:
    factors = np.array([1, 1.5, 4, 8], np.float32)
    made = tensors(LLAMA, random_parameters(LLAMA, 0)) | {"rope_freqs.weight": factors}
    found, _, _ = read_gguf(write(tmp_path / "a.gguf", metadata(LLAMA), made))
    assert found == dataclasses.replace(LLAMA, rope_factors=(1.0, 1.5, 4.0, 8.0))


def test_what_may_be_left_out(tmp_path: Path) -> None:
    config = dataclasses.replace(LLAMA, n_kv_heads=4, rope_base=10000.0)
    said = metadata(config)
    for key in ("attention.head_count_kv", "rope.freq_base", "vocab_size"):
        del said[f"llama.{key}"]
    path = write(tmp_path / "a.gguf", said, tensors(config, random_parameters(config, 0)))
    assert read_gguf(path)[0] == config


@pytest.mark.parametrize(
    "more",
    [
        {"llama.attention.causal": True, "llama.rope.scaling.type": "none", "llama.expert_count": 0},
        {"general.name": "a name", "general.tags": ["a", "b"], "general.quantization_version": 2},
        {"llama.rope.dimension_count": 8, "llama.attention.key_length": 8, "llama.attention.value_length": 8},
        {"general.alignment": 64},
    ],
    ids=lambda more: next(iter(more)),
)
def test_metadata_that_change_nothing(more: dict[str, Any], tmp_path: Path) -> None:
    _assert_same(read_gguf(llama(tmp_path / "b.gguf", **more))[1], random_parameters(LLAMA, 0))
    assert read_gguf(tmp_path / "b.gguf")[0] == LLAMA


# -- types of numbers -------------------------------------------------------------------------

WIDE = ModelConfig(
    n_layers=1, n_heads=2, d_model=256, d_ff=512, vocab_size=40, max_length=8, tied_embeddings=True
)
SIZES = {"Q8_0": (32, 34), "Q4_0": (32, 18), "Q4_1": (32, 20), "Q4_K": (256, 144), "Q6_K": (256, 210)}
SCALES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q4_K": [0, 2], "Q6_K": [208]}


def _half(block: Array, at: int) -> np.float32:
    return np.float32(block[at : at + 2].view(np.float16)[0])


def _nibbles(block: Array) -> Array:
    return np.concatenate([block & 15, block >> 4]).astype(np.float32)


def _plain_q4_k(block: Array) -> Array:
    """As ``dequantize_row_q4_K`` in ggml-quants.c, number by number."""
    packed, quants, numbers = block[4:16].astype(int), block[16:].astype(int), []
    for part in range(8):
        if part < 4:
            scale, least = packed[part] & 63, packed[part + 4] & 63
        else:
            scale = (packed[part + 4] & 15) | (packed[part - 4] >> 6 << 4)
            least = (packed[part + 4] >> 4) | (packed[part] >> 6 << 4)
        for quant in quants[part // 2 * 32 : part // 2 * 32 + 32]:
            four = quant >> 4 if part % 2 else quant & 15
            numbers.append(_half(block, 0) * np.float32(scale * four) - _half(block, 2) * np.float32(least))
    return np.array(numbers)


def _plain_q6_k(block: Array) -> Array:
    """As ``dequantize_row_q6_K`` in ggml-quants.c, number by number."""
    scales, numbers = block[192:208].view(np.int8), np.zeros(256, np.float32)
    for half in range(2):
        low, high = block[64 * half :].astype(int), block[128 + 32 * half :].astype(int)
        for at in range(32):
            for part in range(4):
                four = low[at + 32 * (part % 2)] >> 4 * (part // 2) & 15
                six = (four | (high[at] >> 2 * part & 3) << 4) - 32
                scale = int(scales[8 * half + 2 * part + at // 16])
                numbers[128 * half + 32 * part + at] = _half(block, 208) * np.float32(scale * six)
    return numbers


PLAIN = {
    "Q8_0": lambda block: _half(block, 0) * block[2:].view(np.int8).astype(np.float32),
    "Q4_0": lambda block: _half(block, 0) * (_nibbles(block[2:]) - 8),
    "Q4_1": lambda block: _half(block, 0) * _nibbles(block[4:]) + _half(block, 2),
    "Q4_K": _plain_q4_k,
    "Q6_K": _plain_q6_k,
}


def _random_blocks(kind: str, rows: int, columns: int, seed: int) -> Array:
    """Any bytes are blocks, as long as their scales are finite."""
    rng, (numbers, size) = np.random.default_rng(seed), SIZES[kind]
    blocks = rng.integers(0, 256, (rows * columns // numbers, size), dtype=np.uint8)
    for at in SCALES[kind]:
        blocks[:, at : at + 2] = rng.normal(size=(len(blocks), 1)).astype(np.float16).view(np.uint8)
    return blocks.reshape(rows, -1)


@pytest.mark.parametrize("kind", SIZES)
def test_random_blocks_are_the_numbers_of_a_plain_reading(kind: str, tmp_path: Path) -> None:
    made: dict[str, Any] = dict(tensors(WIDE, random_parameters(WIDE, 0)))
    expected = {}
    for name, ours in {"ffn_up": "mlp.up", "ffn_down": "mlp.down", "attn_v": "attn.v"}.items():
        rows, columns = made[f"blk.0.{name}.weight"].shape
        blocks = _random_blocks(kind, rows, columns, len(name))
        made[f"blk.0.{name}.weight"] = blocks, kind
        numbers = [PLAIN[kind](block) for block in blocks.reshape(-1, SIZES[kind][1])]
        expected[f"layers.0.{ours}"] = np.concatenate(numbers).reshape(rows, columns).T
    _, params, _ = read_gguf(write(tmp_path / "a.gguf", metadata(WIDE), made))
    for name, numbers in expected.items():
        np.testing.assert_allclose(params[name], numbers, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "error"),
    [("F32", 0), ("F16", 2**-10), ("BF16", 2**-8), ("Q8_0", 0.02), ("Q4_1", 0.3), ("Q4_0", 0.4)],
)
def test_quantised_matrices_are_near_what_they_were(kind: str, error: float, tmp_path: Path) -> None:
    """All matrices, the permuted ones and the embedding too; a wrong layout is off by the weights' size."""
    params = random_parameters(WIDE, 3)
    made = {
        name: as_blocks(tensor, kind) if tensor.ndim == 2 else tensor
        for name, tensor in tensors(WIDE, params).items()
    }
    _, found, _ = read_gguf(write(tmp_path / "a.gguf", metadata(WIDE), made))
    for name, shape in parameter_shapes(WIDE).items():
        bound = error * np.abs(params[name]).max() if len(shape) == 2 else 0
        assert np.abs(found[name] - params[name]).max() <= bound


# -- names and imports ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.gguf", "model.bin", "model"])
def test_a_file_is_known_by_its_ending_or_its_first_bytes(name: str, tmp_path: Path) -> None:
    path = llama(tmp_path / name)
    for given in (path, str(path)):
        assert read_checkpoint(given).config == LLAMA


def test_reading_needs_no_jax(tmp_path: Path) -> None:
    code = (
        "import sys; from causalsim.models import read_checkpoint; read_checkpoint(sys.argv[1]);"
        "print([name for name in ('jax', 'torch') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(llama(tmp_path / "a.gguf"))]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"
