"""What an engine might log of a run."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import strategies as st

from causalsim.events import Event, EventGraph
from causalsim.testing.strategies.bounds import check_graph
from causalsim.testing.strategies.orders import foliations
from causalsim.testing.strategies.schedules import scheduled


def traces(graph: EventGraph) -> st.SearchStrategy[list[tuple[Event, int]]]:
    """Events with their times as an engine might log them: in order of time, from any number, with gaps.

    The slices are those of ``foliations``, or of an engine's steps (``batch_mixes``). Shrinks
    toward times 0, 1, 2, ... of ``earliest(graph)``.
    """
    check_graph(graph)
    return _traces(graph)


@st.composite
def _traces(draw: st.DrawFn, graph: EventGraph) -> list[tuple[Event, int]]:
    foliation = draw(foliations(graph) | scheduled(graph))
    first, more = draw(st.integers(-100, 100)), foliation.depth - 1
    gaps = draw(st.lists(st.integers(1, 5), min_size=more, max_size=more))
    times = accumulate(gaps, initial=first)
    return [(event, time) for events, time in zip(foliation.slices(), times, strict=True) for event in events]
