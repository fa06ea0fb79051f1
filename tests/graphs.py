"""Draws of a graph that ``cs.strategies`` has drawn."""

from __future__ import annotations

from hypothesis import strategies as st

from causalsim.events import EventGraph


def events_with(graph: EventGraph, data: st.DataObject, count: int) -> list:
    """Some events of a graph, drawn."""
    return [graph[data.draw(st.integers(0, len(graph) - 1))] for _ in range(count)]
