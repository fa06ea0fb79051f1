"""Closed forms of the order against tables, matchings and reachability."""

from __future__ import annotations

import sys
from functools import partial
from itertools import pairwise

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causalsim import posets
from causalsim.errors import LimitError
from causalsim.events import (
    Event,
    EventGraph,
    Wiring,
    chain_cover,
    count_lattice_edges,
    diamond,
    growth,
    largest_antichain,
    state_graph,
)
from causalsim.events.cones import Cone
from causalsim.events.lattice import has_closed_form, refuse_large
from causalsim.foliations import random_down_set, random_linear_extension
from causalsim.testing.strategies import graphs
from tests.graphs import events_with


def small_graphs():
    """Graphs whose tables are small."""
    return graphs(max_layers=2, max_length=4).filter(lambda graph: sum(graph.lengths) <= 5)


@given(small_graphs())
def test_counts_of_down_sets_and_of_their_edges_equal_the_tables(graph):
    table = posets.lattice_counts(graph.explicit())
    assert graph.count_down_sets() == table.down_sets
    assert count_lattice_edges(graph) == table.lattice_edges


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("granularity", ["block", "sublayer"])
@pytest.mark.parametrize(("n_layers", "lengths"), [(1, 4), (2, 4), (3, 3), (2, (1, 3)), (4, 2)])
def test_closed_forms_of_full_attention(n_layers, lengths, granularity, parallel):
    graph = EventGraph(Wiring(n_layers, parallel_residual=parallel), lengths, granularity=granularity)
    assert has_closed_form(graph)
    table = posets.lattice_counts(graph.explicit())
    assert (graph.count_down_sets(), count_lattice_edges(graph)) == (table.down_sets, table.lattice_edges)


def test_a_window_as_long_as_the_text_is_none():
    wide, narrow = (EventGraph(Wiring(2, windows=w), 4) for w in (4, 3))
    assert has_closed_form(wide) and not has_closed_form(narrow)
    assert wide.count_down_sets() == EventGraph(Wiring(2), 4).count_down_sets() < narrow.count_down_sets()


def test_counts_far_beyond_any_table():
    graph = EventGraph(Wiring(12), 100)
    assert graph.count_down_sets() > 10**50
    with pytest.raises(LimitError, match="sums over layers"):
        EventGraph(Wiring(126), 131_072).count_down_sets()


@given(small_graphs(), st.integers(1, 200))
def test_limits_are_known_beforehand_or_found_on_the_way_but_are_the_same(graph, limit):
    def excess(call):
        try:
            return call(limit=limit)
        except LimitError as error:
            return error.reached > error.bound == limit

    on_the_way = partial(posets.count_linear_extensions, graph.explicit())
    assert excess(graph.count_linear_extensions) == excess(on_the_way) is not False


@given(small_graphs(), st.integers(1, 200))
def test_what_is_refused_beforehand_has_more_down_sets(graph, limit):
    for whole in (False, True):
        found = None
        try:
            refuse_large(graph, limit, whole=whole)
        except LimitError as error:
            found = error
        held = posets.lattice_counts(graph.explicit()).down_sets
        assert found is None or limit == found.bound < found.reached <= held


HUGE = [
    EventGraph(Wiring(4, windows=4), 200),
    EventGraph(Wiring(1, windows=2), 5000),
    EventGraph(Wiring(30, windows=[3, None] * 15), 40, granularity="block"),
    EventGraph(Wiring(4), 100, prompt=50),
    EventGraph(Wiring(3, windows=3, parallel_residual=True), [100, 7]),
    EventGraph(Wiring(126, windows=4096), 131_072),
    EventGraph(Wiring(126), 131_072, prompt=1000),
]


@pytest.mark.parametrize("graph", HUGE, ids=repr)
@pytest.mark.parametrize(
    "count",
    [
        EventGraph.count_linear_extensions,
        EventGraph.count_down_sets,
        count_lattice_edges,
        state_graph,
        partial(random_down_set, seed=0),
        partial(random_linear_extension, seed=0),
    ],
    ids=["extensions", "down-sets", "lattice edges", "states", "a down-set", "an order"],
)
def test_what_no_closed_form_counts_is_refused_without_a_table(count, graph, monkeypatch):
    """At once: neither a table nor a list of events is begun."""

    def spend(budget, *_):
        if budget.bound < sys.maxsize:
            pytest.fail("a table was begun")

    monkeypatch.setattr("causalsim.posets.growth.Budget.spend", spend)
    with pytest.raises(LimitError) as caught:
        count(graph)
    assert caught.value.reached > caught.value.bound


def test_side_by_side_columns_are_no_lattice_of_one_column():
    """A window of one position: tables are small, the lattice as a whole is not."""
    graph = EventGraph(Wiring(2, windows=1), 500)
    column = EventGraph(Wiring(2), 1).count_down_sets()
    refuse_large(graph, 1000)
    assert graph.count_down_sets() == column**500
    with pytest.raises(LimitError):
        refuse_large(graph, 1000, whole=True)
    # The window of the first layer of blocks bounds nothing: its K/V is made of the embeddings.
    blocks = EventGraph(Wiring(2, windows=[None, 1]), 40, granularity="block")
    refuse_large(blocks, 10)
    assert blocks.count_down_sets(limit=1000) == 3**40


# -- Dilworth -----------------------------------------------------------------------------------


@given(graphs(max_layers=2, max_length=4))
def test_the_largest_antichain_and_the_chain_cover_are_witnesses_of_the_width(graph):
    antichain, chains = list(largest_antichain(graph)), [list(chain) for chain in chain_cover(graph)]
    assert len(antichain) == len(chains) == graph.width == posets.width(graph.explicit())
    assert not any(graph.precedes(a, b) for a in antichain for b in antichain)
    assert antichain == sorted(set(antichain), key=graph.index)
    assert sorted(map(graph.index, (event for chain in chains for event in chain))) == list(range(len(graph)))
    assert all(graph.precedes(a, b) for chain in chains for a, b in pairwise(chain))


# -- cones ----------------------------------------------------------------------------------------


@given(graphs(max_length=4), st.data())
def test_the_diamond_holds_what_lies_between(graph, data):
    a, b = events_with(graph, data, 2)
    view = nx.DiGraph(graph.to_networkx())
    between = diamond(graph, a, b)
    expected = nx.descendants(view, a) & nx.ancestors(view, b)
    assert set(between) == expected and len(between) == len(expected)
    assert graph.past(a) & {a, b} == {b} & set(graph.past(a))


@given(graphs(max_length=5), st.data())
def test_growth_counts_the_positions_of_each_layer(graph, data):
    (event,) = events_with(graph, data, 1)
    for cone in (graph.past(event), graph.future(event)):
        assert isinstance(cone, Cone)
        layers = {other.layer for other in cone}
        expected = {k: len({e.position for e in cone if e.layer == k}) for k in sorted(layers)}
        assert list(growth(cone).items()) == list(expected.items())


@given(st.lists(st.none() | st.integers(1, 5), min_size=1, max_size=5), st.integers(1, 20), st.data())
def test_growth_has_its_closed_form(windows, length, data):
    """One position, and W-1 more for every attention up to the event's own, as far as the text goes."""
    graph = EventGraph(Wiring(len(windows), windows=windows), length)
    layer = data.draw(st.integers(0, len(windows) - 1))
    p = data.draw(st.integers(0, length - 1))
    reached = growth(graph.past(Event("attn", layer, p)))
    for k in range(layer + 1):
        spread = sum(length if w is None else w - 1 for w in windows[k : layer + 1])
        assert reached[k] == min(p + 1, 1 + spread)
    assert reached[-1] == reached[0]


def test_cones_of_a_deployment_take_no_time():
    graph = EventGraph(Wiring(126), 131_072)
    a, b = Event("kv", 0, 0), Event("attn", 125, 131_071)
    assert len(diamond(graph, a, b)) == (2 + 124 * 3 + 1) * 131_072
