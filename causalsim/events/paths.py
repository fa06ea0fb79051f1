"""Directed paths of the event graph: how many lead from one event to another, and which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf

import numpy as np

from causalsim.arguments import check_type
from causalsim.events.cones import Cone
from causalsim.events.event import Event
from causalsim.events.limits import refuse_long
from causalsim.events.structure import CausalStructure
from causalsim.events.wiring import EdgeFamily, Site

# For each family at each position: one comes into view, one goes, and what is in view counts.
SUMS = 3


def count_paths(graph: CausalStructure, a: Event, b: Event, bypass: bool = False) -> int:
    """Number of directed paths from ``a`` to ``b``, as sequences of events, exactly.

    With ``bypass`` a residual edge into an event that adds to the stream, such as an attention or an MLP,
    counts twice, once through the computation and once past it (with a parallel residual the MLP's
    value is its increment alone, and an edge into it counts once). A path from an event to itself is
    the empty one.

    Counted from position to position and up each column, with a sliding sum for each family of
    edges; ``LimitError`` at once where that would take minutes.

    Args:
        graph: An event graph.
        a: The event that comes first.
        b: The event that it leads to.
        bypass: True to count the ways past what adds to the residual stream, too.

    Returns:
        The number; 0 where none leads there.

    Raises:
        InputError: No events of the graph.
        LimitError: The count would take minutes.

    >>> from causalsim.events import Event, EventGraph, Wiring
    >>> graph = EventGraph(Wiring(1), 1)
    >>> ends = Event("embed", -1, 0), Event("unembed", 1, 0)
    >>> count_paths(graph, *ends), count_paths(graph, *ends, bypass=True)
    (2, 6)
    """
    graph.check(a)
    graph.check(b)
    check_type("bypass", bypass, (bool, np.bool_), "Give True or False.")
    if a == b:
        return 1
    if a.request != b.request or a.position > b.position:
        return 0
    sites = _sites_between(graph, a, b)
    weights = _weights(graph, sites, bypass)
    refuse_long(
        "a count of paths sums over kinds of edges and positions",
        SUMS * (b.position - a.position + 1) * len(weights),
    )
    return _swept(graph, a, b, sites, weights) if sites else 0


def paths(graph: CausalStructure, a: Event, b: Event) -> Iterator[tuple[Event, ...]]:
    """The directed paths from ``a`` to ``b``, both ends included, in the order of ``graph.edges_from``.

    Depth first inside the past of ``b``, so that no step leads astray.

    Args:
        graph: An event graph.
        a: The event that comes first.
        b: The event that it leads to.

    Yields:
        The events of a path.

    Raises:
        InputError: No events of the graph.

    >>> from causalsim.events import Event, EventGraph, Wiring
    >>> graph = EventGraph(Wiring(1), 1)
    >>> for path in paths(graph, Event("embed", -1, 0), Event("attn", 0, 0)):
    ...     print(*path)
    embed(0) kv(0,0) attn(0,0)
    embed(0) attn(0,0)
    """
    graph.check(a)
    inside = graph.past(b)
    path, steps = [a], [_steps(graph, a, b, inside)]
    if a == b:
        yield (a,)
    while steps:
        step = next(steps[-1], None)
        if step is None:
            steps.pop()
            path.pop()
        elif step == b:
            yield (*path, b)
        else:
            path.append(step)
            steps.append(_steps(graph, step, b, inside))


def _steps(graph: CausalStructure, event: Event, goal: Event, inside: Cone) -> Iterator[Event]:
    """The events that read this one and lead to the goal, each once."""
    seen = set()
    for edge in graph.edges_from(event):
        if edge.target not in seen and (edge.target == goal or edge.target in inside):
            seen.add(edge.target)
            yield edge.target


def _swept(
    graph: CausalStructure, a: Event, b: Event, sites: list[Site], weights: dict[EdgeFamily, int]
) -> int:
    columns = graph.requests[a.request]
    into = {site: [family for family in weights if family.target == site] for site in sites}
    ways: dict[Site, list[int]] = {site: [] for site in sites}
    # Of each family, the paths to the sources that it has in view, which slide along with the position.
    sums, sights = dict.fromkeys(weights, 0), {site: _sight(weights, site) for site in sites}
    for place, position in enumerate(range(a.position, b.position + 1)):
        for site in sites:
            for family in into[site]:
                sums[family] += _slid(ways[family.source], family, place)
            found = sum(weights[family] * sums[family] for family in into[site])
            starts = place == 0 and site == (a.kind, a.layer)
            ways[site].append(1 if starts else found if position in columns.positions(site) else 0)
            if place >= sights[site]:  # Where tokens are fed back, old numbers are long.
                ways[site][place - sights[site]] = 0
    return ways[Site(b.kind, b.layer)][-1]


def _slid(line: list[int], family: EdgeFamily, place: int) -> int:
    """Paths that come into view of a family at a place, less those that go out of it."""
    comes, goes = place - family.first, -1 if family.last is None else place - family.last - 1
    return (line[comes] if comes >= 0 else 0) - (line[goes] if goes >= 0 else 0)


def _sight(families: Iterable[EdgeFamily], site: Site) -> int:
    """The furthest that some family looks back for a site's events, once it has counted them."""
    own = (family for family in families if family.source == site)
    return max((family.first if family.last is None else family.last + 1 for family in own), default=0) + 1


def _sites_between(graph: CausalStructure, a: Event, b: Event) -> list[Site]:
    """The sites that paths may pass: all of them where tokens lead back down, else those between."""
    if graph.has_feedback:
        return list(graph.sites)
    low, high = (graph.sites.index(Site(event.kind, event.layer)) for event in (a, b))
    return list(graph.sites[low : high + 1])


def _weights(graph: CausalStructure, sites: list[Site], bypass: bool) -> dict[EdgeFamily, int]:
    """The weight of an edge of each family; of two families that join the same events, the wider."""
    among = [family for family in graph.edge_families if family.source in sites and family.target in sites]
    wider = {family[1:3]: family for family in sorted(among, key=_extent)}
    return {family: 2 if bypass and _is_bypassed(graph, family) else 1 for family in wider.values()}


def _extent(family: EdgeFamily) -> float:
    return inf if family.last is None else family.last


def _is_bypassed(graph: CausalStructure, family: EdgeFamily) -> bool:
    """True of a residual edge into an event whose value has the residual in it."""
    adding = graph.wiring.adding
    passed = adding[:1] if graph.wiring.parallel_residual else adding
    return family.stream == "residual" and family.target.kind in passed
