"""Light cones: the past and the future of an event, as intervals of positions, site by site.

A family maps an interval of positions to an interval, so a cone is never stored event by
event. Only feedback can tear one: the future of a prompt event skips the rest of the
prompt and goes on behind the first sampled token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Literal

from causalsim.events.columns import Columns
from causalsim.events.event import Event
from causalsim.events.wiring import EdgeFamily, Site

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


def cone(
    columns: Columns, families: Mapping[Site, Sequence[EdgeFamily]], event: Event, direction: Literal[-1, 1]
) -> Cone:
    """Return the strict past (-1) or future (+1) of an event, by spreading intervals over the families.

    ``families`` are those that end at each site, or for the future those that start there.

    >>> from causalsim.events import EventGraph, Wiring
    >>> graph = EventGraph(Wiring(1), 1)
    >>> past = cone(graph.requests[0], graph.families_into, Event("attn", 0, 0), -1)
    >>> [event.kind for event in past]
    ['embed', 'kv']
    """
    spans: dict[Site, tuple[Interval, ...]] = {}
    # Taking the site nearest to the start first means that without feedback each is expanded once.
    heap = [(0, Site(event.kind, event.layer), (event.position, event.position))]
    while heap:
        _, site, reached = heappop(heap)
        for family in families[site]:
            other = family.source if direction < 0 else family.target
            found = _meet(_shifted(reached, family, direction, columns.length), columns.positions(other))
            if found is not None and (grown := merged(spans.get(other, ()), found)) is not None:
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


def merged(spans: tuple[Interval, ...], new: Interval) -> tuple[tuple[Interval, ...], Interval] | None:
    """Return spans with one more interval in them, and the merged interval; ``None`` if it was there.

    >>> merged(((0, 1), (5, 6)), (2, 3))
    (((0, 3), (5, 6)), (0, 3))
    """
    low, high = new
    if any(a <= low and high <= b for a, b in spans):
        return None
    touching = [(a, b) for a, b in spans if a <= high + 1 and low <= b + 1]
    merged = min([low, *(a for a, _ in touching)]), max([high, *(b for _, b in touching)])
    apart = [span for span in spans if span not in touching]
    return tuple(sorted([*apart, merged])), merged
