"""Steps from one foliation of a graph to another: adjacent swaps, merges, distance, and paths.

The linear extensions of a poset, joined where they differ by a swap of neighbours, are a connected
graph, and any two are as far apart as there are pairs that they order differently (Bjorner and Wachs
1991; Bouchitte and Habib 1987).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import overload

import numpy as np

from causalsim.arguments import check_type
from causalsim.errors import InputError
from causalsim.events import Event
from causalsim.foliations.foliation import Foliation, same_graph


@dataclass(frozen=True)
class Path(Sequence[Foliation]):
    """Foliations from one to another, each a small step from the next; any is made when it is asked for.

    A slice of a path is a path, so that ``path[::-1]`` goes back.

    Attributes:
        size: How many.
        at: Makes the one of a number.
    """

    size: int
    at: Callable[[int], Foliation]

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, step: int) -> Foliation: ...

    @overload
    def __getitem__(self, step: slice) -> Path: ...

    def __getitem__(self, step: int | slice) -> Foliation | Path:
        chosen = range(self.size)[step]
        if isinstance(chosen, int):
            return self.at(chosen)
        return Path(len(chosen), lambda k: self.at(chosen[k]))


def adjacent_swaps(extension: Foliation) -> Iterator[tuple[Event, Event]]:
    """The pairs of neighbours of a linear extension that are not comparable, each of which may swap.

    In their order of running. Swapping one gives another linear extension, one step away.

    Args:
        extension: A linear extension.

    Returns:
        Pairs of events, the earlier first.

    Raises:
        InputError: Some slice has several events.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import token_major
    >>> order = token_major(EventGraph(Wiring(2), 2, granularity="block"))
    >>> [(str(a), str(b)) for a, b in adjacent_swaps(order)]
    [('block(1,0)', 'block(0,1)')]
    """
    events = _sequence(extension)
    return ((a, b) for a, b in pairwise(events) if not extension.graph.precedes(a, b))


def swapped(extension: Foliation, first: Event, second: Event) -> Foliation:
    """The linear extension in which two neighbours have changed places.

    Args:
        extension: A linear extension.
        first: An event.
        second: One that runs just before it or just after it.

    Returns:
        A linear extension one step away.

    Raises:
        CausalityError: One reads the other.
        InputError: They are no neighbours, or some slice has several events.

    >>> from causalsim.events import Event, EventGraph, Wiring
    >>> from causalsim.foliations import token_major
    >>> order = token_major(EventGraph(Wiring(2), 2, granularity="block"))
    >>> swapped(order, Event("block", 1, 0), Event("block", 0, 1)).times.tolist()
    [0, 2, 1, 3]
    """
    _sequence(extension)
    places = [extension.graph.index(event) for event in (first, second)]
    found = extension.times[places]
    if abs(int(found[0]) - int(found[1])) != 1:
        raise InputError("neighbours change places", got=f"{first} at {found[0]} and {second} at {found[1]}")
    times = extension.times.copy()
    times[places] = found[::-1]
    return Foliation(extension.graph, times)


def distance(a: Foliation, b: Foliation) -> int:
    """The least number of adjacent swaps from one linear extension to another.

    The pairs of events that they order differently (Kendall 1938), counted in n log n or so.

    Args:
        a: A linear extension.
        b: Another one of the same graph.

    Returns:
        Swaps.

    Raises:
        InputError: Graphs differ, or some slice has several events.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import layer_major, token_major
    >>> graph = EventGraph(Wiring(2), 2, granularity="block")
    >>> distance(token_major(graph), layer_major(graph).refine())
    1
    """
    return sum(_overtaken(_moves(a, b)))


def swap_path(a: Foliation, b: Foliation) -> Path:
    """A shortest way from one linear extension to another, both ends included, one swap a step.

    The first neighbours that ``b`` orders the other way change places until there are none (as in
    insertion sort): such a pair is not comparable, so every step is a linear extension.

    Args:
        a: A linear extension.
        b: Another one of the same graph.

    Returns:
        The path.

    Raises:
        InputError: Graphs differ, or some slice has several events.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import layer_major, token_major
    >>> graph = EventGraph(Wiring(2), 2, granularity="block")
    >>> [order.times.tolist() for order in swap_path(token_major(graph), layer_major(graph).refine())]
    [[0, 1, 2, 3], [0, 2, 1, 3]]
    """
    goals, events = np.array(_moves(a, b)), np.argsort(a.times)
    swaps = np.cumsum(_overtaken(goals.tolist()))

    def at(step: int) -> Foliation:
        # Before this event all are in the order of ``b``, behind it in that of ``a``.
        moving = int(np.searchsorted(swaps, step))
        left = step - int(swaps[moving - 1]) if moving else 0
        sorted_ = events[:moving][np.argsort(goals[:moving])]
        running = np.concatenate([np.insert(sorted_, moving - left, events[moving]), events[moving + 1 :]])
        return Foliation(a.graph, np.argsort(running))

    return Path(int(swaps[-1]) + 1, at)


def merge_path(fine: Foliation, coarse: Foliation) -> Path:
    """The way from a foliation to one that it refines, both ends included, one merge of neighbours a step.

    The first two slices that stand in one of ``coarse`` are merged until there are none. Back, by
    ``[::-1]``, it splits them.

    Args:
        fine: A foliation.
        coarse: One that it refines.

    Returns:
        The path.

    Raises:
        InputError: The first does not refine the other.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import layer_major
    >>> flat = layer_major(EventGraph(Wiring(2), 2, granularity="block"))
    >>> [order.times.tolist() for order in merge_path(flat.refine(), flat)]
    [[0, 2, 1, 3], [0, 1, 0, 2], [0, 1, 0, 1]]
    """
    if not is_refinement(fine, coarse):
        raise InputError(
            "slices are merged on the way from a refinement", got=repr(fine), expected=f"one of {coarse!r}"
        )
    stands_in = np.empty(fine.depth, np.int64)
    stands_in[fine.times] = coarse.times
    joints = np.flatnonzero(np.diff(stands_in) == 0) + 1

    def at(step: int) -> Foliation:
        begins = np.ones(fine.depth, np.int64)
        begins[joints[:step]] = 0
        return Foliation(fine.graph, np.cumsum(begins)[fine.times])

    return Path(len(joints) + 1, at)


def is_refinement(fine: Foliation, coarse: Foliation) -> bool:
    """True if every slice of one foliation lies in a slice of the other, in the same order of time.

    Args:
        fine: A foliation.
        coarse: Another one of the same graph.

    Returns:
        The answer.

    Raises:
        InputError: Graphs differ.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import layer_major
    >>> flat = layer_major(EventGraph(Wiring(1), 2))
    >>> is_refinement(flat.refine(), flat), is_refinement(flat, flat.refine())
    (True, False)
    """
    for foliation in (fine, coarse):
        check_type("a foliation", foliation, Foliation)
    same_graph(fine, coarse)
    coarser = coarse.times[np.argsort(fine.times, kind="stable")]
    splits = np.flatnonzero(np.diff(np.sort(fine.times)) == 0)
    ascending = bool((np.diff(coarser) >= 0).all())
    return ascending and bool((np.diff(coarser)[splits] == 0).all())


def _moves(a: Foliation, b: Foliation) -> list[int]:
    """The places in ``b`` of each event, in the order of ``a``."""
    for extension in (a, b):
        _sequence(extension)
    same_graph(a, b)
    found: list[int] = b.times[np.argsort(a.times)].tolist()
    return found


def _overtaken(goals: Sequence[int]) -> list[int]:
    """For each place, how many of those before it have a later goal."""
    seen: list[int] = []
    found = []
    for k, goal in enumerate(goals):
        found.append(k - bisect_right(seen, goal))
        insort(seen, goal)
    return found


def _sequence(extension: Foliation) -> list[Event]:
    check_type("a foliation", extension, Foliation)
    if extension.width > 1:
        raise InputError(
            "swaps are of linear extensions, which have one event a slice",
            got=f"slices of up to {extension.width}",
            hint="refine() splits them.",
        )
    return [extension.graph[int(i)] for i in np.argsort(extension.times)]
