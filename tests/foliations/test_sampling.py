"""Random orders: their laws, their limits, and that a seed is all they depend on."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causalsim.errors import InputError, LimitError
from causalsim.events import EventGraph, Wiring
from causalsim.foliations import random_down_set, random_foliation, random_linear_extension
from causalsim.testing.strategies import graphs
from tests.foliations.support import backwards

SMALL = EventGraph(Wiring(1), 2)  # 186 linear extensions
BLOCKS = EventGraph(Wiring(3), 3, granularity="block")  # 684, the likeliest Kahn order 45.6 times the rarest


def _chi_square(graph: EventGraph, method: str, draws_each: int, **limits: int) -> tuple[float, float]:
    """The statistic against the uniform law, and what it would pass once in a million."""
    orders, rng = graph.count_linear_extensions(), np.random.default_rng(7)
    draws = orders * draws_each
    counts = Counter(
        random_linear_extension(graph, rng, method=method, **limits).times.tobytes() for _ in range(draws)
    )
    assert len(counts) <= orders
    statistic = sum((n - draws_each) ** 2 for n in counts.values()) / draws_each
    statistic += (orders - len(counts)) * draws_each
    freedom = orders - 1
    return statistic, freedom + 5 * (2 * freedom) ** 0.5


@pytest.mark.parametrize("graph", [SMALL, BLOCKS], ids=["sublayers", "blocks"])
def test_uniform_is_uniform(graph):
    statistic, limit = _chi_square(graph, "uniform", 10)
    assert statistic < limit


WINDOWED = EventGraph(Wiring(2, windows=2), 4, granularity="block")


@pytest.mark.slow
def test_coupling_is_uniform_where_no_table_may_be_made():
    """A limit of one down-set leaves no table; the same test sees Kahn's bias at this size."""
    statistic, limit = _chi_square(WINDOWED, "uniform", 10, limit=1)
    assert statistic < limit
    statistic, limit = _chi_square(WINDOWED, "kahn", 10)
    assert statistic > 2 * limit


def test_kahn_is_not_and_the_same_test_sees_it():
    statistic, limit = _chi_square(BLOCKS, "kahn", 10)
    assert statistic > 2 * limit


@given(graphs(max_layers=2, max_length=3), st.integers(0, 2**32), st.sampled_from(["uniform", "kahn"]))
def test_random_orders_are_linear_extensions(graph, seed, method):
    try:
        order = random_linear_extension(graph, seed, method=method)
    except LimitError:
        assert method == "uniform"
        return
    assert sorted(order.times) == list(range(len(graph))) and not backwards(graph, order.times)
    assert order == random_linear_extension(graph, seed, method=method)


@given(graphs(), st.integers(0, 2**32))
def test_random_foliations_are_valid_and_repeatable(graph, seed):
    foliation = random_foliation(graph, seed)
    assert not backwards(graph, foliation.times)
    assert foliation == random_foliation(graph, np.random.default_rng(seed))


def test_random_foliations_reach_from_narrow_to_wide_slices():
    graph = EventGraph(Wiring(4), 16)
    drawn = [random_foliation(graph, seed) for seed in range(200)]
    assert len(set(drawn)) == 200
    depths, widths = [f.depth for f in drawn], [f.width for f in drawn]
    assert min(depths) <= graph.depth + 2 and max(depths) > 0.9 * len(graph)
    assert min(widths) <= 2 and max(widths) == graph.width
    sizes = np.bincount(np.concatenate([f.slice_sizes for f in drawn]), minlength=graph.width + 1)
    assert (sizes[1:] > 0).all()


def test_random_foliations_reach_every_foliation_of_a_small_graph():
    """Two positions of one block layer each, one above another: all ways to cut that order."""
    graph = EventGraph(Wiring(2), 2, granularity="block")
    drawn = {random_foliation(graph, seed).times.tobytes() for seed in range(2000)}
    every = set()
    for code in range(4**4):
        times = np.array([code // 4**i % 4 for i in range(4)])
        if set(times) == set(range(times.max() + 1)) and not backwards(graph, times):
            every.add(times.astype(np.int32).tobytes())
    assert drawn == every


def test_orders_of_large_graphs_are_drawn_by_kahn_or_not_at_all():
    graph = EventGraph(Wiring(4), 64)
    with pytest.raises(LimitError) as caught:
        random_linear_extension(EventGraph(Wiring(8), 400), 0)
    assert caught.value.reached > caught.value.bound
    assert not backwards(graph, random_linear_extension(graph, 0, method="kahn").times)
    with pytest.raises(LimitError):
        random_linear_extension(EventGraph(Wiring(8), 20_000), 0, method="kahn")
    with pytest.raises(LimitError):
        random_foliation(EventGraph(Wiring(8), 20_000), 0)


@pytest.mark.usefixtures("unchecked")
def test_methods_that_are_not_known():
    with pytest.raises(InputError, match="got 'fair', expected uniform or kahn"):
        random_linear_extension(SMALL, 0, method="fair")


@pytest.mark.parametrize("seed", [None, -1, 1.5, "0", True])
@pytest.mark.parametrize("draw", [random_foliation, random_linear_extension])
@pytest.mark.usefixtures("unchecked")
def test_what_is_no_seed_is_refused(draw, seed):
    with pytest.raises(InputError, match="seed is a whole number"):
        draw(EventGraph(Wiring(1), 1), seed)


def test_what_has_too_many_down_sets_is_drawn_by_coupling():
    """With room for no table the law is the same: uniform, and Kahn's is not."""
    graph = EventGraph(Wiring(2), 2, granularity="block")
    rng = np.random.default_rng(7)
    counts = Counter(random_linear_extension(graph, rng, limit=1).times.tobytes() for _ in range(500))
    assert len(counts) == 5 and sum((n - 100) ** 2 / 100 for n in counts.values()) < 18.5
    with pytest.raises(LimitError, match="moves"):
        random_linear_extension(graph, 0, limit=1, steps=10)


def test_random_down_sets_are_uniform():
    expected = set(BLOCKS.down_sets())
    rng = np.random.default_rng(7)
    counts = Counter(random_down_set(BLOCKS, rng) for _ in range(20 * len(expected)))
    assert counts.keys() == expected
    assert sum((n - 20) ** 2 / 20 for n in counts.values()) < 37 + 4 * (2 * 37) ** 0.5
    with pytest.raises(LimitError):
        random_down_set(BLOCKS, 0, limit=10)
