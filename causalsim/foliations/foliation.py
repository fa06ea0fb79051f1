"""A foliation: one integer time per event, strictly increasing along every causal edge."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np
from jaxtyping import Int, Integer

from causalsim.arguments import check_type
from causalsim.errors import CausalityError, InputError
from causalsim.events import Edge, Event, EventGraph
from causalsim.events.graph import checked_graph
from causalsim.events.vectorised import ABSENT, Lines, first_violation, latest_predecessors
from causalsim.foliations.dense_times import count_slices, dense, places

FORMAT = "causalsim.foliation/1"

Times = Integer[np.ndarray, " events"]


class Foliation:
    """A choice of time-slices over an event graph: immutable, hashable, checked when built.

    ``times`` gives one integer an event, in canonical order or as a mapping from events.
    They are kept as dense ranks from 0; foliations are equal if graph and ranks are. Slices
    are the level sets, hence antichains. Raises ``CausalityError``, carrying the edge, if
    some event would not be later than one that it reads.

    >>> from causalsim.events import Wiring
    >>> foliation = Foliation(EventGraph(Wiring(1), 1), [0, 10, 20, 30, 40])
    >>> foliation.times.tolist(), foliation.depth, foliation.width
    ([0, 1, 2, 3, 4], 5, 1)
    >>> Foliation(EventGraph(Wiring(1), 1), [0, 1, 1, 2, 3])
    Traceback (most recent call last):
    causalsim.errors.CausalityError: every event is later than the events that it reads: got kv(0,0) at \
time 1 and its reader attn(0,0) at time 1, expected kv(0,0) before attn(0,0). \
Move attn(0,0) to a later slice: the edge kv(0,0) -> attn(0,0) [kv] runs backwards.
    """

    __slots__ = ("__dict__", "_graph", "_times")

    def __init__(self, graph: EventGraph, times: Sequence[int] | Times | Mapping[Event, int]) -> None:
        checked_graph(graph)
        given = _array(graph, times)
        ranks = dense(given)
        _check_causality(graph, ranks, given)
        ranks.flags.writeable = False
        self._graph, self._times = graph, ranks

    @property
    def graph(self) -> EventGraph:
        """The graph that it slices.

        >>> from causalsim.events import Wiring
        >>> graph = EventGraph(Wiring(2), 2, granularity="block")
        >>> Foliation(graph, [0, 1, 0, 1]).graph == graph
        True
        """
        return self._graph

    @property
    def times(self) -> Times:
        """The slice of every event, in canonical order; read-only.

        >>> from causalsim.events import Wiring
        >>> graph = EventGraph(Wiring(2), 2, granularity="block")
        >>> Foliation(graph, [-5, 7, -5, 90]).times.tolist()
        [0, 1, 0, 2]
        """
        return self._times

    def time(self, event: Event) -> int:
        """Return the slice that an event stands in.

        >>> from causalsim.events import Wiring
        >>> graph = EventGraph(Wiring(2), 2, granularity="block")
        >>> Foliation(graph, [0, 1, 0, 2]).time(Event("block", 1, 1))
        2
        """
        return int(self._times[self._graph.index(event)])

    @cached_property
    def slice_sizes(self) -> Int[np.ndarray, " slices"]:
        """Number of events in each slice; read-only.

        >>> from causalsim.events import Wiring
        >>> graph = EventGraph(Wiring(2), 2, granularity="block")
        >>> Foliation(graph, [0, 1, 0, 2]).slice_sizes.tolist()
        [2, 1, 1]
        """
        sizes = count_slices(self._times)
        sizes.flags.writeable = False
        return sizes

    @property
    def depth(self) -> int:
        """Number of slices.

        >>> from causalsim.events import Wiring
        >>> graph = EventGraph(Wiring(2), 2, granularity="block")
        >>> Foliation(graph, [0, 1, 0, 2]).depth
        3
        """
        return int(self._times.max()) + 1

    @property
    def width(self) -> int:
        """Events in the widest slice.

        >>> from causalsim.events import Wiring
        >>> graph = EventGraph(Wiring(2), 2, granularity="block")
        >>> Foliation(graph, [0, 1, 0, 2]).width
        2
        """
        return int(self.slice_sizes.max())

    def slices(self) -> tuple[tuple[Event, ...], ...]:
        """Return the events of each slice, in canonical order.

        >>> from causalsim.events import Wiring
        >>> graph = EventGraph(Wiring(2), 2, granularity="block")
        >>> [[str(event) for event in events] for events in Foliation(graph, [0, 1, 0, 1]).slices()]
        [['block(0,0)', 'block(0,1)'], ['block(1,0)', 'block(1,1)']]
        """
        order = np.argsort(self._times, kind="stable")
        starts = np.cumsum(self.slice_sizes)[:-1]
        return tuple(tuple(self._graph[int(i)] for i in part) for part in np.split(order, starts))

    def refine(self) -> Foliation:
        """Return the linear extension that splits every slice in canonical order.

        >>> from causalsim.events import Wiring
        >>> graph = EventGraph(Wiring(2), 2, granularity="block")
        >>> Foliation(graph, [0, 1, 0, 1]).refine().times.tolist()
        [0, 2, 1, 3]
        """
        return Foliation(self._graph, places(self._times, self.slice_sizes))

    def coarsen(self) -> Foliation:
        """Return the foliation with slices merged greedily, from the first on, while they stay antichains.

        >>> from causalsim.events import Wiring
        >>> graph = EventGraph(Wiring(2), 2, granularity="block")
        >>> Foliation(graph, [0, 2, 1, 3]).coarsen().times.tolist()
        [0, 1, 0, 1]
        """
        last_read = self._last_read()
        group, start, groups = 0, 0, np.zeros(self.depth, np.int64)
        for time, read in enumerate(last_read):
            # A longer chain inside the group would have its last step inside it as well.
            if read >= start:
                group, start = group + 1, time
            groups[time] = group
        return Foliation(self._graph, groups[self._times])

    def _last_read(self) -> Int[np.ndarray, " slices"]:
        """For each slice the latest one that it reads, -1 without any."""
        last_read = np.full(self.depth, ABSENT, np.int64)
        for columns in self._graph.requests:
            lines = Lines(columns, self._times)
            for site, latest in latest_predecessors(self._graph.families_into, lines):
                held = columns.held(site)
                np.maximum.at(last_read, lines[site][held], latest[held])
        return last_read

    def meet(self, other: Foliation) -> Foliation:
        """Return the foliation that has every event as early as the earlier of two.

        The pointwise minimum of the times, which is strictly increasing along every edge too.

        >>> from causalsim.events import Wiring
        >>> graph = EventGraph(Wiring(2), 2, granularity="block")
        >>> Foliation(graph, [0, 1, 2, 3]).meet(Foliation(graph, [0, 2, 1, 3])).times.tolist()
        [0, 1, 1, 2]
        """
        return Foliation(self._graph, np.minimum(self._times, same_graph(self, other)._times))

    def join(self, other: Foliation) -> Foliation:
        """Return the foliation that has every event as late as the later of two.

        The pointwise maximum of the times.

        >>> from causalsim.events import Wiring
        >>> graph = EventGraph(Wiring(2), 2, granularity="block")
        >>> Foliation(graph, [0, 1, 2, 3]).join(Foliation(graph, [0, 2, 1, 3])).times.tolist()
        [0, 1, 1, 2]
        """
        return Foliation(self._graph, np.maximum(self._times, same_graph(self, other)._times))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Foliation)
            and self._graph == other._graph
            and np.array_equal(self._times, other._times)
        )

    def __hash__(self) -> int:
        return hash((self._graph, self._times.tobytes()))

    def __repr__(self) -> str:
        return f"<Foliation of {len(self._times)} events: {self.depth} slices, widest {self.width}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Foliation, (self._graph, np.array(self._times))

    def to_json(self) -> str:
        """Return the foliation as a JSON object with the graph that it belongs to.

        >>> from causalsim.events import Wiring
        >>> Foliation(EventGraph(Wiring(1), 1, granularity="block"), [7]).to_json()[:32]
        '{"format": "causalsim.foliation/'
        """
        return json.dumps({"format": FORMAT, "graph": self._graph.to_dict(), "times": self._times.tolist()})

    @staticmethod
    def from_json(graph: EventGraph, text: str) -> Foliation:
        """Return the foliation that ``to_json`` wrote, for the same graph; checked like any other.

        Raises:
            InputError: The text is of another graph, or no foliation.

        >>> from causalsim.events import Wiring
        >>> graph = EventGraph(Wiring(2), 2, granularity="block")
        >>> foliation = Foliation(graph, [0, 1, 0, 2])
        >>> Foliation.from_json(graph, foliation.to_json()) == foliation
        True
        """
        found = _object(text)
        if found["graph"] != checked_graph(graph).to_dict():
            raise InputError(
                "a foliation is read for the graph that it was written for",
                got=json.dumps(found["graph"]),
                expected=json.dumps(graph.to_dict()),
                hint="Build the graph with the wiring, lengths, prompts and granularity named there.",
            )
        return Foliation(graph, found["times"])


def from_slices(graph: EventGraph, slices: Iterable[Iterable[Event]]) -> Foliation:
    """Make the foliation with given slices, earliest first.

    Args:
        graph: The graph.
        slices: Lists of events; every event stands in exactly one.

    Returns:
        The foliation.

    Raises:
        InputError: An event stands in no slice or in two.
        CausalityError: Slices break causality; it carries the edge.

    >>> from causalsim.events import Wiring
    >>> graph = EventGraph(Wiring(2), 2, granularity="block")
    >>> first, above, second, last = graph
    >>> from_slices(graph, [[first, second], [above, last]]).times.tolist()
    [0, 1, 0, 1]
    """
    checked_graph(graph)
    check_type("the slices", slices, Iterable, "Give a list of lists of events.")
    times = np.full(len(graph), -1, np.int64)
    for time, events in enumerate(slices):
        check_type(f"slice {time}", events, Iterable, "Give a list of lists of events.")
        for event in events:
            index = graph.index(event)
            if times[index] >= 0:
                raise InputError(
                    "every event stands in exactly one slice",
                    got=f"{event} in slices {times[index]} and {time}",
                )
            times[index] = time
    if (missing := np.flatnonzero(times < 0)).size:
        raise InputError(
            "every event stands in exactly one slice",
            got=f"{missing.size} events in none, first {graph[missing[0]]}",
        )
    return Foliation(graph, times)


def from_time(graph: EventGraph, f: Callable[[Event], Any]) -> Foliation:
    """Make the foliation of a time function, whose values are ranked.

    Args:
        graph: The graph.
        f: Any real number for an event.

    Returns:
        The foliation.

    Raises:
        InputError: Some time is no real number.
        CausalityError: Times break causality; it carries the edge.

    >>> from causalsim.events import Wiring
    >>> graph = EventGraph(Wiring(2), 2, granularity="block")
    >>> from_time(graph, lambda event: event.layer + event.position / 2).times.tolist()
    [0, 2, 1, 3]
    """
    checked_graph(graph)
    if not callable(f):
        raise InputError(
            "a time function is called with every event",
            got=repr(f),
            hint="Foliation(graph, times) takes a list.",
        )
    values = [f(event) for event in graph]
    for event, value in zip(graph, values, strict=True):
        if not isinstance(value, Real) or value != value:
            raise InputError("a time function gives real numbers", got=f"{value!r} for {event}")
    ranks = {value: rank for rank, value in enumerate(sorted(set(values)))}
    return Foliation(graph, [ranks[value] for value in values])


def _object(text: str) -> dict[str, Any]:
    check_type("the JSON of a foliation", text, str)
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError("a foliation is read from JSON", got=f"text that is none ({error})") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT or not {"graph", "times"} <= found.keys():
        raise InputError(
            "a foliation is read from what to_json wrote",
            got="another object",
            expected=f'an object with "format": "{FORMAT}", "graph" and "times"',
        )
    return found


def _array(graph: EventGraph, times: Sequence[int] | Times | Mapping[Event, int]) -> Times:
    if isinstance(times, Mapping):
        return _from_mapping(graph, times)
    try:
        array = np.asarray(times)
    except (OverflowError, ValueError):
        array = np.asarray(None)
    if array.shape != (len(graph),):
        raise InputError(
            "a foliation gives one time per event",
            got=f"times of shape {array.shape}",
            expected=f"({len(graph)},)",
        )
    if not np.issubdtype(array.dtype, np.integer):
        raise InputError(
            "times are integers", got=f"dtype {array.dtype}", hint="from_time ranks any real numbers for you."
        )
    return array


def _from_mapping(graph: EventGraph, times: Mapping[Event, int]) -> Times:
    placed = {graph.index(event): time for event, time in times.items()}
    if len(placed) != len(graph):
        first = next(event for index, event in enumerate(graph) if index not in placed)
        raise InputError(
            "a foliation gives one time per event",
            got=f"{len(placed)} times, none for {first}",
            expected=len(graph),
        )
    return _array(graph, [placed[index] for index in range(len(graph))])


def backward_edge(graph: EventGraph, ranks: Times) -> Edge | None:
    """Return the first edge that ranks run against; edges of events of rank -1 do not count.

    >>> from causalsim.events import Wiring
    >>> graph = EventGraph(Wiring(2), 2, granularity="block")
    >>> print(backward_edge(graph, np.array([1, 0, 0, 2])))
    block(0,0) -> block(1,0) [residual]
    """
    for request, columns in enumerate(graph.requests):
        if (found := first_violation(columns, graph.edge_families, ranks)) is not None:
            family, p, q = found
            return Edge(Event(*family.source, p, request), Event(*family.target, q, request), family.stream)
    return None


def _check_causality(graph: EventGraph, ranks: Times, given: Times) -> None:
    if (edge := backward_edge(graph, ranks)) is not None:
        raise runs_backwards(edge, *(int(given[graph.index(event)]) for event in edge[:2]))


def runs_backwards(edge: Edge, source_time: object, target_time: object) -> CausalityError:
    """Return the error for an edge that times run against.

    >>> edge = Edge(Event("kv", 0, 0), Event("attn", 0, 1), "kv")
    >>> print(runs_backwards(edge, 3, 2).expected)
    kv(0,0) before attn(0,1)
    """
    return CausalityError(
        "every event is later than the events that it reads",
        edge=edge,
        got=f"{edge.source} at time {source_time} and its reader {edge.target} at time {target_time}",
        expected=f"{edge.source} before {edge.target}",
        hint=f"Move {edge.target} to a later slice: the edge {edge} runs backwards.",
    )


def same_graph(a: Foliation, b: Foliation) -> Foliation:
    """Return the other of two foliations, or raise ``InputError`` if it is not of the graph of the one.

    Raises:
        InputError: The other is no foliation, or of another graph.

    >>> from causalsim.events import Wiring
    >>> foliation = Foliation(EventGraph(Wiring(1), 1), range(5))
    >>> same_graph(foliation, foliation).depth
    5
    """
    check_type("the other foliation", b, Foliation)
    if a.graph != b.graph:
        rule = "two foliations are compared over one graph"
        raise InputError(rule, got=repr(b.graph), expected=repr(a.graph))
    return b
