"""Light cones: the past and the future of an event, as intervals of positions, site by site.

A family maps an interval of positions to an interval, so a cone is never stored event by
event. Only feedback can tear one: the future of a prompt event skips the rest of the
prompt and goes on behind the first sampled token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Literal

from causalsim.arguments import check_type
from causalsim.events.checks import checked_graph
from causalsim.events.event import Event
from causalsim.events.wiring import EdgeFamily, Site

if TYPE_CHECKING:
    from causalsim.events.graph import EventGraph

Interval = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Cone(Set[Event]):
    """A set of events of one request: for each site the disjoint intervals of positions in it.

    >>> from causalsim.events import Event, EventGraph, Wiring
    >>> graph = EventGraph(Wiring(1), 1)
    >>> cone = graph.past(Event("attn", 0, 0))
    >>> len(cone), Event("kv", 0, 0) in cone
    (2, True)
    """

    request: int
    spans: dict[Site, tuple[Interval, ...]]

    def __contains__(self, event: object) -> bool:
        if not isinstance(event, Event) or event.request != self.request:
            return False
        spans = self.spans.get(Site(event.kind, event.layer), ())
        return any(low <= event.position <= high for low, high in spans)

    def __iter__(self) -> Iterator[Event]:
        for site, spans in self.spans.items():
            for low, high in spans:
                for position in range(low, high + 1):
                    yield Event(site.kind, site.layer, position, self.request)

    def __len__(self) -> int:
        return sum(high - low + 1 for spans in self.spans.values() for low, high in spans)

    def __and__(self, other: Set[object]) -> Set[Event]:
        if not isinstance(other, Cone):
            return super().__and__(other)
        if self.request != other.request:
            return frozenset()
        common = {site: _common(spans, other.spans.get(site, ())) for site, spans in self.spans.items()}
        return Cone(self.request, {site: spans for site, spans in common.items() if spans})

    def __hash__(self) -> int:
        return self._hash()

    @classmethod
    def _from_iterable(cls, it: Iterable[Event]) -> frozenset[Event]:  # type: ignore[override]
        return frozenset(it)


def diamond(graph: EventGraph, a: Event, b: Event) -> Set[Event]:
    """The causal diamond: all events after ``a`` and before ``b``, both left out (the open interval).

    Every path from ``a`` to ``b`` runs through it. An intersection of intervals of positions, site by site.

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

    >>> from causalsim.events import Event, EventGraph, Wiring
    >>> graph = EventGraph(Wiring(3, windows=2), 9)
    >>> growth(graph.past(Event("attn", 2, 8)))
    {-1: 4, 0: 4, 1: 3, 2: 2}
    """
    check_type("a light cone", cone, Cone, "graph.past(event) and graph.future(event) are such.")
    reached: dict[int, tuple[Interval, ...]] = {}
    for site, spans in cone.spans.items():
        for span in spans:
            grown = _add(reached.get(site.layer, ()), span)
            reached[site.layer] = grown[0] if grown else reached[site.layer]
    return {layer: sum(high - low + 1 for low, high in reached[layer]) for layer in sorted(reached)}


def cone(graph: EventGraph, event: Event, direction: Literal[-1, 1]) -> Cone:
    """The strict past (-1) or future (+1) of an event, by spreading intervals over the families.

    >>> from causalsim.events import Event, EventGraph, Wiring
    >>> [event.kind for event in cone(EventGraph(Wiring(1), 1), Event("attn", 0, 0), -1)]
    ['embed', 'kv']
    """
    columns = graph.requests[event.request]
    families = graph.families_into if direction < 0 else graph.families_from
    spans: dict[Site, tuple[Interval, ...]] = {}
    # Taking the site nearest to the start first means that without feedback each is expanded once.
    heap = [(0, Site(event.kind, event.layer), (event.position, event.position))]
    while heap:
        _, site, reached = heappop(heap)
        for family in families[site]:
            other = family.source if direction < 0 else family.target
            found = _meet(_shifted(reached, family, direction, columns.length), columns.positions(other))
            if found is not None and (grown := _add(spans.get(other, ()), found)) is not None:
                spans[other] = grown[0]
                heappush(heap, (direction * columns.rank[other], other, grown[1]))
    return Cone(event.request, {site: spans[site] for site in columns.sites if site in spans})


def _common(spans: tuple[Interval, ...], others: tuple[Interval, ...]) -> tuple[Interval, ...]:
    found = ((max(a, c), min(b, d)) for a, b in spans for c, d in others)
    return tuple((low, high) for low, high in found if low <= high)


def _shifted(reached: Interval, family: EdgeFamily, direction: int, length: int) -> Interval:
    low, high = reached
    if direction < 0:
        return (0 if family.last is None else low - family.last), high - family.first
    return low + family.first, (length if family.last is None else high + family.last)


def _meet(interval: Interval, held: range) -> Interval | None:
    low, high = max(interval[0], held.start), min(interval[1], held.stop - 1)
    return (low, high) if low <= high else None


def _add(spans: tuple[Interval, ...], new: Interval) -> tuple[tuple[Interval, ...], Interval] | None:
    """Spans with one more interval in them, and the merged interval; ``None`` if it was there."""
    low, high = new
    if any(a <= low and high <= b for a, b in spans):
        return None
    touching = [(a, b) for a, b in spans if a <= high + 1 and low <= b + 1]
    merged = min([low, *(a for a, _ in touching)]), max([high, *(b for _, b in touching)])
    apart = [span for span in spans if span not in touching]
    return tuple(sorted([*apart, merged])), merged
