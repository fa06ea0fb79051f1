"""Buckets: how many events are split into batches, and that nothing cheaper carries them."""

from __future__ import annotations

from itertools import combinations_with_replacement

import pytest
from hypothesis import given
from hypothesis import strategies as st

import causalsim as cs
from causalsim.kernels import CERTIFIED_BUCKETS, FIXED_BUCKETS, Buckets
from causalsim.kernels.bundle import CHEAPEST

MOST = 12


@st.composite
def some_rows(draw: st.DrawFn) -> Buckets:
    counts = tuple(sorted(draw(st.sets(st.integers(1, MOST), min_size=1, max_size=4))))
    costs = st.integers(1, 20).map(float)
    return Buckets(counts, draw(st.just(()) | st.tuples(*(costs for _ in counts))))


def _cost(buckets: Buckets, split) -> float:
    return sum(buckets.prices[count] for count in split)


def _least(buckets: Buckets, events: int) -> float:
    """By trying every bag of counts that carries the events; a larger batch than needed is no choice."""
    useful = buckets.up_to(events)
    bags = (bag for size in range(1, events + 1) for bag in combinations_with_replacement(useful, size))
    return min(_cost(buckets, bag) for bag in bags if sum(bag) >= events)


@given(some_rows(), st.integers(1, 5))
def test_no_batches_that_carry_as_many_events_are_cheaper(buckets, events):
    if events <= buckets.sizes[-1]:
        assert _cost(buckets, buckets.split(events)) == _least(buckets, events)


@given(some_rows() | st.sampled_from([CERTIFIED_BUCKETS, FIXED_BUCKETS]), st.integers(0, 1000))
def test_batches_are_full_but_for_the_last(buckets, events):
    split = buckets.split(events)
    assert {*split} <= {*buckets.up_to(events)} or not split
    assert sum(split[:-1]) < events <= sum(split) or events == 0 == len(split)


@given(some_rows(), st.integers(1, 1000))
def test_many_events_cost_about_as_much_each_as_the_most_efficient_batch(buckets, events):
    least = min(price / count for count, price in buckets.prices.items())
    once_more = max(buckets.prices.values())
    assert least * events <= _cost(buckets, buckets.split(events)) + 1e-9
    assert _cost(buckets, buckets.split(events)) <= least * events + 2 * once_more


def test_without_costs_small_batches_are_taken_for_equal():
    assert Buckets((1, 8, 64)).prices == {1: CHEAPEST, 8: CHEAPEST, 64: 64}


def test_the_measured_cost_decides():
    assert Buckets((1, 8), (1.0, 9.0)).split(4) == [1, 1, 1, 1]
    assert Buckets((1, 8), (1.0, 3.0)).split(4) == [8]
    # A batch that is dear for its size is left out even where it fits.
    assert Buckets((8, 16), (1.0, 3.0)).split(32) == [8, 8, 8, 8]


def test_any_count_is_taken_as_it_comes():
    assert Buckets().split(5) == [5] and Buckets().up_to(3) == [1, 2, 3]


@pytest.mark.parametrize(
    ("counts", "costs", "words"),
    [
        ((8, 1), (), "rise"),
        ((1, 1), (), "rise"),
        ((0, 8), (), "rise"),
        ((1, 8), (1.0,), "a cost above 0"),
        ((1, 8), (1.0, 0.0), "a cost above 0"),
        ((1, 8), (1.0, float("nan")), "a cost above 0"),
        ((1, 8), (1.0, float("inf")), "a cost above 0"),
        ((), (1.0,), "a cost above 0"),
    ],
)
def test_calibrate_that_make_no_sense_are_refused(counts, costs, words):
    with pytest.raises(cs.InputError, match=words):
        Buckets(counts, costs)
