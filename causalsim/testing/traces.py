"""Traces of other people's engines: events with times, and what keeps them from being a foliation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real
from typing import Any, cast

import numpy as np

from causalsim.arguments import check_type
from causalsim.errors import InputError
from causalsim.events import Edge, Event, EventGraph
from causalsim.foliations.foliation import backward_edge, runs_backwards

Time = int | float
Trace = Mapping[Event, Time] | Iterable[tuple[Event, Time]]

SHOWN = 3


@dataclass(frozen=True)
class Fault:
    """A fault that keeps a trace from being a foliation: a rule, what breaks it, and the events at fault."""

    rule: str
    got: str
    events: tuple[Event, ...]
    edge: Edge | None = None

    def __str__(self) -> str:
        return f"{self.rule}: got {self.got}"


@dataclass(frozen=True)
class Reading:
    """A trace as it was read: the time of each event of the graph, and all that is wrong with it."""

    times: Mapping[Event, Time]
    faults: tuple[Fault, ...]


def read_trace(graph: EventGraph, trace: Trace) -> Reading:
    """Return times and faults of a trace: pairs (event, time) in order of time, or a mapping in any order.

    Times are any real numbers; where they are equal, events share a slice. Events of the graph
    that are missing leave the edges between the others to be checked. Raises ``InputError`` for
    what is no trace: entries that are no pairs, events that are none, times that are no numbers.
    """
    check_type("a graph", graph, EventGraph)
    entries = list(_entries(trace))
    times: dict[Event, Time] = {}
    for event, time in entries:
        times.setdefault(event, time)
    known = {event: time for event, time in times.items() if event in graph}
    listed = [] if isinstance(trace, Mapping) else entries
    faults = (
        _unknown(graph, [event for event in times if event not in known]),
        _repeated(entries),
        _missing([event for event in graph if event not in known]),
        _falling(listed),
        _backwards(graph, known),
    )
    return Reading(known, tuple(fault for fault in faults if fault is not None))


def ranked(graph: EventGraph, times: Mapping[Event, Time]) -> np.ndarray:
    """Dense ranks of times in canonical order, -1 for an event that has none."""
    rank = {time: number for number, time in enumerate(sorted(set(times.values())))}
    return np.array([rank[times[event]] if event in times else -1 for event in graph], np.int64)


def _entries(trace: Trace) -> Iterator[tuple[Event, Time]]:
    hint = "Give a list of (event, time), or {event: time}."
    check_type("a trace", trace, Iterable, hint)
    for number, entry in enumerate(trace.items() if isinstance(trace, Mapping) else trace):
        if not (isinstance(entry, tuple | list) and len(entry) == 2 and isinstance(entry[0], Event)):
            rule = f"entry {number} of a trace is an event with its time"
            raise InputError(rule, got=repr(entry), hint=hint)
        if not isinstance(entry[1], Real) or entry[1] != entry[1]:
            raise InputError(f"entry {number} of a trace has a real number for its time", got=repr(entry[1]))
        yield entry[0], cast("Time", entry[1])


def _unknown(graph: EventGraph, events: list[Event]) -> Fault | None:
    for event in events:
        try:
            graph.check(event)
        except InputError as error:
            return Fault(error.rule, _shown(events), tuple(events))
    return None


def _repeated(entries: list[tuple[Event, Any]]) -> Fault | None:
    again = [event for event, count in Counter(event for event, _ in entries).items() if count > 1]
    return Fault("every event happens once", f"{_shown(again)} more often", tuple(again)) if again else None


def _missing(events: list[Event]) -> Fault | None:
    return Fault("every event happens", f"none of {_shown(events)}", tuple(events)) if events else None


def _falling(entries: list[tuple[Event, Any]]) -> Fault | None:
    for (before, late), (behind, early) in pairwise(entries):
        if early < late:
            got = f"{behind} at time {early} behind {before} at time {late}"
            return Fault("a list tells events in order of time; a mapping need not", got, (before, behind))
    return None


def _backwards(graph: EventGraph, times: Mapping[Event, Time]) -> Fault | None:
    if (edge := backward_edge(graph, ranked(graph, times))) is None:
        return None
    error = runs_backwards(edge, times[edge.source], times[edge.target])
    return Fault(error.rule, str(error.got), (edge.source, edge.target), edge)


def _shown(events: Sequence[Event]) -> str:
    more = f" and {len(events) - SHOWN:,} more" if len(events) > SHOWN else ""
    return ", ".join(map(str, events[:SHOWN])) + more
