"""The kernel of every kind of event, whole: batch invariance at a narrow and at a wide model."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from causalsim.kernels import CERTIFIED, PAGE, STOCK, Pages
from causalsim.models import ModelConfig, random_parameters
from tests.kernels.batches import bits, certified, logits_of, offenders

NARROW = ModelConfig(
    n_layers=1, n_heads=4, n_kv_heads=2, d_model=128, d_head=32, d_ff=341, vocab_size=64, max_length=64
)
WIDE = ModelConfig(
    n_layers=1, n_heads=12, n_kv_heads=4, d_model=768, d_ff=1536, vocab_size=512, max_length=64
)
# Switches that together take every branch of the kernels.
GEMMA = replace(
    WIDE, post_norms=True, qk_norms=True, activation="gelu_tanh", attention_cap=5.0, logit_cap=3.0,
    embedding_scale=27.7, attention_scale=0.3, rope_factors=[1.0] * 16 + [8.0] * 16,
)  # fmt: skip
GPT = replace(
    WIDE, norm="layer", positions="learned", d_rotary=None, activation="gelu", gated=False,
    qkv_biases=True, out_biases=True, mlp_biases=True,
)  # fmt: skip
NEOX = replace(GPT, positions="rotary", d_rotary=16, parallel_residual=True, max_length=48)
CONFIGS = {"narrow": NARROW, "wide": WIDE, "gemma": GEMMA, "gpt": GPT, "neox": NEOX}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
COUNTS = (1, 8, 16, 64)
ROWS = 64


@lru_cache
def _weights(config, kernels):
    return kernels.prepare(config, random_parameters(config, 0))


def _rows_of(kind, config, kernels):
    """A kernel as a function of the residual alone, positions riding along in a first column."""
    weights = _weights(config, kernels)
    rng = np.random.default_rng(3)
    keys = rng.standard_normal((2, config.n_kv_heads, config.d_head, PAGE), dtype=np.float32)
    values = rng.standard_normal((2, config.n_kv_heads, PAGE, config.d_head), dtype=np.float32)
    pages = Pages(jnp.asarray(keys), jnp.asarray(values), jnp.asarray([1, 0], jnp.int32), jnp.int32(2**30))
    layer = weights["layers"][0]
    functions = {
        "kv": lambda x, p: jnp.concatenate(kernels.kv(config, layer["kv"], x, p), axis=1),
        "attn": lambda x, p: kernels.attn(config, layer["attn"], x, p, pages),
        "mlp": lambda x, p: kernels.mlp(config, layer["mlp"], x),
        "unembed": lambda x, p: logits_of(kernels, config, weights["unembed"], x),
    }
    compiled = jax.jit(functions[kind], compiler_options=dict(kernels.compiler_options))

    def rows(table):
        positions = np.nan_to_num(table[:, 0], nan=5, posinf=6, neginf=7).clip(0, 63).astype(np.int32)
        return compiled(np.ascontiguousarray(table[:, 1:]), positions)

    return rows


def _table(config):
    rng = np.random.default_rng(4)
    x = rng.standard_normal((ROWS, config.d_model + 1), dtype=np.float32)
    x[:, 0] = rng.permutation(ROWS)
    return x


@every_config
@pytest.mark.parametrize("kind", ["kv", "attn", "mlp", "unembed"])
def test_kernels_keep_the_batch_invariance(kind, config):
    assert offenders(_rows_of(kind, config, CERTIFIED), _table(config), COUNTS) == []


@pytest.mark.parametrize("kind", ["kv", "attn", "mlp", "unembed"])
def test_stock_kernels_at_width_768_are_caught(kind):
    assert offenders(_rows_of(kind, WIDE, STOCK), _table(WIDE), COUNTS) != []


@every_config
@pytest.mark.parametrize("kind", ["kv", "attn", "mlp", "unembed"])
def test_certified_and_stock_kernels_compute_the_same_function(kind, config):
    table = _table(config)
    ours, theirs = (np.asarray(_rows_of(kind, config, kernels)(table)) for kernels in (CERTIFIED, STOCK))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_embeddings_are_rows_and_ids_outside_the_table_are_poison():
    weights = _weights(NARROW, CERTIFIED)["embed"]
    ids = jnp.asarray([0, 63, 7, 64, 1000, -1, -64], jnp.int32)
    rows = np.asarray(certified(lambda i: CERTIFIED.embed(NARROW, weights, i, i))(ids))
    table = np.asarray(weights["table"])
    assert np.array_equal(bits(rows[:3]), bits(table[[0, 63, 7]]))
    assert np.isnan(rows[3:]).all()


@pytest.mark.parametrize("kind", ["kv", "attn", "mlp", "unembed"])
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_poisoned_residual_poisons_its_own_row(kind, poison):
    table = _table(NARROW)[:8]
    table[3, 1:] = poison
    found = np.asarray(_rows_of(kind, NARROW, CERTIFIED)(table)).reshape(8, -1)
    assert np.isnan(found[3]).all()
    assert np.isfinite(np.delete(found, 3, axis=0)).all()


def test_positions_outside_the_rotary_table_are_poison():
    weights = _weights(NARROW, CERTIFIED)["layers"][0]["kv"]
    x = jnp.asarray(_table(NARROW)[:8, 1:])
    positions = jnp.asarray([0, 63, 64, 10_000, -1, 1, 2, 3], jnp.int32)
    keys, values = certified(lambda x, p: CERTIFIED.kv(NARROW, weights, x, p))(x, positions)
    lost = np.isnan(np.asarray(keys)).all(axis=(1, 2))
    assert lost.tolist() == [False, False, True, True, True, False, False, False]
    assert np.isfinite(np.asarray(values)).all()
