"""Orders of a graph, legal and broken, encoded so that hypothesis shrinks them toward one reference.

The reference is ``earliest(graph)``, what ``verify`` compares other orders with. A foliation is
drawn as how long each event waits after the last that it reads, a linear extension as how many
events each overtakes: all zeros are the reference, and less is nearer to it. Decode, in which
columns start far apart and in order, would hardly ever come up so: hence a switch and a factor
a draw, which shrink to nothing. Inside, events are canonical indices.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from hypothesis import note
from hypothesis import strategies as st

from causalsim.errors import InputError
from causalsim.events import Edge, Event, EventGraph
from causalsim.foliations import Foliation, earliest
from causalsim.testing.strategies.bounds import check_graph

SHOWN = 12


class BrokenTimes(NamedTuple):
    """A time for every event, in canonical order, and the one edge that runs backwards in them."""

    times: tuple[int, ...]
    edge: Edge


def foliations(graph: EventGraph) -> st.SearchStrategy[Foliation]:
    """Every foliation of a graph, with slices from narrow to wide.

    A counterexample keeps the fewest events that wait, each for the fewest slices, and tells them
    in a note.

    Args:
        graph: A graph of at most 1,000 events.

    Returns:
        A strategy that shrinks toward ``earliest(graph)``.

    Raises:
        LimitError: For a larger graph.

    >>> from hypothesis import find
    >>> from causalsim.events import Wiring
    >>> graph = EventGraph(Wiring(1), 1)
    >>> find(foliations(graph), lambda foliation: True) == earliest(graph)
    True
    """
    check_graph(graph)
    return _foliations(graph)


@st.composite
def _foliations(draw: st.DrawFn, graph: EventGraph) -> Foliation:
    waits, times = _waits(draw, graph), list[int]()
    for wait, sources in zip(waits, _sources(graph), strict=True):
        times.append(wait + max((times[source] + 1 for source in sources), default=0))
    return Foliation(graph, times)


def _waits(draw: st.DrawFn, graph: EventGraph) -> list[int]:
    """Return the wait of each event: short waits give wide slices, long ones narrow slices.

    The events that read nothing, where columns start, may wait longer, and for each other.
    """
    queued, apart = draw(st.booleans()), draw(st.integers(1, 2 * len(graph.sites)))
    longest = 2 ** draw(st.integers(0, len(graph).bit_length()))
    drawn = draw(st.lists(st.integers(0, longest), min_size=len(graph), max_size=len(graph)))
    waits = np.array(drawn)
    for starts in _starts(graph):
        waits[starts] = apart * (np.cumsum(waits[starts]) if queued else waits[starts])
    note(_Moved(graph, "waits", waits.tolist()))
    return waits.tolist()


def linear_extensions(graph: EventGraph) -> st.SearchStrategy[Foliation]:
    """Every order in which the events can be run one by one, as a foliation of that many slices.

    Each event is drawn as how many of those that the reference, ``earliest(graph).refine()``, has
    before it it overtakes. Every order has one such code (Lehmer's), whose sum is the number of
    adjacent swaps to the reference (Kendall's tau): a counterexample keeps few, and tells them
    in a note.

    Args:
        graph: A graph of at most 1,000 events.

    Returns:
        A strategy that shrinks toward the reference.

    Raises:
        LimitError: For a larger graph.
    """
    check_graph(graph)
    return _linear_extensions(graph)


@st.composite
def _linear_extensions(draw: st.DrawFn, graph: EventGraph) -> Foliation:
    shuffled, ahead = draw(st.booleans()), 2 ** draw(st.integers(0, len(graph).bit_length()))
    order, overtaken = list[int](), [0] * len(graph)
    for event in _reference(graph):
        sources = _sources(graph)[event]
        free = _behind(order, sources)
        # Columns that start in order and run ahead as far as they can are token-major order.
        factor = ahead if sources else int(shuffled)
        overtaken[event] = min(free, factor * draw(st.integers(0, free)))
        order.insert(len(order) - overtaken[event], event)
    note(_Moved(graph, "overtakes", overtaken))
    return Foliation(graph, np.argsort(order))


def _behind(order: Sequence[int], sources: Collection[int]) -> int:
    """The number of events behind the last of some others."""
    return next((free for free, event in enumerate(reversed(order)) if event in sources), len(order))


def down_sets(graph: EventGraph) -> st.SearchStrategy[frozenset[Event]]:
    """Every set of events that holds the past of each.

    Args:
        graph: A graph of at most 1,000 events.

    Returns:
        A strategy that shrinks toward the empty set.

    Raises:
        LimitError: For a larger graph.
    """
    check_graph(graph)
    return _down_sets(graph)


@st.composite
def _down_sets(draw: st.DrawFn, graph: EventGraph) -> frozenset[Event]:
    index = st.integers(0, len(graph) - 1)
    tops = [graph[i] for i in draw(st.lists(index, max_size=graph.width, unique=True))]
    return frozenset(tops).union(*map(graph.past, tops))


def broken_times(graph: EventGraph) -> st.SearchStrategy[BrokenTimes]:
    """Times that exactly one edge of the Hasse diagram runs against, while all others are respected.

    Of parallel edges, which break together, ``edge`` is the one that ``CausalityError`` carries.

    Args:
        graph: A graph of at most 1,000 events.

    Returns:
        A strategy that shrinks toward the first edge broken in ``earliest(graph)``.

    Raises:
        LimitError: For a larger graph.
        InputError: For a graph without edges.
    """
    check_graph(graph)
    if not any(_sources(graph)):
        raise InputError(
            "only a graph with edges has times that break one",
            got=repr(graph),
            hint="Take two layers, or sublayer granularity.",
        )
    return _broken_times(graph)


@st.composite
def _broken_times(draw: st.DrawFn, graph: EventGraph) -> BrokenTimes:
    readers = [index for index, sources in enumerate(_sources(graph)) if sources]
    reader = graph[draw(st.sampled_from(readers))]
    edge = draw(st.sampled_from(list(graph.covers_into(reader))))
    return BrokenTimes(_against(graph, edge, _waits(draw, graph)), edge)


def _against(graph: EventGraph, edge: Edge, waits: Sequence[int]) -> tuple[int, ...]:
    """Each event waits after the last that it reads; but the source of a cover is not before its target."""
    source, target = graph.index(edge.source), graph.index(edge.target)
    past = {graph.index(event) for event in graph.past(edge.target)} - {source}
    rest = [index for index in range(len(graph)) if index not in {source, target, *past}]
    times: dict[int, int] = {}
    # Nothing lies between source and target, so all that either reads comes before both.
    for index in (*sorted(past), target, source, *rest):
        reads = [times[read] + 1 for read in _sources(graph)[index] if read in times]
        least = times[target] if index == source else 0
        times[index] = waits[index] + max([least, *reads])
    return tuple(times[index] for index in range(len(graph)))


@lru_cache(maxsize=64)
def _sources(graph: EventGraph) -> list[tuple[int, ...]]:
    return graph.explicit()


def _starts(graph: EventGraph) -> list[list[int]]:
    """The events that read nothing, request by request."""
    first = graph.sites[0]
    return [[columns.index(first, p) for p in range(columns.prompt)] for columns in graph.requests]


@lru_cache(maxsize=64)
def _reference(graph: EventGraph) -> list[int]:
    """The events in the order of ``earliest(graph).refine()``."""
    return np.argsort(earliest(graph).times, kind="stable").tolist()


class _Moved(NamedTuple):
    """The difference of an order from the reference, spelt out only where hypothesis tells of a failure."""

    graph: EventGraph
    word: str
    counts: Sequence[int]

    def __repr__(self) -> str:
        moved = [f"{self.graph[i]} {self.word} {count}" for i, count in enumerate(self.counts) if count]
        more = [f"and {len(moved) - SHOWN} more"] * (len(moved) > SHOWN)
        return f"Against the reference order: {', '.join(moved[:SHOWN] + more) or 'nothing'}."
