from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from math import comb
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from causalsim.errors import InputError
from causalsim.posets import UniformSampler, count_linear_extensions, kahn_order, linear_extensions
from causalsim.posets.sampling import draw_below

from .specimens import (
    Poset,
    blocks,
    brute_extensions,
    disjoint,
    is_extension,
    posets,
    rectangle,
    stacked,
    sublayers,
)

MIXED = disjoint(stacked([(), ()], blocks(2, 2)), [(), (0,)])
"""A series part, a prime one and two parallel ones: 2 * 5 * C(8, 2) = 280 orders."""


def p_value(poset: Poset, draw: Callable[[], list[int]], per_order: int = 40) -> float:
    """Pearson's chi-square of many draws against the even distribution over all linear extensions."""
    orders = [tuple(order) for order in linear_extensions(poset)]
    seen = Counter(tuple(draw()) for _ in range(per_order * len(orders)))
    assert seen.keys() <= set(orders)
    statistic = sum((seen[order] - per_order) ** 2 / per_order for order in orders)
    return float(chi2.sf(statistic, len(orders) - 1))


@given(posets(max_size=7))
def test_ranks_number_the_linear_extensions(poset: Poset) -> None:
    sampler = UniformSampler(poset)
    expected = brute_extensions(poset)
    assert sampler.count == len(expected)
    assert sorted(sampler.unrank(rank) for rank in range(sampler.count)) == expected


@pytest.mark.parametrize("poset", [blocks(3, 3), sublayers(1, 2), rectangle(3, 3), MIXED])
def test_ranks_number_the_linear_extensions_of_named_posets(poset: Poset) -> None:
    sampler = UniformSampler(poset)
    assert sorted(sampler.unrank(rank) for rank in range(sampler.count)) == list(linear_extensions(poset))


@pytest.mark.parametrize(
    "poset", [blocks(3, 3), sublayers(1, 2), MIXED], ids=["blocks", "sublayers", "mixed"]
)
def test_samples_are_uniform(poset: Poset) -> None:
    sampler, rng = UniformSampler(poset), np.random.default_rng(20_240_611)
    assert 1e-3 < p_value(poset, lambda: sampler.sample(rng)) < 1 - 1e-3


@pytest.mark.parametrize(
    "poset", [blocks(3, 3), sublayers(1, 2), MIXED], ids=["blocks", "sublayers", "mixed"]
)
def test_the_same_test_rejects_kahn(poset: Poset) -> None:
    rng = np.random.default_rng(20_240_611)
    assert p_value(poset, lambda: kahn_order(poset, rng)) < 1e-12


def kahn_probabilities(poset: Poset) -> list[float]:
    """Exact: one over the number of enabled elements, multiplied along each order."""
    result = []
    for order in linear_extensions(poset):
        probability, done = 1.0, set[int]()
        for i in order:
            ready = [j for j in range(len(poset)) if j not in done and done.issuperset(poset[j])]
            probability /= len(ready)
            done.add(i)
        result.append(probability)
    return result


def test_kahn_has_the_bias_that_its_docstring_states() -> None:
    probabilities = kahn_probabilities(blocks(3, 3))
    assert sum(probabilities) == pytest.approx(1)
    assert max(probabilities) / min(probabilities) == pytest.approx(45.6, abs=0.05)


def test_kahn_draws_from_its_own_distribution() -> None:
    poset, draws = blocks(3, 3), 60_000
    rng = np.random.default_rng(7)
    seen = Counter(tuple(kahn_order(poset, rng)) for _ in range(draws))
    orders = [tuple(order) for order in linear_extensions(poset)]
    expected = [draws * probability for probability in kahn_probabilities(poset)]
    statistic = sum((seen[order] - mean) ** 2 / mean for order, mean in zip(orders, expected, strict=True))
    assert 1e-3 < chi2.sf(statistic, len(orders) - 1) < 1 - 1e-3


@given(posets(max_size=12), st.integers(0, 2**32 - 1))
def test_random_orders_are_linear_extensions_and_reproducible(poset: Poset, seed: int) -> None:
    sampler = UniformSampler(poset)
    for draw in (sampler.sample, lambda rng: kahn_order(poset, rng)):
        order = draw(np.random.default_rng(seed))
        assert is_extension(poset, order)
        assert order == draw(np.random.default_rng(seed))
        assert all(type(i) is int for i in order)


def test_counts_far_beyond_sixty_four_bits() -> None:
    poset = disjoint(sublayers(2, 4), sublayers(2, 4), sublayers(2, 4))
    sampler, rng = UniformSampler(poset), np.random.default_rng(1)
    one = count_linear_extensions(sublayers(2, 4))
    assert sampler.count == one**3 * comb(96, 32) * comb(64, 32) > 2**200
    orders = {tuple(sampler.sample(rng)) for _ in range(20)}
    assert len(orders) == 20
    assert all(is_extension(poset, order) for order in orders)
    assert is_extension(poset, sampler.unrank(sampler.count - 1))


@given(st.integers(1, 2**130), st.integers(0, 2**32 - 1))
def test_big_integers_stay_below_their_bound(bound: int, seed: int) -> None:
    assert 0 <= draw_below(bound, np.random.default_rng(seed)) < bound


@pytest.mark.parametrize("bound", [1, 2, 3, 5, 255, 256, 257, 300])
def test_big_integers_are_uniform(bound: int) -> None:
    rng = np.random.default_rng(bound)
    seen = Counter(draw_below(bound, rng) for _ in range(50 * bound))
    statistic = sum((seen[k] - 50) ** 2 / 50 for k in range(bound))
    assert bound == 1 or chi2.sf(statistic, bound - 1) > 1e-3


def test_big_integers_reach_their_high_and_their_low_bits() -> None:
    rng, bound = np.random.default_rng(0), 3 * 2**100
    draws = [draw_below(bound, rng) for _ in range(3000)]
    thirds = Counter(draw // 2**100 for draw in draws)
    assert all(850 < thirds[k] < 1150 for k in range(3))
    assert 1350 < sum(draw & 1 for draw in draws) < 1650


@pytest.mark.parametrize("rank", [-1, 5])
def test_a_rank_outside_the_count_is_refused(rank: int) -> None:
    with pytest.raises(InputError, match="0 to 4"):
        UniformSampler(blocks(2, 2)).unrank(rank)


def test_ranks_are_integers_of_any_kind_and_nothing_else() -> None:
    sampler = UniformSampler(disjoint(blocks(4, 4), blocks(4, 4)))
    assert sampler.unrank(cast(int, np.int64(2**62))) == sampler.unrank(2**62)
    with pytest.raises(InputError, match="a rank numbers a linear extension"):
        sampler.unrank(2.0**62)  # type: ignore[arg-type]


def test_a_sampler_crosses_processes() -> None:
    sampler = UniformSampler(MIXED)
    copy = pickle.loads(pickle.dumps(sampler))
    assert copy.unrank(17) == sampler.unrank(17)


def test_kahn_takes_any_size() -> None:
    poset: Poset = [()] + [(i // 2,) for i in range(99_999)]
    assert is_extension(poset, kahn_order(poset, np.random.default_rng(0)))
