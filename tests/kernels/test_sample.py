"""Sampling: ties, poison, keys by position alone, and the distribution that was asked for."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causalsim.kernels import CERTIFIED
from causalsim.models import ModelConfig
from tests.kernels.batches import certified

VOCABULARY = 16
CONFIG = ModelConfig(n_layers=1, n_heads=1, d_model=8, d_ff=8, vocab_size=VOCABULARY, max_length=8)
sample_ = certified(lambda *args: CERTIFIED.sample(CONFIG, *args))


def sampled(logits, positions=None, given_ids=None, temperature=0.0, seed=0):
    logits = np.asarray(logits, np.float32)
    rows = len(logits)
    positions = np.arange(rows) if positions is None else positions
    given_ids = np.full(rows, -1) if given_ids is None else given_ids
    numbers = (np.asarray(part, np.int32) for part in (positions, given_ids))
    return np.asarray(sample_(logits, *numbers, np.float32(temperature), np.int32(seed)))


def _logits(seed: int, rows: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, VOCABULARY), dtype=np.float32)


@given(
    st.lists(st.lists(st.integers(-2, 2), min_size=VOCABULARY, max_size=VOCABULARY), min_size=8, max_size=8)
)
def test_greedy_takes_the_lowest_id_among_the_greatest(rows):
    assert sampled(rows).tolist() == [row.index(max(row)) for row in rows]


def test_greedy_with_infinities():
    rows = np.full((8, VOCABULARY), -np.inf)
    rows[1, 5], rows[2, 7] = 0, np.inf
    assert sampled(rows)[:3].tolist() == [0, 5, 7]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("given_id", [-1, 3])
def test_one_nan_makes_the_id_that_no_token_has(temperature, given_id):
    logits = _logits(0)
    logits[2, 9] = np.nan
    logits[5] = np.nan
    found = sampled(logits, given_ids=np.full(8, given_id), temperature=temperature)
    assert (found == VOCABULARY).tolist() == [i in (2, 5) for i in range(8)]


@given(st.lists(st.integers(-1, VOCABULARY - 1), min_size=8, max_size=8), st.sampled_from([0.0, 0.7]))
def test_given_ids_are_returned(ids, temperature):
    free = sampled(_logits(1), temperature=temperature)
    found = sampled(_logits(1), given_ids=ids, temperature=temperature)
    assert found.tolist() == [free[i] if token < 0 else token for i, token in enumerate(ids)]
    assert found.dtype == np.int32


def _by_definition(logits: np.ndarray, position: int, temperature: float, seed: int) -> int:
    """One Gumbel maximum, keyed as the design says."""
    key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), position)
    noise = jax.random.gumbel(key, logits.shape, jnp.float32)
    return int(jnp.argmax((logits - logits.max()) / jnp.float32(temperature) + noise))


@settings(max_examples=20)
@given(
    st.lists(st.integers(0, 2**20), min_size=8, max_size=8),
    st.integers(0, 2**31 - 1),
    st.floats(0.125, 5, width=32),
    st.integers(0, 7),
)
def test_a_draw_depends_on_its_logits_its_position_and_the_seed(positions, seed, temperature, row):
    logits = _logits(seed)
    found = sampled(logits, positions, temperature=temperature, seed=seed)
    assert found[row] == _by_definition(logits[row], positions[row], temperature, seed)
    alone = sampled(logits[row : row + 1], positions[row : row + 1], temperature=temperature, seed=seed)
    batch = np.full_like(logits, np.nan)
    batch[0] = logits[row]
    moved = sampled(batch, [positions[row], *range(7)], temperature=temperature, seed=seed)
    assert found[row] == alone[0] == moved[0]


def test_positions_and_seeds_give_draws_of_their_own():
    level = np.zeros((256, VOCABULARY))
    first = sampled(level, temperature=1.0, seed=0)
    assert len(set(first.tolist())) == VOCABULARY
    assert 0 < np.count_nonzero(first == sampled(level, temperature=1.0, seed=1)) < 40
    assert (first == sampled(level, np.full(256, 0), temperature=1.0))[0]
    assert len(set(sampled(level, np.full(256, 9), temperature=1.0).tolist())) == 1


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax_of_the_temperature(temperature):
    rows = 8192
    row = _logits(3, 1)[0]
    found = sampled(np.tile(row, (rows, 1)), temperature=temperature)
    weights = np.exp(row.astype(np.float64) / temperature)
    expected = rows * weights / weights.sum()
    counts = np.bincount(found, minlength=VOCABULARY)
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert statistic < 15 + 5 * np.sqrt(30)
    other = np.exp(row.astype(np.float64) / (temperature * 1.5))
    wrong = rows * other / other.sum()
    assert ((counts - wrong) ** 2 / wrong).sum() > 2 * (15 + 5 * np.sqrt(30))


def test_what_has_no_weight_is_never_drawn():
    rows = np.zeros((256, VOCABULARY))
    rows[:, 3:] = -np.inf
    assert set(sampled(rows, temperature=1.0).tolist()) == {0, 1, 2}


@pytest.mark.parametrize("temperature", [1e-45, 1e-38, 2e-38, 1e-37, 1e-30, 1e-6])
def test_a_temperature_near_zero_is_greedy(temperature):
    logits = np.random.default_rng(0).normal(size=(8, 50)).astype(np.float32) * 4
    assert np.array_equal(sampled(logits, temperature=temperature), logits.argmax(axis=1))
