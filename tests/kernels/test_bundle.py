"""Lanes: how many events are split into launches, and that nothing cheaper carries them."""

from __future__ import annotations

from itertools import combinations_with_replacement

import pytest
from hypothesis import given
from hypothesis import strategies as st

import causalsim as cs
from causalsim.kernels import CERTIFIED_LANES, FIXED_LANES, Lanes
from causalsim.kernels.bundle import CHEAPEST

MOST = 12


@st.composite
def some_lanes(draw: st.DrawFn) -> Lanes:
    counts = tuple(sorted(draw(st.sets(st.integers(1, MOST), min_size=1, max_size=4))))
    costs = st.integers(1, 20).map(float)
    return Lanes(counts, draw(st.just(()) | st.tuples(*(costs for _ in counts))))


def _cost(lanes: Lanes, split) -> float:
    return sum(lanes.prices[count] for count in split)


def _least(lanes: Lanes, events: int) -> float:
    """By trying every bag of counts that carries the events; a larger launch than needed is no choice."""
    useful = lanes.up_to(events)
    bags = (bag for size in range(1, events + 1) for bag in combinations_with_replacement(useful, size))
    return min(_cost(lanes, bag) for bag in bags if sum(bag) >= events)


@given(some_lanes(), st.integers(1, 5))
def test_no_launches_that_carry_as_many_events_are_cheaper(lanes, events):
    if events <= lanes.counts[-1]:
        assert _cost(lanes, lanes.split(events)) == _least(lanes, events)


@given(some_lanes() | st.sampled_from([CERTIFIED_LANES, FIXED_LANES]), st.integers(0, 1000))
def test_launches_are_full_but_for_the_last(lanes, events):
    split = lanes.split(events)
    assert {*split} <= {*lanes.up_to(events)} or not split
    assert sum(split[:-1]) < events <= sum(split) or events == 0 == len(split)


@given(some_lanes(), st.integers(1, 1000))
def test_many_events_cost_about_as_much_each_as_the_most_efficient_launch(lanes, events):
    least = min(price / count for count, price in lanes.prices.items())
    once_more = max(lanes.prices.values())
    assert least * events <= _cost(lanes, lanes.split(events)) + 1e-9
    assert _cost(lanes, lanes.split(events)) <= least * events + 2 * once_more


def test_without_costs_small_launches_are_taken_for_equal():
    assert Lanes((1, 8, 64)).prices == {1: CHEAPEST, 8: CHEAPEST, 64: 64}


def test_the_measured_cost_decides():
    assert Lanes((1, 8), (1.0, 9.0)).split(4) == [1, 1, 1, 1]
    assert Lanes((1, 8), (1.0, 3.0)).split(4) == [8]
    # A launch that is dear for its size is left out even where it fits.
    assert Lanes((8, 16), (1.0, 3.0)).split(32) == [8, 8, 8, 8]


def test_any_count_is_taken_as_it_comes():
    assert Lanes().split(5) == [5] and Lanes().up_to(3) == [1, 2, 3]


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
def test_lanes_that_make_no_sense_are_refused(counts, costs, words):
    with pytest.raises(cs.InputError, match=words):
        Lanes(counts, costs)
