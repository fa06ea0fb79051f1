"""Event graphs as networkx graphs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from causalsim.errors import LimitError

if TYPE_CHECKING:
    import networkx as nx

    from causalsim.events.graph import EventGraph

NETWORKX_LIMIT = 2_000_000


def to_networkx(graph: EventGraph) -> nx.MultiDiGraph:
    """A MultiDiGraph whose nodes are events (``kind``, ``layer``, ``position``, ``request``).

    Edges carry ``stream`` and have it as key. Nodes are added in canonical order.

    >>> from causalsim.events import Event, EventGraph, Wiring
    >>> to_networkx(EventGraph(Wiring(1), 1)).nodes[Event("kv", 0, 0)]
    {'kind': 'kv', 'layer': 0, 'position': 0, 'request': 0}
    """
    import networkx as nx

    edges = graph.count_edges()
    if edges > NETWORKX_LIMIT:
        raise LimitError(
            "a networkx view is for small graphs",
            reached=edges,
            bound=NETWORKX_LIMIT,
            hint="Take a shorter text.",
        )
    view = nx.MultiDiGraph(granularity=graph.granularity, lengths=graph.lengths, prompts=graph.prompts)
    view.add_nodes_from((event, asdict(event)) for event in graph)
    view.add_edges_from(
        (source, target, stream, {"stream": stream}) for source, target, stream in graph.edges()
    )
    return view
