"""Cones, chosen events, routes: what stands out is what was asked for, and nothing else fades."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causalsim.errors import InputError
from causalsim.events import Edge, Event, EventGraph, Wiring
from causalsim.rendering import Style, edge_id, event_id, route_edges, to_graphviz
from causalsim.rendering.highlight import roles
from causalsim.testing.strategies import graphs, wirings
from tests.rendering.drawn import elements, legend

drawn = settings(max_examples=25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("highlights")


@drawn
@given(graphs(), st.data())
def test_the_cones_of_an_event_are_its_past_and_future_and_the_rest_is_spacelike(folder, graph, data):
    focus = graph[data.draw(st.integers(0, len(graph) - 1))]
    picture = to_graphviz(graph, highlight=focus)
    by_role = {
        role: {node.id for node in elements(picture, folder, "event", role)}
        for role in ("past", "future", "spacelike", "focus")
    }
    assert by_role["past"] == set(map(event_id, graph.past(focus)))
    assert by_role["future"] == set(map(event_id, graph.future(focus)))
    assert by_role["focus"] == {event_id(focus)}
    assert by_role["spacelike"] == {
        event_id(event) for event in graph if graph.separation(event, focus) == "spacelike"
    }
    assert sum(map(len, by_role.values())) == len(graph)
    counts = [f"{role} ({len(by_role[role])})" for role in ("past", "future", "spacelike") if by_role[role]]
    assert all(count in legend(picture, folder) for count in [*counts, str(focus)])


@given(graphs(), st.data())
def test_an_edge_is_in_a_cone_if_both_its_ends_are(graph, data):
    focus = graph[data.draw(st.integers(0, len(graph) - 1))]
    found = roles(graph, focus)
    for edge in graph.edges():
        inside = {
            "past": {edge.source, edge.target} <= graph.past(focus) | {focus},
            "future": {edge.source, edge.target} <= graph.future(focus) | {focus},
        }
        role = found.of_edge(edge)
        assert [name for name, holds in inside.items() if holds] == ([role] if role != "faded" else [])


@drawn
@given(graphs(), st.data())
def test_chosen_events_stand_out_and_the_others_fade(folder, graph, data):
    chosen = set(data.draw(st.lists(st.sampled_from(list(graph)), min_size=1)))
    picture = to_graphviz(graph, highlight=chosen)
    marked = elements(picture, folder, "event", "marked")
    assert {node.id for node in marked} == set(map(event_id, chosen))
    assert all(Style().route in node.colours for node in marked)
    assert len(elements(picture, folder, "event", "faded")) == len(graph) - len(chosen)
    kept = {edge.id for edge in elements(picture, folder, "edge") if not edge.classes & {"faded", "legend"}}
    assert kept == {edge_id(edge) for edge in graph.edges() if {edge.source, edge.target} <= chosen}


@drawn
@given(graphs(), st.data())
def test_chosen_edges_are_drawn_as_routes_and_nothing_fades(folder, graph, data):
    edges = list(graph.edges())
    chosen = set(data.draw(st.lists(st.sampled_from(edges)))) if edges else set()
    picture = to_graphviz(graph, highlight=chosen)
    marked = elements(picture, folder, "edge", "marked")
    assert {edge.id for edge in marked} == set(map(edge_id, chosen))
    assert all(Style().route in edge.colours for edge in marked)
    assert not elements(picture, folder, "faded")
    assert ("route" in legend(picture, folder)) == bool(chosen)


@given(wirings(), st.integers(1, 5), st.data())
def test_a_route_is_a_path_from_end_to_end_that_rises_where_it_says(wiring, length, data):
    graph = EventGraph(wiring, length)
    low, high = (data.draw(st.integers(0, wiring.n_layers - 1)) for _ in range(2))
    a, b = (
        Event("kv", min(low, high), 0),
        Event("attn", max(low, high), data.draw(st.integers(0, length - 1))),
    )
    found = set()
    for rises in graph.routes(a, b):
        edges = route_edges(graph, a, b, rises)
        assert edges[0].source == a
        assert edges[-1].target == b
        assert all(before.target == after.source for before, after in pairwise(edges))
        assert set(edges) <= set(graph.edges())
        assert tuple(e.target.position for e in edges if e.target.kind == "kv") == rises
        found.add(tuple(edges))
    assert len(found) == graph.count_routes(a, b)


@pytest.mark.parametrize(
    ("a", "b", "rises"),
    [
        (Event("kv", 0, 0), Event("attn", 1, 2), ()),
        (Event("kv", 0, 0), Event("attn", 1, 2), (0, 1)),
        (Event("kv", 0, 1), Event("attn", 1, 2), (0,)),
        (Event("kv", 0, 0), Event("attn", 1, 1), (2,)),
        (Event("kv", 0, 0), Event("attn", 1, 2), (7,)),
        (Event("attn", 0, 0), Event("attn", 1, 2), (1,)),
        (Event("kv", 0, 0), Event("mlp", 1, 2), (1,)),
        (Event("kv", 0, 0), Event("attn", 5, 2), (1,)),
    ],
)
def test_rises_that_are_no_route_are_refused(a, b, rises):
    with pytest.raises(InputError):
        route_edges(EventGraph(Wiring(2), 3), a, b, rises)


def test_the_three_routes_of_the_source_are_orange(folder):
    graph = EventGraph(Wiring(2), 3)
    a, b = Event("kv", 0, 0), Event("attn", 1, 2)
    routes = [route_edges(graph, a, b, rises) for rises in graph.routes(a, b)]
    assert len(routes) == 3
    marked = {edge.id for edge in elements(to_graphviz(graph, highlight=routes), folder, "edge", "marked")}
    assert marked == {edge_id(edge) for route in routes for edge in route}
    as_paths = [(a, *(edge.target for edge in route)) for route in routes]
    assert to_graphviz(graph, highlight=as_paths).source == to_graphviz(graph, highlight=routes).source


def test_a_cone_is_a_set_of_events_like_any_other():
    graph = EventGraph(Wiring(2), 3)
    past = graph.past(Event("attn", 1, 1))
    assert to_graphviz(graph, highlight=past).source == to_graphviz(graph, highlight=list(past)).source


def test_events_and_edges_together_fade_the_rest():
    graph = EventGraph(Wiring(1), 2)
    edge = Edge(Event("kv", 0, 0), Event("attn", 0, 1), "kv")
    found = roles(graph, [edge, Event("embed", -1, 0)])
    assert {event for event, role in found.events.items() if role == "marked"} == {
        edge.source,
        edge.target,
        Event("embed", -1, 0),
    }
    assert found.marked == {edge}


@pytest.mark.parametrize(
    ("highlight", "words"),
    [
        (Event("attn", 7, 0), "no layer 7"),
        ([Event("attn", 0, 9)], "outside the text"),
        ([Event("block", 0, 0)], "no kind 'block'"),
        ([Edge(Event("kv", 0, 1), Event("attn", 0, 0), "kv")], "is an edge of the graph"),
        ([Edge(Event("kv", 0, 0), Event("attn", 0, 0), "token")], r"\[token\]"),
        ([(Event("embed", -1, 0), Event("mlp", 0, 0))], "names every event"),
        ("attn(0,1)", "iterable of Events"),
        (["attn(0,1)"], "iterable of Events"),
        (7, "iterable of Events"),
    ],
)
def test_what_is_not_of_the_graph_is_refused(highlight, words):
    with pytest.raises(InputError, match=words):
        to_graphviz(EventGraph(Wiring(1), 2), highlight=highlight)
