"""The ways to write a foliation down, and what each refuses."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causalsim.errors import CausalityError, InputError
from causalsim.events import Event, EventGraph, Wiring
from causalsim.foliations import (
    Foliation,
    chunked,
    from_slices,
    from_time,
    layer_major,
    peak_at_cuts,
    peak_during,
)
from causalsim.verification.strategies import graphs
from tests.foliations.orders import graphs_with_foliation

GRAPH = EventGraph(Wiring(1), 2)
EVENTS = tuple(GRAPH)


@given(graphs_with_foliation(max_length=4), st.randoms(use_true_random=False))
def test_every_way_of_writing_gives_the_same_foliation(foliation, random):
    graph = foliation.graph
    by_event = [(event, foliation.time(event)) for event in graph]
    random.shuffle(by_event)
    slices = [random.sample(events, len(events)) for events in foliation.slices()]
    assert Foliation(graph, dict(by_event)) == foliation
    assert from_slices(graph, slices) == foliation
    assert from_slices(graph, (iter(events) for events in [[], *slices, []])) == foliation
    assert from_time(graph, foliation.time) == foliation
    assert from_time(graph, lambda event: Fraction(foliation.time(event) - 3, 7)) == foliation
    assert from_time(graph, lambda event: float(np.arctan(foliation.time(event)))) == foliation
    assert Foliation.from_json(graph, foliation.to_json()) == foliation


@given(graphs_with_foliation(max_length=3), graphs(max_length=3))
def test_json_is_read_for_its_own_graph_only(foliation, other):
    text = foliation.to_json()
    assert json.loads(text)["graph"] == foliation.graph.to_dict()
    if other != foliation.graph:
        assert other.to_dict() != foliation.graph.to_dict()
        with pytest.raises(InputError, match=r"got .*expected"):
            Foliation.from_json(other, text)


def _damaged() -> list[str]:
    good = json.loads(layer_major(GRAPH).to_json())
    times = good["times"]
    wrong = [
        {**good, "format": "causalsim.foliation/2"},
        {key: good[key] for key in ("format", "graph")},
        {key: good[key] for key in ("format", "times")},
        {key: good[key] for key in ("graph", "times")},
        {**good, "times": times[:-1]},
        {**good, "times": [*times, 9]},
        {**good, "times": [*times[:-1], 4.5]},
        {**good, "times": [*times[:-1], "4"]},
        {**good, "times": [*times[:-1], None]},
        {**good, "times": [*times[:-1], [4]]},
        {**good, "times": [*times[:-1], 2**70]},
        {**good, "times": [bool(time) for time in times]},
        {**good, "times": "01234"},
        {**good, "times": {"0": 1}},
        {**good, "times": None},
        {**good, "graph": None},
        [good],
        "text",
        None,
    ]
    text = json.dumps(good)
    return [*map(json.dumps, wrong), "", text[:-1], text + "]", text.replace('"times"', "times"), "NaN"]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("text", _damaged())
def test_damaged_json_is_refused(text):
    with pytest.raises(InputError, match=r"got .*"):
        Foliation.from_json(GRAPH, text)


def test_json_that_breaks_causality_is_refused_with_the_edge():
    found = json.loads(layer_major(GRAPH).to_json())
    found["times"][0] = 9
    with pytest.raises(CausalityError) as caught:
        Foliation.from_json(GRAPH, json.dumps(found))
    assert caught.value.edge.source == EVENTS[0]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("times", "words"),
    [
        (range(9), r"got times of shape \(9,\)"),
        (range(11), r"expected \(10,\)"),
        ([], "one time per event"),
        (np.arange(10.0), "times are integers.*from_time"),
        ([False] * 10, "times are integers"),
        (["0"] * 10, "times are integers"),
        (np.arange(10).reshape(2, 5), "shape"),
        ([[0]] * 9 + [[0, 1]], "one time per event"),
        (None, "one time per event"),
        (7, "one time per event"),
        ({}, "got 0 times, none for embed"),
        (dict.fromkeys(EVENTS[:-1], 1), r"none for unembed\(1\)"),
        ({**dict.fromkeys(EVENTS, 1), Event("attn", 0, 2): 3}, "position 2 lies outside"),
        ({**dict.fromkeys(EVENTS, 1), "attn(0,0)": 3}, "event"),
        (dict(zip(EVENTS, np.arange(10.0), strict=True)), "times are integers"),
    ],
)
def test_times_that_are_none_are_refused(times, words):
    with pytest.raises(InputError, match=words):
        Foliation(GRAPH, times)


def test_slices_hold_every_event_exactly_once():
    slices = layer_major(GRAPH).slices()
    with pytest.raises(InputError, match=r"embed\(0\) in slices 0 and 5"):
        from_slices(GRAPH, [*slices, EVENTS[:1]])
    with pytest.raises(InputError, match=r"embed\(0\) in slices 0 and 0"):
        from_slices(GRAPH, [EVENTS[:1] * 2, *slices[1:]])
    with pytest.raises(InputError, match=r"2 events in none, first unembed\(0\)"):
        from_slices(GRAPH, slices[:-1])
    with pytest.raises(InputError, match="no kind 'block'"):
        from_slices(GRAPH, [*slices, [Event("block", 0, 0)]])
    with pytest.raises(CausalityError) as caught:
        from_slices(GRAPH, slices[::-1])
    assert caught.value.edge in set(GRAPH.edges())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("value", [float("nan"), "late", None, 1j, "mixed", np.float32("nan")])
def test_a_time_function_gives_real_numbers(value):
    def f(event):
        return GRAPH.index(event) if value == "mixed" and event.position else value

    with pytest.raises(InputError, match="real numbers"):
        from_time(GRAPH, f)


def test_what_a_time_function_raises_is_raised():
    with pytest.raises(ZeroDivisionError):
        from_time(GRAPH, lambda event: 1 // event.position)


OF_ANOTHER_CLASS = [
    (lambda: Foliation("graph", [1]), "a graph must be of type EventGraph: got 'graph'"),
    (lambda: layer_major(Wiring(2)), "a graph must be of type EventGraph: got Wiring"),
    (lambda: from_time(GRAPH, [1, 2]), "is called with every event"),
    (lambda: from_slices(GRAPH, None), "the slices must be of type Iterable: got None"),
    (lambda: from_slices(GRAPH, EVENTS), "slice 0 must be of type Iterable: got Event"),
    (lambda: Foliation.from_json(GRAPH, None), "of type str: got None"),
    (lambda: layer_major(GRAPH).meet(3), "the other order must be of type Foliation: got 3"),
    (lambda: peak_during(GRAPH, None), "an order must be of type Foliation"),
    (lambda: peak_at_cuts(layer_major(GRAPH), None), "a footprint must be of type Footprint"),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("call", "words"), OF_ANOTHER_CLASS)
def test_things_of_another_class(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_chunks_longer_than_any_text_are_the_whole():
    assert chunked(GRAPH, 10**30) == layer_major(GRAPH)
