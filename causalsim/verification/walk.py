"""The exhaustive walk: every order of a small graph, by one run of each event after each down-set.

The orders of a graph are the maximal chains of its lattice of down-sets. If the whole state
after a down-set does not depend on which of its events came last, then by induction it does not
depend on their order at all: one run for each edge of the lattice stands for all chains. That
needs every mutable cell to be compared, and events that give the same bits each time they run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax

from causalsim.engine import State, event_values, step
from causalsim.engine.digests import digest_of
from causalsim.errors import LimitError
from causalsim.events import Edge, Event, EventGraph
from causalsim.posets.downsets import Rank, ranks
from causalsim.posets.growth import Budget
from causalsim.posets.relations import Predecessors
from causalsim.progress import Progress, silent
from causalsim.verification.comparison import same_bits
from causalsim.verification.subject import Subject


@dataclass(frozen=True)
class Clash:
    """Two orders of the same events after which the memory differs, and where."""

    event: Event
    one: tuple[Event, ...]
    other: tuple[Event, ...]
    where: str

    def __str__(self) -> str:
        return f"{self.event} leaves other bits in {self.where} after the same {len(self.one) - 1} events"


@dataclass(frozen=True)
class Walk:
    """How many orders were covered, by how many runs of an event, and the first clash."""

    orders: int
    event_runs: int
    clash: Clash | None = None


@dataclass(frozen=True)
class _Visited:
    """A state, what it holds, and by which order of events it was reached first."""

    state: State
    prints: dict[str, str]
    path: tuple[int, ...]


def lattice_of(graph: EventGraph, event_runs: int, dropped: Edge | None = None) -> list[Rank]:
    """The down-sets of a graph, if walking them takes at most so many runs; else ``LimitError``.

    They are those of the graph without the edge that is ``dropped``, whose events then run in any order.
    """
    found, edges = [], 0
    for rank in ranks(_without(graph, dropped), Budget(event_runs)):
        found.append(rank)
        edges += rank.count_edges()
        if edges > event_runs:
            raise LimitError("the walk runs an event an edge of the lattice", reached=edges, bound=event_runs)
    return found


def _without(graph: EventGraph, dropped: Edge | None) -> Predecessors:
    lower = graph.explicit()
    if dropped is None:
        return lower
    source, target = graph.index(dropped.source), graph.index(dropped.target)
    rest = [other for other in lower[target] if other != source]
    return [rest if index == target else below for index, below in enumerate(lower)]


def walk(subject: Subject, lattice: list[Rank], progress: Progress = silent) -> Walk:
    """Run every event after every down-set that enables it and compare what that leaves behind."""
    total, runs = sum(rank.count_edges() for rank in lattice), 0
    visited = {0: _Visited(subject.fresh(), {}, ())}
    for rank in lattice:
        grown: dict[int, _Visited] = {}
        for mask, enabled in rank.enabled.items():
            before = visited.pop(mask)
            for index in _elements(enabled):
                after, own_bits = _after(subject, before, index)
                runs += 1
                progress("all orders", runs, total)
                known = grown.setdefault(mask | 1 << index, after)
                clash = _clash(subject.graph, known, after, own_bits)
                if clash is not None:
                    return Walk(0, runs, clash)
        visited = grown
    return Walk(lattice[-1].ways[(1 << len(subject.graph)) - 1], runs)


def _after(subject: Subject, before: _Visited, index: int) -> tuple[_Visited, bool]:
    """What a state becomes by one event, and whether the event has its reference's bits."""
    event = subject.graph[index]
    state, outputs = step(before.state.copy(), [event], subject.kernels)
    ((_, _, rows),) = event_values(outputs)
    value = tuple(part[0] for part in rows) if isinstance(rows, tuple) else rows[0]
    own_bits = same_bits(value, subject.reference[event])
    return _Visited(state, _prints(state), (*before.path, index)), own_bits


def _clash(graph: EventGraph, known: _Visited, new: _Visited, own_bits: bool) -> Clash | None:
    differing = [name for name, print_ in new.prints.items() if known.prints[name] != print_]
    where = differing or ([] if own_bits else ["its value"])
    if not where:
        return None
    one, other = (tuple(graph[index] for index in path) for path in (known.path, new.path))
    return Clash(other[-1], one, other, ", ".join(where))


def _prints(state: State) -> dict[str, str]:
    """A digest of every mutable array, scratch included."""
    return {name: digest_of(_arrays(cells)) for name, cells in state.cells().items()}


def _arrays(cells: Any) -> Iterator[Any]:
    yield from jax.device_get(jax.tree.leaves(cells))


def _elements(mask: int) -> Iterator[int]:
    while mask:
        yield (mask & -mask).bit_length() - 1
        mask &= mask - 1
