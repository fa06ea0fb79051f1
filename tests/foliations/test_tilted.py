"""Tilted slices: exact fractions, valid up to a bound that is met exactly."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causalsim.errors import CausalityError, InputError
from causalsim.events import EventGraph, Wiring
from causalsim.foliations import layer_major, tilt_bound, tilted, token_major
from causalsim.testing.strategies import graphs
from tests.foliations.support import backwards, dense, height, slanted

HAIR = Fraction(1, 10**30)


def least_velocity(graph: EventGraph) -> Fraction | float:
    """Bounds that velocities must exceed, edge by edge: the target's time is greater than the source's."""
    leaning = [
        Fraction(height(graph, a) - height(graph, b), b.position - a.position)
        for a, b, _ in graph.edges()
        if b.position > a.position
    ]
    return max(leaning, default=float("-inf"))


@given(graphs())
def test_valid_exactly_above_the_bound(graph):
    bound = least_velocity(graph)
    assert tilt_bound(graph) == bound
    if bound == float("-inf"):
        assert not backwards(graph, tilted(graph, -(10**9)).times)
        return
    for velocity in (bound + HAIR, bound + 1):
        assert tilted(graph, velocity).times.tolist() == dense(slanted(graph, velocity)).tolist()
    for velocity in (bound, bound - HAIR, bound - 1):
        with pytest.raises(CausalityError) as caught:
            tilted(graph, velocity)
        edge = caught.value.edge
        assert edge[:2] in backwards(graph, dense(slanted(graph, velocity)))
        assert f"velocity {velocity}" in str(caught.value) and f"> {bound}" in str(caught.value)


@given(graphs(), st.fractions(-3, 30, max_denominator=50))
def test_any_velocity_gives_exact_slices_or_an_edge(graph, velocity):
    exact = slanted(graph, velocity)
    if backwards(graph, exact):
        with pytest.raises(CausalityError):
            tilted(graph, velocity)
    else:
        assert tilted(graph, velocity).times.tolist() == dense(exact).tolist()


@pytest.mark.parametrize("granularity", ["block", "sublayer"])
@pytest.mark.parametrize(
    ("length", "windows", "spanned"), [(5, None, 5), (5, 3, 3), (5, 9, 5), (5, (2, 4), 4), ((3, 6), None, 6)]
)
def test_the_bound_of_the_design_without_feedback(granularity, length, windows, spanned):
    """-1 / (m - 1) with m the lesser of the length and the largest window."""
    graph = EventGraph(Wiring(2, windows=windows), length, granularity=granularity)
    assert tilt_bound(graph) == Fraction(-1, spanned - 1)


@pytest.mark.parametrize("n_layers", [1, 2, 5])
@pytest.mark.parametrize("parallel", [False, True])
def test_the_bound_of_the_design_with_feedback(n_layers, parallel):
    """3L + 2, or 2L + 2 with a parallel residual."""
    graph = EventGraph(Wiring(n_layers, parallel_residual=parallel, windows=2), (4, 3), prompt=(2, 3))
    bound = (2 if parallel else 3) * n_layers + 2
    assert tilt_bound(graph) == bound
    assert tilted(graph, bound + HAIR).depth >= graph.depth
    with pytest.raises(CausalityError, match=rf"expected velocity > {bound}\b"):
        tilted(graph, bound)


def test_there_is_no_bound_where_attention_spans_one_position():
    for graph in (
        EventGraph(Wiring(3), 1),
        EventGraph(Wiring(3, windows=1), 6),
        EventGraph(Wiring(1), 6, granularity="block"),
    ):
        assert tilt_bound(graph) == float("-inf")
        assert not backwards(graph, tilted(graph, -1000).times)


@given(graphs())
def test_level_and_steep_slices(graph):
    if not graph.has_feedback:
        assert tilted(graph, 0) == layer_major(graph)
    assert tilted(graph, 10**40) == token_major(graph)


def test_a_tenth_is_exact():
    """162 slices over 4 layers and 32 positions, where floating point would make 190."""
    graph = EventGraph(Wiring(4), 32)
    for tenth in (0.1, "0.1", "1/10", Fraction(1, 10), "1e-1"):
        assert tilted(graph, tenth).depth == 162
    assert len({height(graph, event) + 0.1 * event.position for event in graph}) == 190
    assert tilted(EventGraph(Wiring(4), 32, granularity="block"), 0.1).depth == 62


def test_fractions_too_fine_for_machine_integers():
    graph = EventGraph(Wiring(2), 3)
    for velocity in (Fraction(1, 3**80), Fraction(3**80, 7), -Fraction(1, 2) + Fraction(1, 10**60)):
        assert tilted(graph, velocity).times.tolist() == dense(slanted(graph, velocity)).tolist()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("velocity", [float("nan"), float("inf"), "-inf", "fast", "1/0", None, 1j, [1], b"1"])
def test_velocities_that_are_none(velocity):
    with pytest.raises(InputError, match="a velocity is a finite number: got"):
        tilted(EventGraph(Wiring(1), 2), velocity)
