"""Uniform orders and down-sets beyond the table of orders: exact laws, budgets, and the bound's invariant."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from causalsim.errors import InputError, LimitError
from causalsim.posets import CoupledSampler, DownSetSampler, coupling, kahn_order, linear_extensions

from .specimens import (
    Poset,
    blocks,
    brute_down_sets,
    disjoint,
    is_extension,
    posets,
    rectangle,
    stacked,
    sublayers,
)
from .test_sampling import MIXED, p_value

SMALL = disjoint([(), (0,)], [(), (0,), (0,)])  # 20 orders, Kahn's law far from even


def test_coupled_samples_are_uniform() -> None:
    for poset in (blocks(2, 2), SMALL):
        sampler, rng = CoupledSampler(poset), np.random.default_rng(5)
        assert 1e-3 < p_value(poset, lambda: sampler.sample(rng)) < 1 - 1e-3


def test_the_same_test_rejects_kahn() -> None:
    rng = np.random.default_rng(5)
    assert p_value(SMALL, lambda: kahn_order(SMALL, rng)) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    "poset",
    [blocks(3, 3), sublayers(1, 2), rectangle(3, 4), MIXED],
    ids=["blocks", "sublayers", "rectangle", "mixed"],
)
def test_coupled_samples_of_hundreds_of_orders_are_uniform(poset: Poset) -> None:
    sampler, rng = CoupledSampler(poset), np.random.default_rng(20_240_611)
    assert 1e-3 < p_value(poset, lambda: sampler.sample(rng), 20) < 1 - 1e-3
    assert p_value(poset, lambda: kahn_order(poset, rng), 20) < 1e-12


@settings(max_examples=30)
@given(posets(max_size=9), st.integers(0, 2**32 - 1))
def test_coupled_samples_are_linear_extensions_and_reproducible(poset: Poset, seed: int) -> None:
    sampler = CoupledSampler(poset)
    order = sampler.sample(np.random.default_rng(seed))
    assert is_extension(poset, order) and all(type(i) is int for i in order)
    assert order == sampler.sample(np.random.default_rng(seed))


@settings(max_examples=30)
@given(posets(max_size=6), st.integers(0, 2**32 - 1), st.integers(1, 200))
def test_every_beginning_ends_where_the_bounds_end(poset: Poset, seed: int, sweeps: int) -> None:
    """The argument itself: once all is known, the coins lead every linear extension to the same one."""
    sampler = CoupledSampler(poset)
    bounds = sampler.bounds(sweeps, seed)
    ends = set()
    for order in linear_extensions(poset):
        moved = np.array(order, np.int64)
        sampler.replay(moved, sweeps, seed)
        assert is_extension(poset, moved.tolist())
        ends.add(tuple(moved.tolist()))
    if bounds is not None:
        assert ends == {tuple(bounds.tolist())}


def test_a_small_budget_is_refused_at_once_and_a_middling_one_on_the_way() -> None:
    poset = blocks(3, 3)
    with pytest.raises(LimitError) as caught:
        CoupledSampler(blocks(30, 30), steps=1_000_000)
    assert (caught.value.reached, caught.value.bound) == (900**3 // 2, 1_000_000)
    sampler = CoupledSampler(poset, steps=9**3 // 2)
    with pytest.raises(LimitError) as caught:
        [sampler.sample(np.random.default_rng(seed)) for seed in range(20)]
    assert caught.value.reached > caught.value.bound == 364


def test_coins_do_not_depend_on_how_many_are_tossed_at_once() -> None:
    first = [(k, coins.tolist()) for k, coins in coupling.sweeps_of(5, 300, 7)]
    assert len(first) == 300 and {len(coins) for _, coins in first} == {2}
    assert first[:100] == [(k, coins.tolist()) for k, coins in coupling.sweeps_of(5, 100, 7)]
    assert [len(coins) for _, coins in coupling.sweeps_of(4, 2, 7)] == [2, 1]


def test_a_hundred_elements_without_any_table() -> None:
    poset = blocks(5, 10)
    order = CoupledSampler(poset).sample(np.random.default_rng(0))
    assert is_extension(poset, order)


# -- down-sets --------------------------------------------------------------------------------


@given(posets(max_size=7))
def test_ranks_number_the_down_sets(poset: Poset) -> None:
    sampler = DownSetSampler(poset)
    found = [sampler.unrank(rank) for rank in range(sampler.count)]
    assert sorted(found) == sorted(brute_down_sets(poset))
    assert (found[0], found[-1]) == (0, (1 << len(poset)) - 1)


@pytest.mark.parametrize("poset", [MIXED, stacked(MIXED, blocks(2, 2)), disjoint(MIXED, MIXED)])
def test_ranks_number_the_down_sets_of_parts(poset: Poset) -> None:
    sampler = DownSetSampler(poset)
    found = {sampler.unrank(rank) for rank in range(sampler.count)}
    edges = [(1 << i, 1 << j) for i, below in enumerate(poset) for j in below]
    assert len(found) == sampler.count
    assert all(mask & low for mask in found for high, low in edges if mask & high)


def test_down_sets_are_uniform() -> None:
    sampler, rng, each = DownSetSampler(MIXED), np.random.default_rng(3), 40
    seen = Counter(sampler.sample(rng) for _ in range(each * sampler.count))
    statistic = sum((n - each) ** 2 / each for n in seen.values()) + each * (sampler.count - len(seen))
    assert 1e-3 < chi2.sf(statistic, sampler.count - 1) < 1 - 1e-3


def test_cutting_a_random_order_anywhere_is_not_a_uniform_down_set() -> None:
    """Orders that the test above would reject."""
    sampler, rng, each = DownSetSampler(MIXED), np.random.default_rng(3), 40
    cut = lambda: sum(1 << i for i in kahn_order(MIXED, rng)[: rng.integers(len(MIXED) + 1)])
    seen = Counter(cut() for _ in range(each * sampler.count))
    statistic = sum((n - each) ** 2 / each for n in seen.values()) + each * (sampler.count - len(seen))
    assert chi2.sf(statistic, sampler.count - 1) < 1e-12


def test_down_sets_have_a_limit_and_ranks() -> None:
    with pytest.raises(LimitError):
        DownSetSampler(blocks(12, 40), limit=1000)
    with pytest.raises(InputError, match="0 to 7"):
        DownSetSampler(blocks(2, 2)).unrank(8)
