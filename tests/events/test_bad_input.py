"""Things that are no graph, no event of it, no light cone and no step, refused in one form."""

from __future__ import annotations

import pytest

from causalsim.errors import InputError
from causalsim.events import (
    Event,
    EventGraph,
    Wiring,
    branchial_graph,
    chain_cover,
    count_lattice_edges,
    diamond,
    growth,
    largest_antichain,
    maximal_antichains,
    parse_edge,
    parse_event,
    state_graph,
)

GRAPH = EventGraph(Wiring(2), 3)
A, B = Event("kv", 0, 0), Event("attn", 1, 2)
OTHERS = [None, -1, 1.5, "a", [], {"a": 3}, Wiring(2), A]
COUNTS = [None, -1, 1.5, True, "a", [1]]


@pytest.mark.parametrize("given", OTHERS, ids=repr)
def test_what_is_no_graph(given):
    calls = [
        count_lattice_edges,
        state_graph,
        lambda graph: branchial_graph(graph, 1),
        lambda graph: list(maximal_antichains(graph)),
        lambda graph: list(largest_antichain(graph)),
        lambda graph: list(chain_cover(graph)),
        lambda graph: diamond(graph, A, B),
    ]
    for call in calls:
        with pytest.raises(InputError, match="a graph must be of type EventGraph: got"):
            call(given)


@pytest.mark.parametrize("given", [*OTHERS[:6], Event("block", 0, 0), Event("kv", 5, 0), Event("kv", 0, -1)])
def test_what_is_no_event_of_the_graph(given):
    asked = [GRAPH.index, GRAPH.past, GRAPH.future, GRAPH.predecessors, GRAPH.successors]
    calls = [
        *asked,
        *(lambda event, call=call: list(call(event)) for call in (GRAPH.edges_into, GRAPH.edges_from)),
    ]
    pairs = [GRAPH.precedes, GRAPH.separation, GRAPH.count_routes, GRAPH.count_paths]
    pairs += [lambda a, b: list(GRAPH.paths(a, b)), lambda a, b: diamond(GRAPH, a, b)]
    calls += [lambda event, call=call: call(event, B) for call in pairs]
    calls += [lambda event, call=call: call(A, event) for call in pairs]
    for call in calls:
        with pytest.raises(InputError, match=r"got .*expected layers 0..1, positions 0..2"):
            call(given)


@pytest.mark.parametrize("given", [*OTHERS, GRAPH, frozenset([A])], ids=repr)
def test_what_is_no_light_cone(given):
    with pytest.raises(InputError, match=r"a light cone must be of type Cone: got .*graph\.past"):
        growth(given)


@pytest.mark.parametrize("given", COUNTS, ids=repr)
def test_what_is_no_step_no_limit_and_no_switch(given):
    with pytest.raises(InputError, match="a step counts the events that have run"):
        branchial_graph(GRAPH, given)
    for count in (GRAPH.count_down_sets, GRAPH.count_linear_extensions):
        with pytest.raises(InputError, match="a limit is a whole number"):
            count(limit=given)
    for count in (count_lattice_edges, state_graph):
        with pytest.raises(InputError, match="a limit is a whole number"):
            count(GRAPH, limit=given)
    if given is not True:
        with pytest.raises(InputError, match="bypass must be of type bool"):
            GRAPH.count_paths(A, B, bypass=given)


@pytest.mark.parametrize("given", [None, 1.5, "a", True, [0]], ids=repr)
def test_what_is_no_canonical_index(given):
    with pytest.raises(InputError, match="a canonical index is a whole number"):
        GRAPH[given]


@pytest.mark.parametrize("given", [None, 3, b"kv(0,0)", ["kv(0,0)"]], ids=repr)
def test_what_is_no_text(given):
    with pytest.raises(InputError, match="an event's text must be of type str"):
        parse_event(given, 2)
    with pytest.raises(InputError, match="an edge's text must be of type str"):
        parse_edge(given, 2)
    if given != 3:
        with pytest.raises(InputError, match="n_layers is a whole number"):
            parse_event("unembed(0)", given)


@pytest.mark.parametrize("given", [None, "head", 3, ["block"]], ids=repr)
def test_what_is_no_granularity(given):
    for ask in (Wiring(2).sites, Wiring(2).edge_families, lambda g: EventGraph(Wiring(2), 3, granularity=g)):
        with pytest.raises(InputError, match="one of the known granularities"):
            ask(given)


@pytest.mark.parametrize("given", ["3", b"x", {3}, None])
def test_what_is_no_length(given):
    with pytest.raises(InputError, match="length is a whole number of at least 1"):
        EventGraph(Wiring(2), given)
