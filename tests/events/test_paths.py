"""Directed paths against networkx's enumeration, and against counts from the events themselves."""

from __future__ import annotations

from itertools import islice, pairwise

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causalsim.errors import InputError, LimitError
from causalsim.events import Event, EventGraph, Wiring
from causalsim.testing.strategies import graphs
from tests.graphs import events_with


@given(graphs(max_layers=2, max_length=3), st.data())
def test_paths_equal_enumeration(graph, data):
    a, b = events_with(graph, data, 2)
    view = nx.DiGraph(graph.to_networkx())
    listed = [[a]] if a == b else list(nx.all_simple_paths(view, a, b))
    assert graph.count_paths(a, b) == len(listed)
    assert graph.count_paths(a, b, bypass=True) == sum(_ways(graph, path) for path in listed)
    found = list(graph.paths(a, b))
    assert len(found) == len(listed) and set(found) == set(map(tuple, listed))


def _ways(graph, path):
    skipped = ("attn",) if graph.wiring.parallel_residual else ("attn", "mlp")
    total = 1
    for source, target in pairwise(path):
        total *= 2 if target.kind in skipped and source.kind != "kv" else 1
    return total


@given(graphs(max_layers=3, max_length=7), st.data())
def test_paths_are_counted_from_predecessor_to_predecessor(graph, data):
    """The definition, where the paths are too many to list."""
    a, b = events_with(graph, data, 2)
    counts = {a: 1}
    for event in list(graph)[graph.index(a) + 1 :]:
        counts[event] = sum(counts.get(source, 0) for source in graph.predecessors(event))
    assert graph.count_paths(a, b) == counts.get(b, 0)


def test_the_first_paths_come_in_the_order_of_the_edges():
    graph = EventGraph(Wiring(2), 3)
    a, b = Event("kv", 0, 0), Event("attn", 1, 2)
    found = list(graph.paths(a, b))
    order = {event: [edge.target for edge in graph.edges_from(event)] for event in graph}
    keys = [[order[x].index(y) for x, y in pairwise(path)] for path in found]
    assert keys == sorted(keys)
    assert [str(event) for event in found[0]] == ["kv(0,0)", "attn(0,0)", "mlp(0,0)", "kv(1,0)", "attn(1,2)"]
    assert list(graph.paths(b, a)) == [] and list(graph.paths(a, a)) == [(a,)]
    with pytest.raises(InputError, match="position 3"):
        list(graph.paths(a, Event("attn", 1, 3)))


def test_the_first_paths_of_a_deployment_and_a_refusal_at_once():
    graph = EventGraph(Wiring(126), 131_072)
    ends = Event("embed", -1, 0), Event("unembed", 126, 10)
    first, second = islice(graph.paths(*ends), 2)
    assert len(first) == 380 and first != second
    assert all(source in graph.predecessors(target) for source, target in pairwise(second))
    with pytest.raises(LimitError, match="a count of paths") as caught:
        graph.count_paths(ends[0], Event("unembed", 126, 131_071))
    assert caught.value.reached > caught.value.bound


def test_long_numbers_are_dropped_behind_the_last_that_looks_back():
    """Feedback makes them grow with the text; a window looks back further than one position."""
    short = EventGraph(Wiring(1, windows=3), 30, prompt=2)
    a, b = Event("embed", -1, 0), Event("unembed", 1, 29)
    counts = {a: 1}
    for event in list(short)[1:]:
        counts[event] = sum(counts.get(source, 0) for source in short.predecessors(event))
    assert short.count_paths(a, b) == counts[b]
