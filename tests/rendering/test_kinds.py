"""Pictures of graphs with a kind that rendering has never heard of."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise

import pytest

from causalsim.errors import InputError
from causalsim.events import KINDS, Event, EventGraph, Kind, Wiring
from causalsim.events.kinds import registered
from causalsim.foliations import earliest, latest
from causalsim.rendering import Style, edge_id, event_id, route_edges, to_graphviz
from causalsim.rendering.layout import Layout
from tests.rendering.drawn import elements, legend, line_heights, places

ADAPTER = Kind("adapter", "layer", ("residual",), "residual", (("d_model",),), "adapter", "ad", "#b45309")
READER = replace(
    ADAPTER, name="reader", reads=("residual", "kv"), title="second reader", label="2nd", shape="circle"
)
COLUMNS = {
    "after": (("kv", "attn", "mlp", "adapter"), False),
    "before": (("adapter", "kv", "attn", "mlp"), False),
    "between": (("kv", "attn", "adapter", "mlp"), False),
    "beside": (("kv", "attn", "mlp", "adapter"), True),
    "reading": (("kv", "attn", "reader", "adapter"), False),
    "reading beside": (("kv", "reader", "attn", "adapter"), True),
}


@pytest.fixture(params=COLUMNS, ids=str)
def graph(request):
    sublayers, parallel = COLUMNS[request.param]
    with registered(ADAPTER), registered(READER):
        yield EventGraph(Wiring(2, parallel_residual=parallel, sublayers=sublayers), [4, 2], prompt=[2, 2])


def test_every_event_and_edge_is_drawn_in_its_kinds_colour(graph, tmp_path):
    picture = to_graphviz(graph)
    nodes = {node.id: node for node in elements(picture, tmp_path, "event")}
    assert sorted(nodes) == sorted(map(event_id, graph))
    assert all(KINDS[event.kind].colour in nodes[event_id(event)].colours for event in graph)
    edges = [
        edge.id
        for stream in ("residual", "kv", "token")
        for edge in elements(picture, tmp_path, "edge", stream)
    ]
    assert sorted(edges) == sorted(map(edge_id, graph.edges()))
    words = {text for node in nodes.values() for text in node.texts}
    for kind in {event.kind for event in graph}:
        assert KINDS[kind].title in legend(picture, tmp_path)
        assert (KINDS[kind].label or kind) in words


def test_no_two_nodes_overlap(graph):
    style, at = Style(), places(to_graphviz(graph))
    circles = {event: KINDS[event.kind].shape == "circle" for event in graph}
    for a, b in combinations(graph, 2):
        (x, y), (u, v) = at[event_id(a)], at[event_id(b)]
        widths = [style.circle if circles[event] else style.box_width for event in (a, b)]
        heights = [style.circle if circles[event] else style.box_height for event in (a, b)]
        assert abs(x - u) >= sum(widths) / 2 or abs(y - v) >= sum(heights) / 2, (str(a), str(b))


def test_slices_of_a_new_kind_rise_in_time(graph):
    for made in (earliest, latest):
        foliation = made(graph)
        lines = line_heights(to_graphviz(foliation))
        assert lines
        at = places(to_graphviz(foliation))
        for event in graph:
            heights = lines[f"slice-{foliation.time(event)}-{event.request}"]
            assert any(abs(height - at[event_id(event)][1]) < 0.1 for height in heights)


def test_every_strand_of_a_column_is_a_chain_from_its_embedding_to_its_top(graph):
    layout, strands = Layout(graph, Style()), {}
    for event in graph:
        for x, point in layout.strands(event):
            assert point == layout.place(event) or point.x == x
            strands.setdefault((event.request, event.position, x), []).append(event)
    assert len(strands) == max(1, len(graph.strands)) * sum(graph.lengths)
    for (request, position, _), chain in strands.items():
        assert all(graph.precedes(a, b) for a, b in pairwise(chain))
        ends = [event for event in graph if (event.request, event.position) == (request, position)]
        assert (chain[0], chain[-1]) == (ends[0], ends[-1])


def test_routes_pass_the_new_kind_where_it_stands_between():
    with registered(ADAPTER):
        for parallel in (False, True):
            wiring = Wiring(2, parallel_residual=parallel, sublayers=("kv", "attn", "mlp", "adapter"))
            graph = EventGraph(wiring, 3)
            a, b = Event("kv", 0, 0), Event("attn", 1, 2)
            edges = route_edges(graph, a, b, (1,))
            passed = [edge.target.kind for edge in edges]
            assert passed == (
                ["attn", "kv", "attn"] if parallel else ["attn", "mlp", "adapter", "kv", "attn"]
            )
            assert "route" in to_graphviz(graph, highlight=edges).source


def test_a_style_colours_a_new_kind_while_it_is_registered():
    with registered(ADAPTER):
        assert Style(kinds={"adapter": "#000000"}).kinds["adapter"] == "#000000"
    with pytest.raises(InputError, match="a kind of event"):
        Style(kinds={"adapter": "#000000"})
