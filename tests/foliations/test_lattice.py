"""Finer, coarser, earlier, later: each operation gives a foliation, and the one it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causalsim.errors import InputError
from causalsim.events import EventGraph, Wiring
from causalsim.foliations import Foliation, earliest, layer_major, token_major
from causalsim.testing.strategies import foliations, graphs
from tests.foliations.support import backwards, dense, graphs_with_foliation


@given(graphs_with_foliation())
def test_refine_is_the_linear_extension_that_splits_slices_in_canonical_order(foliation):
    fine = foliation.refine()
    assert fine.depth == len(foliation.graph) and fine.width == 1
    assert not backwards(foliation.graph, fine.times)
    expected = [event for events in foliation.slices() for event in events]
    assert [events[0] for events in fine.slices()] == expected
    assert fine.refine() == fine


def _merges(foliation: Foliation) -> list[int]:
    """The greedy merging of the design, by pasts: the group of every slice."""
    graph, groups, members = foliation.graph, [], []
    for events in foliation.slices():
        past = {source for event in events for source in graph.past(event)}
        if not groups or past & set(members):
            groups.append((groups[-1] if groups else -1) + 1)
            members = list(events)
        else:
            groups.append(groups[-1])
            members += events
    return groups


@given(graphs_with_foliation(max_layers=2, max_length=4))
def test_coarsen_merges_neighbours_greedily_while_they_are_antichains(foliation):
    coarse = foliation.coarsen()
    groups = _merges(foliation)
    assert coarse.times.tolist() == [groups[time] for time in foliation.times]
    assert coarse.depth <= foliation.depth and not backwards(foliation.graph, coarse.times)
    assert coarse.coarsen() == coarse


@given(graphs_with_foliation(max_layers=2, max_length=4))
def test_nothing_is_left_to_merge_after_coarsen(foliation):
    coarse = foliation.coarsen()
    for time in range(coarse.depth - 1):
        merged = coarse.times - (coarse.times > time)
        assert backwards(foliation.graph, merged)


@given(graphs(max_length=4), st.data())
def test_meet_and_join_are_pointwise_and_valid(graph, data):
    a, b = data.draw(foliations(graph)), data.draw(foliations(graph))
    meet, join = a.meet(b), a.join(b)
    assert meet.times.tolist() == dense([min(pair) for pair in zip(a.times, b.times, strict=True)]).tolist()
    assert join.times.tolist() == dense([max(pair) for pair in zip(a.times, b.times, strict=True)]).tolist()
    assert meet == b.meet(a) and join == b.join(a)
    assert a.meet(a) == a == a.join(a)
    assert a.meet(earliest(graph)) == earliest(graph) and a.join(earliest(graph)) == a


def test_meet_and_join_stay_on_one_graph():
    here, there = EventGraph(Wiring(1), 2), EventGraph(Wiring(1), 3)
    for combine in (Foliation.meet, Foliation.join):
        with pytest.raises(InputError, match=r"one graph: got .*expected"):
            combine(layer_major(here), layer_major(there))


def test_an_example_by_hand():
    blocks = EventGraph(Wiring(2), 2, granularity="block")
    decode = token_major(blocks)
    assert decode.times.tolist() == [0, 1, 2, 3]
    assert decode.coarsen().times.tolist() == [0, 1, 1, 2]  # block(0,1) does not read block(1,0)
    assert layer_major(blocks).refine().times.tolist() == [0, 2, 1, 3]
