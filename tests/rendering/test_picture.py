"""A picture shows every event once, only edges of the graph, every slice, and says what it leaves out."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from itertools import combinations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from causalsim.errors import InputError, LimitError
from causalsim.events import Event, EventGraph, Wiring
from causalsim.foliations import Foliation, layer_major, random_linear_extension, token_major, wavefront
from causalsim.rendering import Style, edge_id, event_id, slice_id, to_graphviz
from causalsim.testing.strategies import graphs
from tests.rendering.drawn import GLASS, elements, foliations_of, legend, line_heights, places

drawn = settings(max_examples=25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def glass():
    return EventGraph(Wiring(GLASS["n_layers"]), GLASS["length"])


# -- events and edges -----------------------------------------------------------------------------


@drawn
@given(graphs(), st.data())
def test_every_event_is_one_node_and_every_edge_one_edge(folder, graph, data):
    shown = data.draw(st.sampled_from([graph, None])) or data.draw(foliations_of(graph))
    picture = to_graphviz(shown, title="a title")
    nodes = [node.id for node in elements(picture, folder, "event")]
    assert sorted(nodes) == sorted(map(event_id, graph))
    edges = [
        edge.id
        for stream in ("residual", "kv", "token")
        for edge in elements(picture, folder, "edge", stream)
    ]
    assert sorted(edges) == sorted(map(edge_id, graph.edges()))


@given(graphs(max_length=6, max_requests=3))
def test_no_two_nodes_overlap_and_time_never_points_down_a_column(graph):
    style, at = Style(), places(to_graphviz(graph))
    for a, b in combinations(graph, 2):
        (x, y), (u, v) = at[event_id(a)], at[event_id(b)]
        widths = [style.circle if event.kind == "kv" else style.box_width for event in (a, b)]
        heights = [style.circle if event.kind == "kv" else style.box_height for event in (a, b)]
        assert abs(x - u) >= sum(widths) / 2 or abs(y - v) >= sum(heights) / 2, (str(a), str(b))
    for edge in graph.edges():
        if edge.source.kind != "sample":
            assert at[event_id(edge.source)][1] < at[event_id(edge.target)][1]


@given(graphs(), st.data())
def test_an_event_stands_at_the_same_place_in_every_picture_of_its_graph(graph, data):
    event = graph[data.draw(st.integers(0, len(graph) - 1))]
    plain = places(to_graphviz(graph))
    assert places(to_graphviz(data.draw(foliations_of(graph)), highlight=event, title="other")) == plain


def test_classes_say_what_where_and_when(folder):
    graph = EventGraph(Wiring(1), (1, 2))
    (node,) = [e for e in elements(to_graphviz(layer_major(graph)), folder, "event") if e.id == "attn-0-1-1"]
    assert node.classes == {"node", "event", "attn", "layer-0", "position-1", "request-1", "slice-2"}
    assert node.texts == ("2",)
    assert node.tooltip == "attn(0,1)@1, slice 2"


def test_a_plain_graph_has_no_slices_anywhere():
    picture = to_graphviz(EventGraph(Wiring(2), 3))
    assert "slice" not in picture.source


def test_k_v_stands_beside_the_residual_stream_and_below_what_reads_it():
    at = places(to_graphviz(EventGraph(Wiring(1), 2)))
    for position in (0, 1):
        column, circle = at[f"embed--1-{position}-0"][0], Style().circle / 2
        assert at[f"kv-0-{position}-0"][0] + circle < column == at[f"attn-0-{position}-0"][0]


def test_a_parallel_mlp_stands_beside_its_attention():
    at = places(to_graphviz(EventGraph(Wiring(1, parallel_residual=True), 1)))
    (x, y), (u, v) = at["attn-0-0-0"], at["mlp-0-0-0"]
    assert x < u
    assert y == v


def test_requests_stand_side_by_side_under_headings(folder):
    graph = EventGraph(Wiring(1), (2, 3))
    at = places(to_graphviz(graph))
    right = {
        request: [x for name, (x, _) in at.items() if name.endswith(f"-{request}")] for request in (0, 1)
    }
    assert max(right[0]) < min(right[1])
    words = [text for element in elements(to_graphviz(graph), folder, "heading") for text in element.texts]
    assert {"request 0", "request 1"} <= set(words)
    assert "request" not in " ".join(
        t for e in elements(to_graphviz(EventGraph(Wiring(1), 2)), folder) for t in e.texts
    )


# -- labels ---------------------------------------------------------------------------------------


@drawn
@given(st.text(max_size=12))
@example(" ")
@example("<b>")
@example("&lt;")
@example("\\N\\")
def test_a_label_is_shown_as_it_is_whatever_it_says(folder, text):
    event = Event("mlp", 0, 0)
    picture = to_graphviz(EventGraph(Wiring(1), 1), labels={event: text}, title=text)
    (node,) = [element for element in elements(picture, folder, "event") if element.id == event_id(event)]
    visible = "".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in text)
    # Graphviz writes some spaces as no-break spaces, so that SVG keeps them.
    assert node.tooltip.replace("\xa0", " ") == ", ".join(["mlp(0,0)", *([visible] if visible else [])])


def test_a_label_replaces_the_word_and_the_slice_and_long_ones_are_cut(folder):
    graph, event = EventGraph(Wiring(1), 1), Event("embed", -1, 0)
    for shown in (graph, token_major(graph)):
        (node,) = elements(to_graphviz(shown, labels={event: 0.25}), folder, "event", "embed")
        assert node.texts == ("0.25",)
    (node,) = elements(to_graphviz(graph, labels={event: "incomprehensibilities"}), folder, "event", "embed")
    assert node.texts[0].endswith("..")
    assert "incomprehensibilities" in node.tooltip


def test_a_label_of_a_foreign_event_is_refused():
    with pytest.raises(InputError, match="outside the text"):
        to_graphviz(EventGraph(Wiring(1), 1), labels={Event("mlp", 0, 5): "x"})


# -- slices ---------------------------------------------------------------------------------------


@drawn
@given(graphs(), st.data())
def test_lines_are_the_slices_and_numbers_stand_in_the_events(folder, graph, data):
    foliation = data.draw(foliations_of(graph))
    picture = to_graphviz(foliation)
    for node in elements(picture, folder, "event"):
        (time,) = [int(word.removeprefix("slice-")) for word in node.classes if word.startswith("slice-")]
        assert node.texts == (str(time),)
    crossed = {
        slice_id(time, event.request) for time, events in enumerate(foliation.slices()) for event in events
    }
    lines = {line.id for line in elements(picture, folder, "edge", "slice")}
    joined = any(len({event.request for event in events}) < len(events) for events in foliation.slices())
    if joined and foliation.depth <= Style().dotted_up_to:
        assert lines == crossed
    else:
        assert lines < crossed
        assert len({line.split("-")[1] for line in lines}) <= Style().contours


def test_layer_major_is_drawn_level_and_wavefronts_fall():
    graph = EventGraph(Wiring(3), 6)
    for family, falls in ((layer_major, False), (wavefront, True)):
        foliation = family(graph)
        lines = line_heights(to_graphviz(foliation))
        assert len(lines) == foliation.depth
        for heights in lines.values():
            assert heights == sorted(heights, reverse=True)
            assert (len(set(heights)) > 1) == falls


def test_lines_stay_level_past_parallel_mlps():
    graph = EventGraph(Wiring(1, parallel_residual=True), 3)
    lines = line_heights(to_graphviz(layer_major(graph)))
    assert [len(set(lines[slice_id(time, 0)])) for time in (0, 2, 3)] == [1, 1, 1]


def test_many_slices_colour_the_events_by_time(folder, glass):
    style = Style()
    picture = to_graphviz(random_linear_extension(glass, 3, method="kahn"))
    (first,) = elements(picture, folder, "event", "slice-0")
    (last,) = elements(picture, folder, "event", "slice-279")
    assert style.ramp[0] in first.colours
    assert style.ramp[-1] in last.colours
    assert "280 slices, widest 1 event" in legend(picture, folder)
    assert "slice 279" in legend(picture, folder)
    assert "slices 40, 80, .." in legend(picture, folder)


def test_a_foliation_of_one_slice_is_drawn(folder):
    graph = EventGraph(Wiring(1), 1, granularity="block")
    assert "1 slice, widest 1 event" in legend(to_graphviz(Foliation(graph, [0])), folder)


# -- what is left out -----------------------------------------------------------------------------


@drawn
@given(graphs(max_length=7), st.integers(-1, 1), st.integers(0, 1))
def test_the_legend_says_what_is_left_out_exactly_when_something_is(folder, graph, around, more):
    total = sum(edge.stream == "kv" for edge in graph.edges())
    solid = max(total + around - more, 0)
    style = Style(solid_up_to=solid, faint_up_to=solid + more)
    picture = to_graphviz(graph, style=style)
    text = legend(picture, folder)
    edges = {
        edge.id: edge for edge in elements(picture, folder, "edge") if not edge.classes & {"slice", "legend"}
    }
    missing = [edge for edge in graph.edges() if edge_id(edge) not in edges]
    assert len(edges) + len(missing) == graph.count_edges()
    assert all(edge.stream == "kv" and edge.target.position - edge.source.position > 1 for edge in missing)
    assert (f"left out: {len(missing)} K/V edges" in text) == bool(missing) == ("left out" in text)
    faint = [edge for edge in edges.values() if "faint" in edge.classes]
    assert (f"faint: {len(faint)} K/V edges" in text) == bool(faint) == ("faint" in text)
    far = sum(
        edge.stream == "kv" and edge.target.position - edge.source.position > 1 for edge in graph.edges()
    )
    assert len(missing) == (far if total > solid + more else 0)
    assert len(faint) == (far if solid < total <= solid + more else 0)


def test_what_is_highlighted_is_never_left_out(folder):
    graph = EventGraph(Wiring(1), 6)
    style = Style(solid_up_to=0, faint_up_to=0)
    far = next(edge for edge in graph.edges() if edge.target == Event("attn", 0, 5) and edge.stream == "kv")
    for highlight in (far.target, [far], [(far.source, far.target)]):
        drawn_edges = {
            edge.id for edge in elements(to_graphviz(graph, style=style, highlight=highlight), folder, "kv")
        }
        assert edge_id(far) in drawn_edges
    assert edge_id(far) not in {edge.id for edge in elements(to_graphviz(graph, style=style), folder, "kv")}


def test_the_legend_names_the_kinds_and_streams_of_the_graph_only(folder):
    read = legend(to_graphviz(EventGraph(Wiring(1), 2)), folder)
    fed_back = legend(to_graphviz(EventGraph(Wiring(1), 2, prompt=1)), folder)
    assert "token fed back" in fed_back
    assert "sample" in fed_back
    assert "token" not in read
    assert "sample" not in read
    assert "slice" not in read
    assert "10 events, 11 edges" in read


@pytest.mark.parametrize(
    ("graph", "what"),
    [
        (EventGraph(Wiring(4), 100_000), "1,400,000 events"),
        (EventGraph(Wiring(2), 1_400, granularity="block"), "982,100 edges"),
    ],
)
def test_a_graph_too_large_to_look_at_is_refused_at_once(graph, what):
    with pytest.raises(LimitError, match=what) as caught:
        to_graphviz(graph)
    assert "shorter text" in str(caught.value)
    assert caught.value.reached > caught.value.bound


# -- style ----------------------------------------------------------------------------------------


def test_the_style_is_honoured(folder):
    graph = EventGraph(Wiring(2), 4)
    style = Style(
        kinds={"mlp": "#123456"}, streams={"kv": "#abcdef"}, slice_line="#fedcba", column=120, dpi=60
    )
    picture = to_graphviz(layer_major(graph), style=style)
    for what, colour in (("mlp", "#123456"), ("kv", "#abcdef"), ("slice", "#fedcba")):
        found = elements(picture, folder, *(["event"] if what == "mlp" else ["edge"]), what)
        assert found
        assert all(colour in element.colours for element in found)
    assert places(picture)["attn-0-1-0"][0] - places(picture)["attn-0-0-0"][0] == 120
    assert "dpi=60" in picture.source
    assert style.kinds["attn"] == Style().kinds["attn"]


def test_thresholds_of_the_style_are_honoured(folder):
    graph = EventGraph(Wiring(2), 3)
    foliation = layer_major(graph)
    assert not elements(
        to_graphviz(foliation, style=Style(dotted_up_to=3, contours=0)), folder, "edge", "slice"
    )
    with pytest.raises(LimitError, match="24 events"):
        to_graphviz(graph, style=Style(max_events=23))
    with pytest.raises(LimitError, match="33 edges"):
        to_graphviz(graph, style=Style(max_edges=32))


def test_a_style_is_a_value():
    assert Style() == Style()
    assert hash(Style()) == hash(Style())
    assert Style(column=1) != Style()
    assert pickle.loads(pickle.dumps(Style())) == copy.deepcopy(Style()) == Style()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"column": 0}, "column=0"),
        ({"route": "orange"}, "#rrggbb: got 'orange'"),
        ({"kinds": {"mlp": "#12"}}, "#rrggbb"),
        ({"kinds": {"norm": "#123456"}}, "got norm"),
        ({"streams": {"v": "#123456"}}, "got v"),
    ],
)
def test_a_style_that_cannot_be_drawn_is_refused(wrong, words):
    with pytest.raises(InputError, match=words):
        Style(**wrong)


def test_what_is_neither_graph_nor_foliation_is_refused():
    with pytest.raises(InputError, match="EventGraph or a Foliation"):
        to_graphviz([Event("mlp", 0, 0)])


def test_rendering_never_imports_jax():
    code = "import sys, causalsim.rendering; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
