"""Dilworth's theorem on a graph of any size: a largest antichain, and as many chains that hold everything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from causalsim.events.checks import checked_graph
from causalsim.events.columns import Columns
from causalsim.events.event import Event

if TYPE_CHECKING:
    from causalsim.events.graph import EventGraph


def largest_antichain(graph: EventGraph) -> Iterator[Event]:
    """Events of which no two are comparable, as many as the graph's width, in canonical order.

    The first site of the prompt's columns; with a parallel residual the first attention and MLP.

    >>> from causalsim.events import EventGraph, Wiring
    >>> [str(event) for event in largest_antichain(EventGraph(Wiring(2), 2, granularity="block"))]
    ['block(0,0)', 'block(0,1)']
    """
    checked_graph(graph)
    sites = [site for site in graph.sites if site.layer == 0 and site.kind in ("attn", "mlp")]
    sites = sites if _is_parallel(graph) else [graph.sites[0]]
    for request, columns in enumerate(graph.requests):
        for position in range(columns.prompt):
            yield from (Event(*site, position, request) for site in sites)


def chain_cover(graph: EventGraph) -> Iterator[Iterator[Event]]:
    """Chains that hold every event once, as many as the graph's width: the least (Dilworth 1950).

    A column is one chain, with a parallel residual the MLPs are another; feedback strings all
    columns from the last of the prompt on together.

    >>> from causalsim.events import EventGraph, Wiring
    >>> graph = EventGraph(Wiring(2), 2, granularity="block")
    >>> [[str(event) for event in chain] for chain in chain_cover(graph)]
    [['block(0,0)', 'block(1,0)'], ['block(0,1)', 'block(1,1)']]
    """
    checked_graph(graph)
    strands = (False, True) if _is_parallel(graph) else (None,)
    for request, columns in enumerate(graph.requests):
        for first in range(columns.prompt):
            last = columns.length if first == columns.prompt - 1 else first + 1
            for of_mlps in strands:
                yield _strand(columns, request, range(first, last), of_mlps)


def _strand(columns: Columns, request: int, positions: range, of_mlps: bool | None) -> Iterator[Event]:
    for position in positions:
        for site in columns.sites:
            if position in columns.positions(site) and of_mlps in (None, site.kind == "mlp"):
                yield Event(*site, position, request)


def _is_parallel(graph: EventGraph) -> bool:
    return graph.wiring.parallel_residual and graph.granularity == "sublayer"
