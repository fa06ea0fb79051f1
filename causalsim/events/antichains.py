"""Antichains of a graph of any size, and the chains that are witnesses of its width (Dilworth's theorem)."""

from __future__ import annotations

from collections.abc import Iterator

from causalsim import posets
from causalsim.events.columns import Columns
from causalsim.events.event import Event
from causalsim.events.graph import EventGraph, checked_graph


def maximal_antichains(graph: EventGraph) -> Iterator[tuple[Event, ...]]:
    """All sets of events, of which no two are comparable, that no event can join.

    Each in canonical order, and lexicographically by canonical indices; as `posets.maximal_antichains`.

    Args:
        graph: An event graph.

    Yields:
        Events, in canonical order.

    Raises:
        InputError: No event graph.
        LimitError: The graph has too many edges to list.

    >>> from causalsim.events import EventGraph, Wiring
    >>> graph = EventGraph(Wiring(2), 2, granularity="block")
    >>> [[str(event) for event in antichain] for antichain in maximal_antichains(graph)]
    [['block(0,0)', 'block(0,1)'], ['block(1,0)', 'block(0,1)'], ['block(1,0)', 'block(1,1)']]
    """
    sources, events = checked_graph(graph).explicit(), list(graph)
    for antichain in posets.maximal_antichains(sources):
        yield tuple(events[i] for i in antichain)


def largest_antichain(graph: EventGraph) -> Iterator[Event]:
    """Events of which no two are comparable, as many as the graph's width, in canonical order.

    The first site of the prompt's columns; with a parallel residual what adds to it first, such as the
    first attention and MLP.

    Args:
        graph: An event graph.

    Yields:
        Its events.

    Raises:
        InputError: No event graph.

    >>> from causalsim.events import EventGraph, Wiring
    >>> [str(event) for event in largest_antichain(EventGraph(Wiring(2), 2, granularity="block"))]
    ['block(0,0)', 'block(0,1)']
    """
    checked_graph(graph)
    side_by_side = [site for site in graph.sites if site.layer == 0 and site.kind in graph.strands]
    for request, columns in enumerate(graph.requests):
        for position in range(columns.prompt):
            yield from (Event(*site, position, request) for site in side_by_side or graph.sites[:1])


def chain_cover(graph: EventGraph) -> Iterator[Iterator[Event]]:
    """Chains that hold every event once, as many as the graph's width: the least (Dilworth 1950).

    A column is one chain, with a parallel residual the MLPs are another; feedback strings all
    columns from the last of the prompt on together.

    Args:
        graph: An event graph.

    Yields:
        The events of a chain, each before the next.

    Raises:
        InputError: No event graph.

    >>> from causalsim.events import EventGraph, Wiring
    >>> graph = EventGraph(Wiring(2), 2, granularity="block")
    >>> [[str(event) for event in chain] for chain in chain_cover(graph)]
    [['block(0,0)', 'block(1,0)'], ['block(0,1)', 'block(1,1)']]
    """
    checked_graph(graph)
    # All else goes with the first of the kinds that stand side by side.
    beside = graph.strands[1:]
    strands = [tuple({site.kind for site in graph.sites} - {*beside}), *((kind,) for kind in beside)]
    for request, columns in enumerate(graph.requests):
        for first in range(columns.prompt):
            last = columns.length if first == columns.prompt - 1 else first + 1
            for kinds in strands:
                yield _strand(columns, request, range(first, last), kinds)


def _strand(columns: Columns, request: int, positions: range, kinds: tuple[str, ...]) -> Iterator[Event]:
    for position in positions:
        for site in columns.sites:
            if site.kind in kinds and position in columns.positions(site):
                yield Event(*site, position, request)
