"""Routes along the two highways, and directed paths: how many ways lead from one event to another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from causalsim.errors import InputError
from causalsim.events.event import Edge, Event

if TYPE_CHECKING:
    from causalsim.events.graph import EventGraph

Reaches = tuple[int | None, ...]


def count_routes(graph: EventGraph, a: Event, b: Event) -> int:
    """Number of routes from ``a = kv(l0,p0)`` to ``b = attn(l1,p1)``, exactly.

    A route is its rise positions p0 <= q1 <= ... <= qn <= p1 with n = l1 - l0; windows bound
    each hop. In full attention there are C(m + n, n) of them, m = p1 - p0.
    """
    reaches = _checked_reaches(graph, a, b)
    if not _connectable(a, b):
        return 0
    counts = [1] + [0] * (b.position - a.position)
    for reach in reaches:
        counts = _spread_right(counts, reach)
    return counts[-1]


def routes(graph: EventGraph, a: Event, b: Event) -> Iterator[tuple[int, ...]]:
    """The routes from kv ``a`` to attn ``b`` in lexicographic order of their rise positions."""
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


def count_paths(graph: EventGraph, a: Event, b: Event, bypass: bool = False) -> int:
    """Number of directed paths from ``a`` to ``b``, as sequences of events, exactly.

    With ``bypass`` a residual edge into an attention or an MLP counts twice, once through the
    computation and once past it (with a parallel residual the MLP's value is its increment
    alone, and an edge into it counts once). A path from an event to itself is the empty one.
    """
    graph.check(a)
    graph.check(b)
    if a == b:
        return 1
    between = graph.future(a) & graph.past(b)
    counts = {a: 1}
    for event in [*sorted(between, key=graph.index), b]:
        weights = _weights(graph, event, bypass)
        counts[event] = sum(counts[source] * weight for source, weight in weights.items() if source in counts)
    return counts[b]


def _weights(graph: EventGraph, event: Event, bypass: bool) -> dict[Event, int]:
    weights: dict[Event, int] = {}
    for edge in graph.edges_into(event):
        ways = 2 if bypass and _is_bypassed(graph, edge) else 1
        weights[edge.source] = max(weights.get(edge.source, 1), ways)
    return weights


def _is_bypassed(graph: EventGraph, edge: Edge) -> bool:
    skipped = ("attn",) if graph.wiring.parallel_residual else ("attn", "mlp")
    return edge.stream == "residual" and edge.target.kind in skipped
