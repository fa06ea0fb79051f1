"""The space of orders of one graph: adjacent swaps, distance, and the path of swaps between two.

The linear extensions of a poset, joined where they differ by a swap of neighbours, are a connected
graph, and any two are as far apart as there are pairs that they order differently (Bjorner and Wachs
1991; Bouchitte and Habib 1987).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from causalsim.arguments import check_type
from causalsim.errors import InputError
from causalsim.events import Event
from causalsim.foliations.foliation import Foliation


def adjacent_swaps(order: Foliation) -> Iterator[tuple[Event, Event]]:
    """The pairs of neighbours of a linear extension that are not comparable, each of which may swap.

    In their order of running. Swapping one gives another linear extension, one step away.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import token_major
    >>> order = token_major(EventGraph(Wiring(2), 2, granularity="block"))
    >>> [(str(a), str(b)) for a, b in adjacent_swaps(order)]
    [('block(1,0)', 'block(0,1)')]
    """
    events = _sequence(order)
    return ((a, b) for a, b in pairwise(events) if not order.graph.precedes(a, b))


def swapped(order: Foliation, first: Event, second: Event) -> Foliation:
    """The linear extension in which two neighbours have changed places.

    Raises ``CausalityError`` if one reads the other, and ``InputError`` if they are no neighbours.

    >>> from causalsim.events import Event, EventGraph, Wiring
    >>> from causalsim.foliations import token_major
    >>> order = token_major(EventGraph(Wiring(2), 2, granularity="block"))
    >>> swapped(order, Event("block", 1, 0), Event("block", 0, 1)).times.tolist()
    [0, 2, 1, 3]
    """
    _sequence(order)
    places = [order.graph.index(event) for event in (first, second)]
    found = order.times[places]
    if abs(int(found[0]) - int(found[1])) != 1:
        raise InputError("neighbours change places", got=f"{first} at {found[0]} and {second} at {found[1]}")
    times = order.times.copy()
    times[places] = found[::-1]
    return Foliation(order.graph, times)


def distance(a: Foliation, b: Foliation) -> int:
    """The least number of adjacent swaps from one linear extension to another.

    The pairs of events that they order differently (Kendall 1938), counted in n log n or so.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import layer_major, token_major
    >>> graph = EventGraph(Wiring(2), 2, granularity="block")
    >>> distance(token_major(graph), layer_major(graph).refine())
    1
    """
    seen: list[int] = []
    total = 0
    for k, place in enumerate(_moves(a, b)):
        total += k - bisect_right(seen, place)
        insort(seen, place)
    return total


def swap_path(a: Foliation, b: Foliation) -> Iterator[Foliation]:
    """A shortest way from one linear extension to another, both ends included, one swap a step.

    The first neighbours that ``b`` orders the other way change places until there are none (as in
    insertion sort): such a pair is not comparable, so every step is a linear extension. The step at
    number k, for bisection, is ``next(islice(swap_path(a, b), k, None))``.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import layer_major, token_major
    >>> graph = EventGraph(Wiring(2), 2, granularity="block")
    >>> [order.times.tolist() for order in swap_path(token_major(graph), layer_major(graph).refine())]
    [[0, 1, 2, 3], [0, 2, 1, 3]]
    """
    goals, events = _moves(a, b), np.argsort(a.times).tolist()
    yield a
    for k in range(1, len(goals)):
        while k and goals[k - 1] > goals[k]:
            for row in (goals, events):
                row[k - 1 : k + 1] = row[k], row[k - 1]
            k -= 1
            times = np.empty(len(events), np.int64)
            times[events] = np.arange(len(events))
            yield Foliation(a.graph, times)


def is_refinement(fine: Foliation, coarse: Foliation) -> bool:
    """Whether every slice of one foliation lies in a slice of the other, in the same order of time.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import layer_major
    >>> flat = layer_major(EventGraph(Wiring(1), 2))
    >>> is_refinement(flat.refine(), flat), is_refinement(flat, flat.refine())
    (True, False)
    """
    _same(fine, coarse)
    coarser = coarse.times[np.argsort(fine.times, kind="stable")]
    splits = np.flatnonzero(np.diff(np.sort(fine.times)) == 0)
    ascending = bool((np.diff(coarser) >= 0).all())
    return ascending and bool((np.diff(coarser)[splits] == 0).all())


def _moves(a: Foliation, b: Foliation) -> list[int]:
    """Where ``b`` has each event, in the order of ``a``."""
    for order in (a, b):
        _sequence(order)
    _same(a, b)
    found: list[int] = b.times[np.argsort(a.times)].tolist()
    return found


def _sequence(order: Foliation) -> list[Event]:
    check_type("an order", order, Foliation)
    if order.width > 1:
        raise InputError(
            "swaps are of linear extensions, which have one event a slice",
            got=f"slices of up to {order.width}",
            cure="refine() splits them.",
        )
    return [order.graph[int(i)] for i in np.argsort(order.times)]


def _same(a: Foliation, b: Foliation) -> None:
    for order in (a, b):
        check_type("an order", order, Foliation)
    if a.graph != b.graph:
        raise InputError("two orders are compared over one graph", got=repr(b.graph), expected=repr(a.graph))
