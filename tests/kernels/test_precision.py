"""Two precisions: rounding is that of the standard, and kernels on bfloat16 have float32's own bits."""

from __future__ import annotations

from functools import lru_cache

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from causalsim.kernels import CERTIFIED, PAGE, Pages
from causalsim.kernels.k_blocks import UPCAST, block_width, k_blocked, linear
from causalsim.kernels.precision import downcast, from_storage, to_storage, upcast
from causalsim.models import ModelConfig, check_parameters, random_parameters
from tests.kernels.batches import COUNTS, MOST, bits, certified, logits_of, offenders

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
WIDE = ModelConfig(
    n_layers=1, n_heads=12, n_kv_heads=4, d_model=768, d_ff=2048, vocab_size=1000, max_length=64
)
BIASED = ModelConfig(
    n_layers=1, n_heads=4, d_model=64, d_ff=100, vocab_size=60, max_length=64, norm="layer", gated=False,
    positions="learned", embedding_scale=3.0, qkv_biases=True, out_biases=True, mlp_biases=True,
)  # fmt: skip
ROWS = 64

upcast_ = certified(upcast)
downcast_ = certified(lambda x: downcast(x, np.dtype(np.uint16)))
linear_ = certified(linear, static_argnums=2)


def _normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def _cells(numbers: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return to_storage(numbers.astype(BFLOAT16))


# -- there and back --------------------------------------------------------------------------------


def test_every_bfloat16_is_upcast_exactly():
    patterns = np.arange(2**16, dtype=np.uint16)
    assert np.array_equal(bits(upcast_(patterns)).view(np.uint32), patterns.astype(np.uint32) << 16)


@settings(max_examples=60)
@given(npst.arrays(np.uint32, st.sampled_from([1, 7, 16, 33])))
def test_rounding_is_to_the_nearest_and_ties_to_even(patterns):
    """Against ml_dtypes, over any bits: subnormal numbers, infinities and what overflows included."""
    numbers = patterns.view(np.float32)
    found = from_storage(np.asarray(downcast_(numbers)))
    nan = np.isnan(numbers)
    assert np.isnan(found[nan]).all()
    assert np.array_equal(to_storage(found[~nan]), _cells(numbers[~nan]))


def test_a_tie_goes_to_the_even_neighbour():
    numbers = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF], np.uint32).view(np.float32)
    assert np.asarray(downcast_(numbers)).tolist() == [0x3F80, 0x3F82, 0x3F81, 0x3F80]


# -- products --------------------------------------------------------------------------------------


@given(st.integers(1, 6000), st.integers(1, 60_000))
def test_blocks_of_what_is_upcast_are_whole_vectors_and_fit_into_a_cache(length, columns):
    width = block_width(length, columns, True)
    assert width % 16 == 0
    assert width <= 16 or length * (width - 16) <= UPCAST
    assert -(-columns // width) * width < columns + max(width, 16)


@pytest.mark.parametrize(("width", "out"), [(64, 73), (768, 129), (768, 3072), (341, 96)])
def test_a_product_has_the_bits_of_the_same_numbers_in_float32(width, out):
    x, w = _normal(0, MOST, width), _normal(1, width, out).astype(BFLOAT16)
    k_blocks, plain = k_blocked(w), k_blocked(w.astype(np.float32))
    assert k_blocks.dtype == np.uint16 and plain.dtype == np.float32
    for count in (1, 8, 33, MOST):
        assert np.array_equal(
            bits(linear_(x[:count], k_blocks, out)), bits(linear_(x[:count], plain, out))
        ), count
    assert offenders(lambda rows: linear_(rows, k_blocks, out), x, (1, 8, 64)) == []


@pytest.mark.slow
@pytest.mark.parametrize(("width", "out"), [(768, 3072), (2048, 2048), (768, 50_257), (2048, 11_264)])
def test_products_keep_the_batch_invariance_at_real_sizes(width, out):
    x, w = _normal(0, MOST, width), (_normal(1, width, out) / np.float32(width)).astype(BFLOAT16)
    k_blocks = k_blocked(w)
    counts = (*COUNTS, 24, 32, 48, 128, 192)
    assert offenders(lambda rows: linear_(rows, k_blocks, out), x, counts) == []
    plain = bits(linear_(x, k_blocked(w.astype(np.float32)), out))
    assert np.array_equal(bits(linear_(x, k_blocks, out)), plain)


def test_a_plain_product_with_bfloat16_is_caught():
    """The negative control: XLA's own mixed product, on its defaults, under the same check."""
    w = jnp.asarray(_normal(1, 768, 192).astype(BFLOAT16))
    found = offenders(jax.jit(lambda rows: rows @ w), _normal(0, MOST, 768))
    assert any("rows instead of" in line for line in found)


@pytest.mark.parametrize("rows", [1, 64])
def test_no_matrix_lies_storage_in_float32(rows):
    """A program's scratch memory is far less than the matrix would take."""
    w = k_blocked(_normal(0, 1024, 4096).astype(BFLOAT16))
    needed = linear_.lower(_normal(1, rows, 1024), w, 4096).compile().memory_analysis().temp_size_in_bytes
    assert needed < 4 * UPCAST + 4 * rows * 4096 * 8 < 4 * 1024 * 4096


# -- kernels ---------------------------------------------------------------------------------------


@lru_cache
def _rows_of(kind: str, config: ModelConfig, narrow: bool):
    """A kernel over residuals in float32; K/V and weights are the same numbers in either precision."""
    dtype = "bfloat16" if narrow else "float32"
    kept = check_parameters(config, random_parameters(config, 0), "bfloat16")
    weights = CERTIFIED.prepare(config, check_parameters(config, kept, dtype))
    keys = _normal(2, 1, config.n_kv_heads, config.d_head, PAGE).astype(BFLOAT16)
    values = _normal(3, 1, config.n_kv_heads, PAGE, config.d_head).astype(BFLOAT16)
    cells = [jnp.asarray(to_storage(part.astype(dtype))) for part in (keys, values)]
    pages, layer = Pages(*cells, jnp.zeros(1, jnp.int32), jnp.int32(2**30)), weights["layers"][0]
    functions = {
        "embed": lambda x, p: CERTIFIED.embed(config, weights["embed"], p, p),
        "kv": lambda x, p: jnp.concatenate(CERTIFIED.kv(config, layer["kv"], x, p), axis=1),
        "attn": lambda x, p: CERTIFIED.attn(config, layer["attn"], x, p, pages),
        "mlp": lambda x, p: CERTIFIED.mlp(config, layer["mlp"], x),
        "unembed": lambda x, p: logits_of(CERTIFIED, config, weights["unembed"], x),
    }
    return certified(functions[kind])


@pytest.mark.parametrize("config", [WIDE, BIASED], ids=["wide", "biased"])
@pytest.mark.parametrize("kind", ["embed", "kv", "attn", "mlp", "unembed"])
def test_kernels_have_the_bits_of_the_same_numbers_in_float32(kind, config):
    """So their rows depend on nothing that those of float32 do not depend on, before any rounding."""
    x, positions = _normal(4, ROWS, config.d_model), np.random.default_rng(5).permutation(ROWS)
    expected = bits(_rows_of(kind, config, False)(x, positions))
    for count in (1, 8):
        chosen = np.random.default_rng(count).permutation(ROWS)[:count]
        found = _rows_of(kind, config, True)(x[chosen], positions[chosen])
        assert found.dtype == np.float32
        assert np.array_equal(bits(found), expected[chosen]), count
