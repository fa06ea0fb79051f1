"""Exhaustive exploration: every order of a small graph, by one run of each event after each down-set.

The orders of a graph are the maximal chains of its lattice of down-sets. If the whole state
after a down-set does not depend on which of its events came last, then by induction it does not
depend on their order at all: one run for each edge of the lattice stands for all chains. That
needs every mutable cell to be compared, and events that give the same bits each time they run.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax

from causalsim.arguments import check_limit
from causalsim.engine import State
from causalsim.engine.digests import digest_of
from causalsim.events import Edge, Event, EventGraph
from causalsim.posets.downsets import Rank, ranks
from causalsim.posets.growth import Budget
from causalsim.posets.relations import Predecessors, elements
from causalsim.progress import Progress, silent
from causalsim.testing.bits import same_bits
from causalsim.testing.findings import Statement
from causalsim.verification.target import Target, values_of


@dataclass(frozen=True)
class StateDivergence:
    """Two orders of the same events after which the memory differs, and where."""

    event: Event
    one: tuple[Event, ...]
    other: tuple[Event, ...]
    where: str

    def told(self) -> Statement:
        """As a witness."""
        words = "{event} leaves other bits in {where} after the same {before:,} events"
        return Statement.of(words, event=self.event, where=self.where, before=len(self.one) - 1)


@dataclass(frozen=True)
class Exploration:
    """The number of orders covered, by how many runs of an event, and the first divergence."""

    orders: int
    event_runs: int
    divergence: StateDivergence | None = None


@dataclass(frozen=True)
class _Visited:
    """A state, what it holds, and by which order of events it was reached first."""

    state: State
    prints: dict[str, str]
    path: tuple[Event, ...]


@dataclass(frozen=True)
class Lattice:
    """The down-sets of some events, one size after another; bit i of a down-set stands for ``events[i]``."""

    events: tuple[Event, ...]
    ranks: tuple[Rank, ...]

    @property
    def event_runs(self) -> int:
        """The number of pairs of a down-set and an event that it enables."""
        return sum(rank.count_edges() for rank in self.ranks)

    @property
    def orders(self) -> int:
        """The number of orders that all events have."""
        return self.ranks[-1].ways[(1 << len(self.events)) - 1]


def lattice_of(graph: EventGraph, event_runs: int, dropped: Edge | None = None) -> Lattice:
    """Return the down-sets of a graph, if exploring them takes at most so many runs.

    Without an edge that is ``dropped`` they are those of its target and what comes before it: what
    that edge holds apart is there.

    Raises:
        LimitError: It takes more.
    """
    events, lower = (tuple(graph), graph.explicit()) if dropped is None else _without(graph, dropped)
    found, edges = [], 0
    for rank in ranks(lower, Budget(event_runs)):
        found.append(rank)
        edges += rank.count_edges()
        check_limit("an event runs for every edge of a lattice", edges, event_runs)
    return Lattice(events, tuple(found))


def _without(graph: EventGraph, dropped: Edge) -> tuple[tuple[Event, ...], Predecessors]:
    """The target of an edge and its past, and what each of them waits for if nobody knows of the edge."""
    events = tuple(sorted([*graph.past(dropped.target), dropped.target], key=graph.index))
    number = {event: at for at, event in enumerate(events)}
    lower = [[number[source] for source in graph.predecessors(event)] for event in events]
    lower[number[dropped.target]].remove(number[dropped.source])
    return events, lower


def explore(target: Target, lattice: Lattice, progress: Progress = silent) -> Exploration:
    """Run every event after every down-set that enables it and compare what that leaves behind."""
    total, runs = lattice.event_runs, 0
    visited = {0: _Visited(target.fresh(), {}, ())}
    for rank in lattice.ranks:
        grown: dict[int, _Visited] = {}
        for mask, enabled in rank.enabled.items():
            before = visited.pop(mask)
            for index in elements(enabled):
                after, own_bits = _after(target, before, lattice.events[index])
                runs += 1
                progress("all orders", runs, total)
                known = grown.setdefault(mask | 1 << index, after)
                found = _diverging(known, after, own_bits)
                if found is not None:
                    return Exploration(0, runs, found)
        visited = grown
    return Exploration(lattice.orders, runs)


def _after(target: Target, before: _Visited, event: Event) -> tuple[_Visited, bool]:
    """A state after one more event, and whether the event has its reference's bits."""
    state, outputs = target.step(before.state.copy(), [event])
    own_bits = same_bits(values_of(target.graph, outputs)[event], target.reference[event])
    return _Visited(state, _prints(state), (*before.path, event)), own_bits


def _diverging(known: _Visited, new: _Visited, own_bits: bool) -> StateDivergence | None:
    differing = [name for name, print_ in new.prints.items() if known.prints[name] != print_]
    where = differing or ([] if own_bits else ["its value"])
    return StateDivergence(new.path[-1], known.path, new.path, ", ".join(where)) if where else None


def _prints(state: State) -> dict[str, str]:
    """A digest of every mutable array, scratch included."""
    held = jax.device_get(state.cells())
    return {name: digest_of(jax.tree.leaves(cells)) for name, cells in held.items()}
