"""A foliation exists exactly if no edge runs backwards, and it is a value."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causalsim.errors import CausalityError
from causalsim.events import Edge, Event, EventGraph, Wiring
from causalsim.foliations import Foliation
from causalsim.testing.strategies import graphs
from tests.foliations.support import backwards, dense, disturbed_times, graphs_with_foliation, times_of


@given(graphs(), st.data())
def test_exactly_the_times_that_no_edge_runs_against_are_accepted(graph, data):
    times = data.draw(disturbed_times(graph))
    broken = backwards(graph, times)
    if not broken:
        assert Foliation(graph, times).times.tolist() == dense(times).tolist()
        return
    with pytest.raises(CausalityError) as caught:
        Foliation(graph, times)
    edge = caught.value.edge
    assert isinstance(edge, Edge) and edge in set(graph.edges())
    assert edge[:2] in broken
    assert str(edge) in str(caught.value) and f"time {times[graph.index(edge.source)]}" in str(caught.value)


@given(graphs(max_layers=2, max_length=3), st.data())
def test_each_single_edge_is_guarded(graph, data):
    """Moving a target to the time of its source is refused whichever edge it is."""
    times = data.draw(times_of(graph))
    for edge in graph.edges():
        moved = list(times)
        moved[graph.index(edge.target)] = moved[graph.index(edge.source)]
        with pytest.raises(CausalityError) as caught:
            Foliation(graph, moved)
        assert caught.value.edge[:2] in backwards(graph, moved)


@given(graphs(), st.data(), st.integers(-(2**40), 2**40), st.integers(1, 2**20))
def test_only_the_ranks_of_times_matter(graph, data, shift, scale):
    times = np.array(data.draw(times_of(graph)), np.int64)
    plain = Foliation(graph, times)
    moved = Foliation(graph, times * scale + shift)
    assert plain == moved and hash(plain) == hash(moved) and repr(plain) == repr(moved)
    assert np.array_equal(np.unique(plain.times), np.arange(plain.depth))
    for dtype in (np.int16, np.uint16, np.uint64):
        assert Foliation(graph, times.astype(dtype)) == plain


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int64, np.uint64])
@given(data=st.data())
def test_times_span_the_whole_range_of_their_type(dtype, data):
    graph, bounds = EventGraph(Wiring(1), 1), np.iinfo(dtype)
    whole = st.integers(int(bounds.min), int(bounds.max)) | st.sampled_from(
        [int(bounds.min), int(bounds.max)]
    )
    times = data.draw(st.lists(whole, min_size=5, max_size=5))
    array = np.array(times, dtype)
    if times == sorted(set(times)):
        assert Foliation(graph, array).times.tolist() == [0, 1, 2, 3, 4]
    else:
        with pytest.raises(CausalityError):
            Foliation(graph, array)


@given(graphs_with_foliation())
def test_slices_are_antichains_that_hold_every_event_once(foliation):
    slices = foliation.slices()
    graph = foliation.graph
    assert sorted(map(graph.index, (event for events in slices for event in events))) == list(
        range(len(graph))
    )
    assert len(slices) == foliation.depth and max(map(len, slices)) == foliation.width
    assert [len(events) for events in slices] == foliation.slice_sizes.tolist()
    for time, events in enumerate(slices):
        assert [graph.index(event) for event in events] == sorted(map(graph.index, events))
        assert {foliation.time(event) for event in events} == {time}
        earlier = set(events[:1])
        assert all(not earlier & set(graph.past(event)) for event in events)
    assert graph.depth <= foliation.depth <= len(graph) and foliation.width <= graph.width


@given(graphs(max_length=3), st.data())
def test_equal_means_the_same_graph_and_the_same_ranks(graph, data):
    first, second = (Foliation(graph, data.draw(times_of(graph))) for _ in range(2))
    assert (first == second) == (first.times.tolist() == second.times.tolist())
    assert first != "foliation" and first == Foliation(graph, first.times)
    assert len({first, copy.copy(first), pickle.loads(pickle.dumps(first))}) == 1


def test_the_same_ranks_over_another_graph_are_another_foliation():
    times = [0, 1, 2, 3, 4] * 2
    plain, parallel = (EventGraph(Wiring(1, parallel_residual=flag), 2) for flag in (False, True))
    assert Foliation(plain, times) != Foliation(parallel, times)


def test_what_was_given_can_change_afterwards():
    graph = EventGraph(Wiring(1), 1)
    times = np.arange(5, dtype=np.int32)
    foliation = Foliation(graph, times)
    times[:] = 0
    assert foliation.times.tolist() == [0, 1, 2, 3, 4]
    back = pickle.loads(pickle.dumps(foliation))
    for value in (foliation, back):
        with pytest.raises(ValueError, match="read-only"):
            value.times[0] = 3
        with pytest.raises(AttributeError):
            value.times = times
        with pytest.raises(AttributeError):
            value.graph = graph


def test_errors_survive_pickling_with_their_edge():
    graph = EventGraph(Wiring(1), 1)
    with pytest.raises(CausalityError) as caught:
        Foliation(graph, [0, 2, 1, 3, 4])
    back = pickle.loads(pickle.dumps(caught.value))
    assert back.edge == Edge(Event("kv", 0, 0), Event("attn", 0, 0), "kv") and str(back) == str(caught.value)


def test_times_near_the_limits_of_integers():
    graph = EventGraph(Wiring(1), 1)
    low, high = -(2**63), 2**63 - 1
    assert Foliation(graph, [low, 0, 1, 2, high]).depth == 5
    assert Foliation(graph, np.array([0, 1, 2, 3, 2**64 - 1], np.uint64)).depth == 5
    with pytest.raises(CausalityError):
        Foliation(graph, [high, 0, 1, 2, low])
