"""Products in K-blocks: right, and with row bits that do not depend on the other rows."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causalsim.kernels.elementwise import layer_norm, rms_norm
from causalsim.kernels.k_blocks import (
    BLOCK,
    LONGEST_K_BLOCK,
    MANY_ROWS,
    contract,
    k_block_shape,
    k_blocked,
    linear,
    linear_into,
)
from tests.kernels.batches import COUNTS, MOST, at_every_place, bits, certified, offenders

WIDTHS = (16, 64, 128, 341, 576, 768, 1536, 2048)
SHAPES = [(width, 192) for width in WIDTHS] + [(768, 768), (768, 3072), (576, 3072), (128, 1024)]
# Columns that are left over: one more than a multiple of eight, as in a vocabulary of 50,257, or very few.
LEFT_OVER = [(768, 129), (576, 257), (128, 513), (64, 73), (100, 17), (16, 1), (6, 6), (3, 8), (1, 1)]

linear_ = certified(linear, static_argnums=2)
into_ = certified(lambda cells, rows, x, w: linear_into(cells, rows, x, w, jnp.tanh))
contract_ = certified(contract)
norm_ = certified(lambda x, gain: rms_norm(x, gain, 1e-6))
layer_norm_ = certified(lambda x, gain, bias: layer_norm(x, gain, bias, 1e-5))
# As the reader of a parallel residual has it: the sum comes into the same loop.
norm_of_sum_ = certified(lambda x, gain: rms_norm(x + x[:, ::-1], gain, 1e-6))


def _normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def _written(x: np.ndarray, k_blocks: jax.Array, out: int) -> jax.Array:
    """The product, as the logits are made."""
    rows = np.arange(len(x), dtype=np.int32)
    return into_(np.full((len(x), out), np.nan, np.float32), rows, x, k_blocks)


@given(st.integers(1, 5000))
def test_k_blocks_are_at_least_two_short_and_cover_the_contraction(length):
    number, size = k_block_shape(length)
    assert number >= 2
    assert 1 <= size <= LONGEST_K_BLOCK
    assert length <= number * size < length + max(number, 2)


def test_k_blocks_of_an_even_length_need_no_padding():
    assert all(
        number * size == length
        for length in (64, 128, 576, 768, 1536, 2048, 3072)
        for number, size in [k_block_shape(length)]
    )


@pytest.mark.parametrize(("width", "out"), SHAPES + LEFT_OVER)
def test_linear_is_the_product_and_keeps_the_batch_invariance(width, out):
    x, w = _normal(width, MOST, width), _normal(width + 1, width, out)
    k_blocks = k_blocked(w)
    exact = x.astype(np.float64) @ w.astype(np.float64)
    np.testing.assert_allclose(linear_(x, k_blocks, out), exact, rtol=1e-5, atol=2e-6 * width)
    assert offenders(lambda rows: linear_(rows, k_blocks, out), x) == []


@pytest.mark.parametrize("width", [128, 768])
@pytest.mark.parametrize("count", [8, 16])
def test_linear_gives_a_row_the_same_bits_at_every_place(width, count):
    k_blocks = k_blocked(_normal(1, width, 96))
    assert at_every_place(lambda rows: linear_(rows, k_blocks, 96), _normal(0, MOST, width), count)


# Whole blocks of columns, a rest behind them, and none.
@pytest.mark.parametrize(("width", "out"), [(64, 5 * BLOCK), (768, 4 * BLOCK + 108), (40, 300)])
def test_a_product_written_in_place_is_the_product_and_touches_no_other_row(width, out):
    x, k_blocks = _normal(0, MOST, width), k_blocked(_normal(1, width, out))
    product = bits(np.tanh(linear_(x, k_blocks, out)))
    for count in (1, MANY_ROWS - 1, MANY_ROWS, MOST):
        rows = np.random.default_rng(count).permutation(2 * MOST)[:count].astype(np.int32)
        cells = bits(into_(np.full((MOST, out), np.nan, np.float32), rows, x[:count], k_blocks))
        there = rows < MOST
        np.testing.assert_allclose(
            cells[rows[there]].view(np.float32), product[:count][there].view(np.float32), rtol=1e-5, atol=1e-6
        )
        assert np.isnan(np.delete(cells, rows[there], axis=0).view(np.float32)).all()


@pytest.mark.parametrize(("width", "out"), [(64, 5 * BLOCK), (768, 4 * BLOCK + 108)])
def test_a_product_written_in_place_keeps_the_batch_invariance(width, out):
    x, k_blocks = _normal(0, MOST, width), k_blocked(_normal(1, width, out))
    assert offenders(lambda rows: _written(rows, k_blocks, out), x) == []


@pytest.mark.slow
@pytest.mark.parametrize(("width", "out"), [(576, 49_152), (768, 50_257), (3072, 768), (5632, 2048)])
def test_linear_keeps_the_batch_invariance_at_the_sizes_of_vocabularies(width, out):
    x, k_blocks = _normal(0, MOST, width), k_blocked(_normal(1, width, out) / np.float32(width))
    assert offenders(lambda rows: _written(rows, k_blocks, out), x) == []


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from([16, 341, 768]))
def test_linear_keeps_the_batch_invariance_whatever_the_scale_of_numbers(seed, width):
    rng = np.random.default_rng(seed)
    x = (_normal(seed, 16, width) * np.exp2(rng.integers(-30, 30, (16, width)))).astype(np.float32)
    k_blocks = k_blocked(_normal(seed + 1, width, 192))
    assert offenders(lambda rows: linear_(rows, k_blocks, 192), x, (1, 8)) == []


@pytest.mark.parametrize("width", [768, 1536])
def test_a_plain_product_is_caught(width):
    """The negative control: XLA's own product, on its defaults, under the same check."""
    w = jnp.asarray(_normal(1, width, 192))
    plain = jax.jit(lambda rows: rows @ w)
    found = offenders(plain, _normal(0, MOST, width))
    assert any("rows instead of" in line for line in found)


def test_a_product_that_mixes_rows_is_caught():
    """The other negative control: zero times a neighbour's NaN is NaN."""
    mixing = certified(lambda rows: rows + 0 * rows.sum(axis=0))
    assert any("beside nan" in line for line in offenders(mixing, _normal(0, MOST, 768)))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    ("inner", "columns"),
    [(16, 128), (64, 128), (128, 64), (128, 2), (2, 128), (6, 6), (192, 128), (193, 128), (256, 128)],
)
def test_contract_is_a_batch_of_products_and_keeps_the_batch_invariance(inner, columns, batch):
    a, b = _normal(inner, batch, MOST, inner), _normal(inner + 1, batch, inner, columns)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    np.testing.assert_allclose(contract_(a, b), exact, rtol=1e-5, atol=2e-6 * inner)

    def rows(x):
        return np.asarray(contract_(x.swapaxes(0, 1), b)).swapaxes(0, 1).copy()

    assert offenders(rows, a.swapaxes(0, 1).copy()) == []


@pytest.mark.parametrize("width", [1, 5, 8, 16, 32, 36, 64, 65, 128, 576, 768, 2048])
def test_norms_are_right_and_keep_the_batch_invariance(width):
    """Sums of up to some dozens are unrolled by XLA in a way that depends on the rows."""
    x, gain = _normal(0, MOST, width), _normal(1, width)
    wide = x.astype(np.float64)
    exact = wide / np.sqrt((wide * wide).mean(axis=1, keepdims=True) + 1e-6) * gain
    np.testing.assert_allclose(norm_(x, gain), exact, rtol=1e-5, atol=1e-6)
    assert offenders(lambda rows: norm_(rows, gain), x) == []
    assert offenders(lambda rows: norm_of_sum_(rows, gain), x) == []


@pytest.mark.parametrize("width", [2, 7, 64, 65, 768])
def test_layer_norms_are_right(width):
    x, gain, bias = (_normal(n, *shape) for n, shape in enumerate([(64, width), (width,), (width,)]))
    centred = x.astype(np.float64) + 3
    centred -= centred.mean(axis=1, keepdims=True)
    exact = centred / np.sqrt((centred * centred).mean(axis=1, keepdims=True) + 1e-5) * gain + bias
    np.testing.assert_allclose(layer_norm_(x + 3, gain, bias), exact, rtol=1e-4, atol=1e-4)


def test_products_are_asked_for_in_full_precision():
    """CPUs have no lower one; other processors would use it by default."""
    x, w = jnp.ones((3, 64)), k_blocked(np.ones((64, 32), np.float32))
    traced = jax.make_jaxpr(lambda x, w: linear(x, w, 32))(x, w)
    (product,) = (each for each in traced.eqns if each.primitive.name == "dot_general")
    assert {*product.params["precision"]} == {jax.lax.Precision.HIGHEST}


def _parts_by_width(width: int) -> list[str]:
    x, gain, bias = (_normal(n, *shape) for n, shape in enumerate([(64, width), (width,), (width,)]))
    found = offenders(lambda rows: layer_norm_(rows, gain, bias), x, (1, 8, 16, 32, 64))
    return found + offenders(lambda rows: norm_(rows, gain), x, (1, 8, 16, 32, 64))


@pytest.mark.parametrize("width", [3, 7, 17, 31, 33, 63, 65, 97])
def test_norms_of_odd_widths_keep_the_batch_invariance(width):
    """The mean of an odd width was rounded in some batches before it was subtracted, and not in others."""
    assert _parts_by_width(width) == []


@pytest.mark.slow
def test_norms_of_all_widths_keep_the_batch_invariance():
    assert {width: found for width in range(1, 131) if (found := _parts_by_width(width))} == {}


def test_the_check_itself_reads_bits():
    """Two zeros differ, equal NaNs do not: what a comparison of numbers would get wrong."""
    assert not np.array_equal(bits(np.float32([0.0])), bits(np.float32([-0.0])))
    assert np.array_equal(bits(np.float32([np.nan])), bits(np.float32([np.nan])))
    assert set(COUNTS) == {1, 8, 9, 16, 33, 64, 256}
