"""The lattice of down-sets as a graph of states, and what branches off at one step of it."""

from __future__ import annotations

from collections import deque
from itertools import combinations, islice
from math import comb
from typing import TYPE_CHECKING

from causalsim import posets
from causalsim.arguments import as_int, check_limit, shown
from causalsim.errors import InputError
from causalsim.events.event import Event
from causalsim.events.graph import EventGraph, checked_graph
from causalsim.events.lattice import lattice_counts, refuse_large
from causalsim.posets.downsets import Rank, ranks
from causalsim.posets.growth import Budget
from causalsim.posets.relations import elements

if TYPE_CHECKING:
    import networkx as nx

State = frozenset[Event]


def count_lattice_edges(graph: EventGraph, *, limit: int = posets.DEFAULT_LIMIT) -> int:
    """Number of pairs of down-sets that differ by one event: the edges of the graph of states, exactly.

    In closed form for full attention without feedback, else from tables.

    Args:
        graph: An event graph.
        limit: The most down-sets that are tabulated.

    Returns:
        The number.

    Raises:
        LimitError: There is no closed form, and the tables hold more down-sets.

    >>> from causalsim.events import EventGraph, Wiring
    >>> count_lattice_edges(EventGraph(Wiring(1), 1)), count_lattice_edges(EventGraph(Wiring(1), 2))
    (5, 48)
    """
    return lattice_counts(checked_graph(graph), limit)[1]


def state_graph(graph: EventGraph, *, limit: int = 100_000) -> nx.DiGraph:
    """The multiway graph of all orders: a node for each down-set, an edge for each event that runs.

    Nodes are the sets of events that have run, by size; ``step`` is that size, and ``event`` of an
    edge is what runs. It is the Hasse diagram of the lattice of down-sets (Birkhoff 1937), and its
    paths from the empty set to all events are the linear extensions. ``LimitError`` beyond ``limit``.

    Args:
        graph: An event graph.
        limit: The most states.

    Returns:
        A DiGraph of frozen sets of events.

    Raises:
        InputError: No event graph.
        LimitError: More states.

    >>> from causalsim.events import EventGraph, Wiring
    >>> states = state_graph(EventGraph(Wiring(2), 2, granularity="block"))
    >>> states.number_of_nodes(), states.number_of_edges()
    (8, 10)
    """
    import networkx as nx

    refuse_large(checked_graph(graph), limit, whole=True)
    steps = list(ranks(graph.explicit(), Budget(limit)))
    view, events = nx.DiGraph(), list(graph)
    for step, rank in enumerate(steps):
        view.add_nodes_from((_state(events, mask) for mask in sorted(rank.ways)), step=step)
    for mask, enabled in (item for rank in steps for item in rank.enabled.items()):
        for i in elements(enabled):
            view.add_edge(_state(events, mask), _state(events, mask | 1 << i), event=events[i])
    return view


def branchial_graph(graph: EventGraph, step: int, *, limit: int = 100_000) -> nx.Graph:
    """The states after some events, joined where they come from one state by two events that could swap.

    ``events`` of an edge are these two. The branchial graph of a multiway system at a step (Wolfram
    2020), here of the orders of a graph. Of step 0 it is one node. ``LimitError`` beyond ``limit``
    states up to there, or pairs.

    Args:
        graph: An event graph.
        step: How many events have run.
        limit: The most states up to there, and the most pairs.

    Returns:
        A Graph of frozen sets of events.

    Raises:
        InputError: No event graph, or no such step.
        LimitError: More states, or pairs.

    >>> from causalsim.events import EventGraph, Wiring
    >>> view = branchial_graph(EventGraph(Wiring(2), 2, granularity="block"), step=1)
    >>> [[str(event) for event in events] for _, _, events in view.edges(data="events")]
    [['block(0,0)', 'block(0,1)']]
    """
    import networkx as nx

    number, last = as_int(step), len(checked_graph(graph))
    if number is None or not 0 <= number <= last:
        raise InputError("a step counts the events that have run", got=shown(step), expected=f"0 to {last}")
    before, after = _two_ranks(graph, number, limit)
    view, events = nx.Graph(step=step), list(graph)
    view.add_nodes_from(_state(events, mask) for mask in sorted(after.ways))
    for mask, enabled in sorted(before.enabled.items()) if step else ():
        for i, j in combinations(elements(enabled), 2):
            pair = _state(events, mask | 1 << i), _state(events, mask | 1 << j)
            view.add_edge(*pair, events=(events[i], events[j]))
    return view


def _two_ranks(graph: EventGraph, step: int, limit: int) -> tuple[Rank, Rank]:
    """The states before and after an event; those of step 0 twice."""
    steps = deque(islice(ranks(graph.explicit(), Budget(limit)), step + 1), maxlen=2)
    pairs = sum(comb(enabled.bit_count(), 2) for enabled in steps[0].enabled.values())
    if step:
        rule = "the pairs of events that could swap are listed one by one"
        hint = "Raise the limit, or take a shorter text."
        check_limit(rule, pairs, limit, hint=hint)
    return steps[0], steps[-1]


def _state(events: list[Event], mask: int) -> State:
    return frozenset(events[i] for i in elements(mask))
