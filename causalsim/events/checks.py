"""What functions of a graph are given, checked in the words of every other error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from causalsim.arguments import check_type

if TYPE_CHECKING:
    from causalsim.events.graph import EventGraph


def checked_graph(graph: object) -> EventGraph:
    """An event graph, or ``InputError`` for anything else.

    >>> checked_graph(3)
    Traceback (most recent call last):
    causalsim.errors.InputError: a graph must be of type EventGraph: got 3, which is of type int. \
EventGraph(wiring, length) makes one.
    """
    # The graph itself is made of the modules that ask here.
    from causalsim.events.graph import EventGraph

    check_type("a graph", graph, EventGraph, "EventGraph(wiring, length) makes one.")
    assert isinstance(graph, EventGraph)
    return graph
