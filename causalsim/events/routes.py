"""Routes along the two highways: how many lead from one event to another, and which."""

from __future__ import annotations

from collections.abc import Iterator
from math import comb

from causalsim.errors import InputError
from causalsim.events.event import Event
from causalsim.events.kinds import KINDS
from causalsim.events.limits import refuse_long
from causalsim.events.structure import CausalStructure

Windows = tuple[int | None, ...]


def count_routes(graph: CausalStructure, a: Event, b: Event) -> int:
    """Number of routes from ``a = kv(l0,p0)`` to ``b = attn(l1,p1)``, exactly.

    A route is its rise positions p0 <= q1 <= ... <= qn <= p1 with n = l1 - l0; windows bound
    each hop. In full attention there are C(m + n, n) of them, m = p1 - p0. With windows that
    bind they are summed layer by layer, ``LimitError`` at once where that would take minutes.

    Args:
        graph: An event graph without feedback.
        a: A K/V event.
        b: An attention.

    Returns:
        The number; 0 where no route leads from one to the other.

    Raises:
        InputError: Other ends, or another graph.
        LimitError: The count would take minutes.

    >>> from causalsim.events import Event, EventGraph, Wiring
    >>> count_routes(EventGraph(Wiring(13), 11), Event("kv", 0, 0), Event("attn", 12, 10))
    646646
    """
    windows, m = _checked_windows(graph, a, b), b.position - a.position
    if not _connectable(a, b):
        return 0
    if all(window is None or window > m for window in windows):
        return comb(m + len(windows) - 1, m)
    refuse_long("a count of routes sums over layers and positions", len(windows) * (m + 1))
    counts = [1] + [0] * m
    for window in windows:
        counts = _spread_right(counts, window)
    return counts[-1]


def routes(graph: CausalStructure, a: Event, b: Event) -> Iterator[tuple[int, ...]]:
    """The routes from kv ``a`` to attn ``b`` in lexicographic order of their rise positions.

    Args:
        graph: An event graph without feedback.
        a: A K/V event.
        b: An attention.

    Yields:
        The positions at which a route rises, one a layer.

    Raises:
        InputError: Other ends, or another graph.

    >>> from causalsim.events import Event, EventGraph, Wiring
    >>> list(routes(EventGraph(Wiring(2), 3), Event("kv", 0, 0), Event("attn", 1, 2)))
    [(0,), (1,), (2,)]
    """
    windows = _checked_windows(graph, a, b)
    if _connectable(a, b):
        yield from _climb(a.position, b.position, windows)


def _climb(start: int, goal: int, windows: Windows) -> Iterator[tuple[int, ...]]:
    floors = _floors(start, goal, windows)
    if start < floors[0]:
        return
    # A route with its start before it: as far left as it goes, then from the end one to the right.
    stops = [start]
    while True:
        while len(stops) < len(windows):
            stops.append(max(stops[-1], floors[len(stops)]))
        yield tuple(stops[1:])
        while len(stops) > 1 and stops[-1] == _furthest(stops[-2], goal, windows[len(stops) - 2]):
            stops.pop()
        if len(stops) == 1:
            return
        stops[-1] += 1


def _floors(start: int, goal: int, windows: Windows) -> list[int]:
    """Before each hop, the first position from which the hops that are left still reach the goal."""
    floors = [goal]
    for window in reversed(windows):
        floors.append(start if window is None else max(start, floors[-1] - window + 1))
    return floors[:0:-1]


def _furthest(here: int, goal: int, window: int | None) -> int:
    return goal if window is None else min(goal, here + window - 1)


def _spread_right(counts: list[int], window: int | None) -> list[int]:
    spread, total = [], 0
    for position, count in enumerate(counts):
        total += count
        if window is not None and position >= window:
            total -= counts[position - window]
        spread.append(total)
    return spread


def _connectable(a: Event, b: Event) -> bool:
    return a.request == b.request and a.layer <= b.layer and a.position <= b.position


def _checked_windows(graph: CausalStructure, a: Event, b: Event) -> Windows:
    if graph.granularity == "sublayer":
        graph.check(a)
        graph.check(b)
    is_route = KINDS[a.kind].writes == "kv" and KINDS[b.kind].attends
    if graph.has_feedback or graph.granularity != "sublayer" or not is_route:
        raise InputError(
            "routes lead from a kv event to an attn event of a sublayer graph without feedback",
            got=f"{a} to {b} in {graph}",
            hint="count_paths counts directed paths between any two events of any graph.",
        )
    return graph.wiring.windows_by_layer[a.layer : b.layer + 1]
