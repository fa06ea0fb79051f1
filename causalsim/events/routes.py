"""Routes along the two highways: how many lead from one event to another, and which."""

from __future__ import annotations

from collections.abc import Iterator
from math import comb
from typing import TYPE_CHECKING

from causalsim.errors import InputError
from causalsim.events.event import Event
from causalsim.events.limits import refuse_long

if TYPE_CHECKING:
    from causalsim.events.graph import EventGraph

Reaches = tuple[int | None, ...]


def count_routes(graph: EventGraph, a: Event, b: Event) -> int:
    """Number of routes from ``a = kv(l0,p0)`` to ``b = attn(l1,p1)``, exactly.

    A route is its rise positions p0 <= q1 <= ... <= qn <= p1 with n = l1 - l0; windows bound
    each hop. In full attention there are C(m + n, n) of them, m = p1 - p0. With windows that
    bind they are summed layer by layer, ``LimitError`` at once where that would take minutes.

    >>> from causalsim.events import Event, EventGraph, Wiring
    >>> count_routes(EventGraph(Wiring(13), 11), Event("kv", 0, 0), Event("attn", 12, 10))
    646646
    """
    reaches, m = _checked_reaches(graph, a, b), b.position - a.position
    if not _connectable(a, b):
        return 0
    if all(reach is None or reach > m for reach in reaches):
        return comb(m + len(reaches) - 1, m)
    refuse_long("a count of routes sums over layers and positions", len(reaches) * (m + 1))
    counts = [1] + [0] * m
    for reach in reaches:
        counts = _spread_right(counts, reach)
    return counts[-1]


def routes(graph: EventGraph, a: Event, b: Event) -> Iterator[tuple[int, ...]]:
    """The routes from kv ``a`` to attn ``b`` in lexicographic order of their rise positions.

    >>> from causalsim.events import Event, EventGraph, Wiring
    >>> list(routes(EventGraph(Wiring(2), 3), Event("kv", 0, 0), Event("attn", 1, 2)))
    [(0,), (1,), (2,)]
    """
    reaches = _checked_reaches(graph, a, b)
    if _connectable(a, b):
        yield from _climb(a.position, b.position, reaches)


def _climb(start: int, goal: int, reaches: Reaches) -> Iterator[tuple[int, ...]]:
    floors = _floors(start, goal, reaches)
    if start < floors[0]:
        return
    # A route with its start before it: as far left as it goes, then from the end one to the right.
    stops = [start]
    while True:
        while len(stops) < len(reaches):
            stops.append(max(stops[-1], floors[len(stops)]))
        yield tuple(stops[1:])
        while len(stops) > 1 and stops[-1] == _furthest(stops[-2], goal, reaches[len(stops) - 2]):
            stops.pop()
        if len(stops) == 1:
            return
        stops[-1] += 1


def _floors(start: int, goal: int, reaches: Reaches) -> list[int]:
    """Before each hop, the first position from which the hops that are left still reach the goal."""
    floors = [goal]
    for reach in reversed(reaches):
        floors.append(start if reach is None else max(start, floors[-1] - reach + 1))
    return floors[:0:-1]


def _furthest(here: int, goal: int, reach: int | None) -> int:
    return goal if reach is None else min(goal, here + reach - 1)


def _spread_right(counts: list[int], reach: int | None) -> list[int]:
    spread, total = [], 0
    for position, count in enumerate(counts):
        total += count
        if reach is not None and position >= reach:
            total -= counts[position - reach]
        spread.append(total)
    return spread


def _connectable(a: Event, b: Event) -> bool:
    return a.request == b.request and a.layer <= b.layer and a.position <= b.position


def _checked_reaches(graph: EventGraph, a: Event, b: Event) -> Reaches:
    if graph.granularity == "sublayer":
        graph.check(a)
        graph.check(b)
    if graph.has_feedback or graph.granularity != "sublayer" or (a.kind, b.kind) != ("kv", "attn"):
        raise InputError(
            "routes lead from a kv event to an attn event of a sublayer graph without feedback",
            got=f"{a} to {b} in {graph}",
            cure="count_paths counts directed paths between any two events of any graph.",
        )
    return graph.wiring.reaches[a.layer : b.layer + 1]
