"""Causal diamonds, and the growth of light cones from layer to layer."""

from __future__ import annotations

from collections.abc import Set

from causalsim.arguments import check_type
from causalsim.events.cones import Cone, Interval, merged
from causalsim.events.event import Event
from causalsim.events.graph import EventGraph, checked_graph


def diamond(graph: EventGraph, a: Event, b: Event) -> Set[Event]:
    """The causal diamond: all events after ``a`` and before ``b``, both left out (the open interval).

    Every path from ``a`` to ``b`` runs through it. An intersection of intervals of positions, site by site.

    Args:
        graph: An event graph.
        a: The event that comes first.
        b: The event that it leads to.

    Returns:
        The events between; none where ``a`` does not precede ``b``.

    Raises:
        InputError: No event graph, or no events of it.

    >>> from causalsim.events import Event, EventGraph, Wiring
    >>> graph = EventGraph(Wiring(1), 1)
    >>> [str(e) for e in diamond(graph, Event("embed", -1, 0), Event("mlp", 0, 0))]
    ['kv(0,0)', 'attn(0,0)']
    """
    checked_graph(graph)
    return graph.future(a) & graph.past(b)


def growth(cone: Cone) -> dict[int, int]:
    """Positions that a light cone reaches in each layer (-1: the embeddings), by ascending layer.

    Down from ``attn(l,p)`` it reaches everything to the left in full attention, and with windows W one
    position and W-1 more for every attention from there up, its own included.

    Args:
        cone: The past or the future of an event.

    Returns:
        The number of positions by layer.

    Raises:
        InputError: No light cone.

    >>> from causalsim.events import Event, EventGraph, Wiring
    >>> graph = EventGraph(Wiring(3, windows=2), 9)
    >>> growth(graph.past(Event("attn", 2, 8)))
    {-1: 4, 0: 4, 1: 3, 2: 2}
    """
    check_type("a light cone", cone, Cone, "graph.past(event) and graph.future(event) are such.")
    reached: dict[int, tuple[Interval, ...]] = {}
    for site, spans in cone.spans.items():
        for span in spans:
            grown = merged(reached.get(site.layer, ()), span)
            reached[site.layer] = grown[0] if grown else reached[site.layer]
    return {layer: sum(high - low + 1 for low, high in reached[layer]) for layer in sorted(reached)}
