"""Swaps, distances and paths between orders, refinement, clocks and dimension, each by its definition."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, pairwise
from math import gamma, inf

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causalsim.errors import CausalityError, InputError, LimitError
from causalsim.events import Event, EventGraph, Wiring
from causalsim.foliations import (
    Foliation,
    adjacent_swaps,
    chunked,
    dimension,
    distance,
    is_refinement,
    layer_major,
    merge_path,
    ordering_fraction,
    swap_path,
    swapped,
    ticks,
    token_major,
    wavefront,
)
from causalsim.testing.strategies import foliations, graphs
from tests.foliations.support import graphs_with_foliation


@st.composite
def two_orders(draw: st.DrawFn, **sizes: int) -> tuple[Foliation, Foliation]:
    graph = draw(graphs(**sizes))
    return draw(foliations(graph)).refine(), draw(foliations(graph)).refine()


def inversions(a: Foliation, b: Foliation) -> int:
    pairs = combinations(range(len(a.graph)), 2)
    return sum((a.times[i] < a.times[j]) != (b.times[i] < b.times[j]) for i, j in pairs)


@settings(max_examples=40)
@given(two_orders(max_length=3))
def test_distance_counts_the_pairs_that_two_orders_see_differently(orders):
    a, b = orders
    assert distance(a, b) == distance(b, a) == inversions(a, b)
    assert (distance(a, b) == 0) == (a == b)


@settings(max_examples=40)
@given(two_orders(max_layers=2, max_length=3))
def test_a_path_of_swaps_is_as_short_as_the_distance(orders):
    a, b = orders
    path = list(swap_path(a, b))
    assert (path[0], path[-1], len(path)) == (a, b, distance(a, b) + 1)
    for before, after in pairwise(path):
        first, second = (before.graph[int(i)] for i in np.flatnonzero(before.times != after.times))
        assert swapped(before, first, second) == after and distance(before, after) == 1


@settings(max_examples=40)
@given(two_orders(max_layers=2, max_length=3), st.data())
def test_any_step_of_a_path_is_found_alone(orders, data):
    path = swap_path(*orders)
    steps = list(path)
    k = data.draw(st.integers(-len(path), len(path) - 1))
    assert path[k] == steps[k] and list(path[::-1]) == steps[::-1] and list(path[k:]) == steps[k:]
    with pytest.raises(IndexError):
        path[len(path)]


@settings(max_examples=40)
@given(graphs_with_foliation(max_layers=2, max_length=3))
def test_a_path_of_merges_joins_two_neighbouring_slices_a_step(coarse):
    fine = coarse.refine()
    path = merge_path(fine, coarse)
    assert (path[0], path[-1], len(path)) == (fine, coarse, fine.depth - coarse.depth + 1)
    for before, after in pairwise(path):
        first = int(np.flatnonzero(before.slice_sizes[: after.depth] != after.slice_sizes)[0])
        slices = before.slices()
        joined = (*slices[:first], slices[first] + slices[first + 1], *slices[first + 2 :])
        assert list(map(set, after.slices())) == list(map(set, joined))
    if coarse.width > 1:
        with pytest.raises(InputError, match="refinement"):
            merge_path(coarse, fine)


@settings(max_examples=25)
@given(graphs_with_foliation(max_layers=2, max_length=3))
def test_swaps_are_the_neighbours_that_do_not_read_each_other(foliation):
    order = foliation.refine()
    events = [events[0] for events in order.slices()]
    free = list(adjacent_swaps(order))
    assert free == [(a, b) for a, b in pairwise(events) if a not in order.graph.predecessors(b)]
    for a, b in pairwise(events):
        if (a, b) in free:
            assert inversions(swapped(order, a, b), order) == 1
        else:
            with pytest.raises(CausalityError):
                swapped(order, a, b)


def test_all_orders_are_joined_by_swaps():
    graph = EventGraph(Wiring(3), 2, granularity="block")
    view, start = nx.Graph(), token_major(graph)
    fresh = [start]
    while fresh:
        order = fresh.pop()
        for pair in adjacent_swaps(order):
            other = swapped(order, *pair)
            if other not in view:
                fresh.append(other)
            view.add_edge(order, other)
    assert len(view) == graph.count_linear_extensions()
    lengths = nx.single_source_shortest_path_length(view, start)
    assert all(length == distance(start, order) for order, length in lengths.items())


def test_only_orders_of_one_graph_have_a_distance():
    graph = EventGraph(Wiring(2), 2, granularity="block")
    with pytest.raises(InputError, match=r"one event a slice: got slices of up to 2. refine"):
        distance(layer_major(graph), token_major(graph))
    with pytest.raises(InputError, match="over one graph"):
        distance(token_major(graph), token_major(EventGraph(Wiring(2), 3, granularity="block")))
    with pytest.raises(
        InputError, match=r"neighbours change places: got block\(0,0\) at 0 and block\(1,1\) at 3"
    ):
        swapped(token_major(graph), Event("block", 0, 0), Event("block", 1, 1))


# -- refinement -------------------------------------------------------------------------------------


@given(graphs(max_layers=2, max_length=3), st.data())
def test_refinement_is_by_slices(graph, data):
    a, b = data.draw(foliations(graph)), data.draw(foliations(graph))
    for fine, coarse in ((a, b), (a.refine(), a), (a, a.coarsen()), (a, a), (b, a.coarsen())):
        inside = [set(coarse.times[fine.times == time].tolist()) for time in range(fine.depth)]
        whole = all(len(found) == 1 for found in inside)
        ascending = whole and all(min(a) <= min(b) for a, b in pairwise(inside))
        assert is_refinement(fine, coarse) == ascending
    assert is_refinement(a.refine(), a) and is_refinement(a, a.coarsen())


# -- frames -----------------------------------------------------------------------------------------


@given(graphs_with_foliation(max_length=4))
def test_ticks_are_the_slices_of_one_position(foliation):
    for request, length in enumerate(foliation.graph.lengths):
        for p in range(length):
            own = {foliation.time(e) for e in foliation.graph if (e.position, e.request) == (p, request)}
            assert ticks(foliation, p, request).tolist() == sorted(own)


def test_a_worldline_is_of_a_position():
    order = wavefront(EventGraph(Wiring(1), 3))
    assert ticks(order, 2).tolist() == [2, 3, 4, 5, 6]
    for position, request in ((3, 0), (-1, 0), (0, 1)):
        with pytest.raises(InputError, match="position of the text"):
            ticks(order, position, request)


@given(st.integers(1, 6), st.integers(1, 8))
def test_the_ordering_fraction_of_blocks_has_its_formula(n_layers, length):
    graph = EventGraph(Wiring(n_layers), length, granularity="block")
    expected = Fraction(1, 4) * (1 - Fraction(1, n_layers)) * (1 + Fraction(1, length))
    assert ordering_fraction(graph) == expected


@settings(max_examples=40)
@given(graphs(max_layers=2, max_length=4))
def test_dimension_has_the_fraction_of_the_graph(graph):
    pairs = sum(graph.precedes(a, b) for a in graph for b in graph)
    assert ordering_fraction(graph) == Fraction(pairs, len(graph) ** 2)
    d = dimension(graph)
    if pairs:
        found = gamma(d + 1) * gamma(d / 2) / gamma(3 * d / 2) / 4
        assert found == pytest.approx(pairs / len(graph) ** 2, rel=1e-9)
    else:
        assert d == inf


def test_blocks_are_two_dimensional_at_one_more_layer_than_positions():
    for length in (1, 2, 5, 9):
        graph = EventGraph(Wiring(length + 1), length, granularity="block")
        assert dimension(graph) == pytest.approx(2, abs=1e-9)
    assert dimension(EventGraph(Wiring(1), 4, granularity="block")) == inf
    for deep in (EventGraph(Wiring(126), 131_072), EventGraph(Wiring(2000), 1)):
        with pytest.raises(LimitError) as caught:
            dimension(deep)
        assert caught.value.reached == len(deep) * len(deep.sites) > caught.value.bound


def test_chunks_refine_prefill_only_if_they_are_one():
    graph = EventGraph(Wiring(2), 4)
    assert is_refinement(chunked(graph, 4), layer_major(graph))
    assert not is_refinement(chunked(graph, 2), layer_major(graph))
