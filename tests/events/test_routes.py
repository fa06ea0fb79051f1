"""Routes against closed forms and enumeration."""

from __future__ import annotations

from itertools import combinations_with_replacement, pairwise
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causalsim.errors import InputError, LimitError
from causalsim.events import Event, EventGraph, Wiring
from causalsim.testing.strategies import wirings


def written_out(wiring, start, goal, low, high):
    """The routes by the definition: every nondecreasing choice of positions, hop by hop."""
    for rises in combinations_with_replacement(range(start, goal + 1), high - low):
        hops = pairwise((start, *rises, goal))
        reaches = wiring.windows_by_layer[low : high + 1]
        if all(reach is None or q - p < reach for reach, (p, q) in zip(reaches, hops, strict=True)):
            yield rises


@given(wirings(max_layers=4), st.integers(1, 6), st.data())
def test_routes_are_those_of_the_definition_in_lexicographic_order(wiring, length, data):
    graph = EventGraph(wiring, length)
    low = data.draw(st.integers(0, wiring.n_layers - 1))
    high = data.draw(st.integers(low, wiring.n_layers - 1))
    start = data.draw(st.integers(0, length - 1))
    goal = data.draw(st.integers(start, length - 1))
    found = list(graph.routes(Event("kv", low, start), Event("attn", high, goal)))
    assert found == list(written_out(wiring, start, goal, low, high))


def test_routes_of_a_tall_model_and_of_narrow_windows_are_found_at_once():
    tall = EventGraph(Wiring(5000), 2)
    routes = list(tall.routes(Event("kv", 0, 0), Event("attn", 4999, 1)))
    assert len(routes) == 5000 and routes[0] == (0,) * 4999 and routes[-1] == (1,) * 4999
    # Nearly every way up is a dead end here: only the steepest reaches the goal.
    narrow = EventGraph(Wiring(60, windows=2), 61)
    assert list(narrow.routes(Event("kv", 0, 0), Event("attn", 59, 60))) == [tuple(range(1, 60))]


@given(wirings(), st.integers(1, 6), st.data())
def test_count_is_the_number_of_enumerated_routes(wiring, length, data):
    graph = EventGraph(wiring, length)
    layers, positions = st.integers(0, wiring.n_layers - 1), st.integers(0, length - 1)
    a = Event("kv", data.draw(layers), data.draw(positions))
    b = Event("attn", data.draw(layers), data.draw(positions))
    found = list(graph.routes(a, b))
    assert graph.count_routes(a, b) == len(found) == len(set(found))
    assert found == sorted(found)
    for rises in found:
        stops = [a.position, *rises, b.position]
        assert len(rises) == b.layer - a.layer and stops == sorted(stops)
        assert all(
            graph.precedes(Event("kv", a.layer + i, p), Event("attn", a.layer + i, q))
            and Event("kv", a.layer + i, p) in graph.predecessors(Event("attn", a.layer + i, q))
            for i, (p, q) in enumerate(pairwise(stops))
        )


@given(st.integers(0, 12), st.integers(0, 10))
def test_full_attention_gives_the_binomial(up, right):
    graph = EventGraph(Wiring(up + 1), right + 1)
    assert graph.count_routes(Event("kv", 0, 0), Event("attn", up, right)) == comb(up + right, up)


def test_the_seed_counts_three_routes():
    graph = EventGraph(Wiring(2), 3)
    a, b = Event("kv", 0, 0), Event("attn", 1, 2)
    assert list(graph.routes(a, b)) == [(0,), (1,), (2,)]
    assert EventGraph(Wiring(13), 11).count_routes(Event("kv", 0, 0), Event("attn", 12, 10)) == 646_646


def test_routes_refuse_what_they_cannot_count():
    plain, feedback = EventGraph(Wiring(2), 3), EventGraph(Wiring(2), 3, prompt=1)
    a, b = Event("kv", 0, 0), Event("attn", 1, 2)
    for graph, start, end in [(plain, b, a), (plain, a, a), (feedback, a, b)]:
        with pytest.raises(InputError, match="count_paths"):
            graph.count_routes(start, end)
        with pytest.raises(InputError):
            list(graph.routes(start, end))
    assert plain.count_routes(Event("kv", 1, 0), Event("attn", 0, 2)) == 0


def test_routes_of_a_deployment_are_counted_at_once_or_refused_at_once():
    ends = Event("kv", 0, 0), Event("attn", 125, 131_071)
    assert EventGraph(Wiring(126), 131_072).count_routes(*ends) == comb(131_071 + 125, 125)
    # A window that does not bind is none.
    assert EventGraph(Wiring(126, windows=131_072), 131_072).count_routes(*ends) == comb(131_071 + 125, 125)
    with pytest.raises(LimitError, match="a count of routes") as caught:
        EventGraph(Wiring(200, windows=4096), 131_072).count_routes(ends[0], Event("attn", 199, 131_071))
    assert caught.value.reached == 200 * 131_072 > caught.value.bound
