"""Lines of slices are level sets: through their own events, past before future, never the wrong way round."""

from __future__ import annotations

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from causalsim.rendering import Style
from causalsim.rendering.layout import Layout
from causalsim.rendering.marks import Point
from causalsim.rendering.slices import slice_lines, smooth
from causalsim.testing.strategies import graphs
from tests.rendering.drawn import foliations_of


@given(graphs(), st.data())
def test_a_line_passes_through_the_events_of_its_slice(graph, data):
    foliation = data.draw(foliations_of(graph))
    layout = Layout(graph, Style())
    lines = {(line.time, line.request): line for line in slice_lines(foliation, layout)}
    for time, events in enumerate(foliation.slices()):
        for event in events:
            assert layout.place(event) in lines[time, event.request].points


@given(graphs(), st.data())
def test_a_later_slice_is_nowhere_below_an_earlier_one(graph, data):
    foliation = data.draw(foliations_of(graph))
    layout = Layout(graph, Style())
    chains = sorted({x for event in graph for x, _ in layout.strands(event)})
    highest: dict[float, float] = {}
    for line in slice_lines(foliation, layout):
        for x, y in line.points[1:-1]:
            # K/V stand a little to the left of their chain.
            chain = chains[bisect_left(chains, x - 1e-9)]
            assert y >= highest.get(chain, y) - 1e-9
            highest[chain] = y


@given(graphs(), st.data(), st.integers(2, 9))
def test_contours_are_every_so_many_slices(graph, data, step):
    foliation = data.draw(foliations_of(graph))
    layout = Layout(graph, Style())
    times = {line.time for line in slice_lines(foliation, layout, step=step)}
    assert times == set(range(step, foliation.depth, step))


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=8))
def test_curves_go_through_their_points_and_never_overshoot(heights):
    points = tuple(Point(float(x), y) for x, y in enumerate(heights))
    controls = smooth(points)
    assert tuple(controls[::3]) == points
    for start in range(0, len(controls) - 1, 3):
        a, b, c, d = controls[start : start + 4]
        assert a.x < b.x < c.x < d.x
        low, high = sorted((a.y, d.y))
        # A Bezier curve stays within the hull of its control points.
        assert low - 1e-6 <= min(b.y, c.y)
        assert max(b.y, c.y) <= high + 1e-6
