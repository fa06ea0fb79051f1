"""States and their branches against all orders; maximal antichains against networkx."""

from __future__ import annotations

from itertools import pairwise

import networkx as nx
import pytest
from hypothesis import given, settings

from causalsim import posets
from causalsim.errors import InputError, LimitError
from causalsim.events import Event, EventGraph, Wiring, branchial_graph, maximal_antichains, state_graph
from causalsim.testing.strategies import graphs
from tests.posets.specimens import Poset, blocks, brute_down_sets
from tests.posets.specimens import posets as small_posets


def small_graphs():
    return graphs(max_layers=2, max_length=3).filter(lambda graph: graph.count_linear_extensions() <= 200)


@given(small_posets(max_size=8))
def test_maximal_antichains_are_maximal_cliques_of_what_is_not_comparable(poset: Poset) -> None:
    past = posets.closure(poset)
    apart = nx.Graph()
    apart.add_nodes_from(range(len(poset)))
    apart.add_edges_from((j, i) for i in range(len(poset)) for j in range(i) if not past[i] >> j & 1)
    found = list(posets.maximal_antichains(poset))
    assert found == sorted(found)
    expected = sorted(sorted(clique) for clique in nx.find_cliques(apart)) if poset else [[]]
    assert found == expected


@given(small_graphs())
def test_maximal_antichains_of_graphs(graph):
    for antichain in maximal_antichains(graph):
        assert not any(graph.precedes(a, b) for a in antichain for b in antichain)
        others = set(graph) - set(antichain)
        assert all(any(graph.separation(a, b) == "timelike" for a in antichain) for b in others)
    assert max(map(len, maximal_antichains(graph))) == graph.width


def test_maximal_antichains_are_lazy():
    poset = blocks(6, 20)
    assert next(posets.maximal_antichains(poset)) == list(range(20))


@settings(max_examples=30)
@given(small_graphs())
def test_paths_of_states_are_the_linear_extensions(graph):
    view = state_graph(graph)
    assert list(view) == list(graph.down_sets())
    assert all(view.nodes[state]["step"] == len(state) for state in view)
    orders = {
        tuple(view.edges[pair]["event"] for pair in pairwise(path))
        for path in nx.all_simple_paths(view, frozenset(), frozenset(graph))
    }
    assert orders == set(graph.linear_extensions())


@settings(max_examples=30)
@given(small_graphs())
def test_branches_are_pairs_of_states_with_a_common_one_before(graph):
    states = state_graph(graph)
    for step in range(len(graph) + 1):
        view = branchial_graph(graph, step)
        here = [state for state in states if len(state) == step]
        assert list(view) == here
        expected = {
            frozenset((a, b)) for a in here for b in here
            if a != b and set(states.predecessors(a)) & set(states.predecessors(b))
        }  # fmt: skip
        assert {frozenset(edge) for edge in view.edges} == expected
        for a, b, pair in view.edges(data="events"):
            assert a ^ b == set(pair)


def test_states_have_a_limit_and_steps():
    graph = EventGraph(Wiring(3), 3, granularity="block")
    assert len(brute_down_sets(blocks(3, 3))) == 38 == state_graph(graph, limit=38).number_of_nodes()
    with pytest.raises(LimitError):
        state_graph(graph, limit=37)
    with pytest.raises(LimitError):
        branchial_graph(graph, 9, limit=37)
    with pytest.raises(InputError, match="0 to 9"):
        branchial_graph(graph, 10)
    assert list(branchial_graph(graph, 0)) == [frozenset()]
    assert Event("block", 0, 2) in next(iter(branchial_graph(graph, 9)))


def test_pairs_that_could_swap_have_the_limit_too():
    flat = EventGraph(Wiring(1), 40, granularity="block")
    assert branchial_graph(flat, 1, limit=780).number_of_edges() == 780
    with pytest.raises(LimitError, match="pairs of events that could swap") as caught:
        branchial_graph(flat, 1, limit=779)
    assert (caught.value.reached, caught.value.bound) == (780, 779)
    assert len(branchial_graph(flat, 0, limit=1)) == 1
