"""The reads and writes of one event, seen by executing it.

An event is run on memory in which its past has run and all else is garbage. Then cells are
poisoned and the event is run again: the cells that change its bits are the cells that it reads,
and the events that wrote them last are its recorded predecessors. Cells that it is declared to
read are poisoned one by one, all others together; where these show, their halves are, down to one.
What it writes are the cells whose bits it changes, from garbage or from poison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from causalsim.engine import State
from causalsim.engine.cells import Cell, cells_changed, cells_written, poisoned, with_garbage
from causalsim.events import Event
from causalsim.kernels import Kernels
from causalsim.testing.bits import same_bits
from causalsim.verification.target import Target, values_of


@dataclass(frozen=True)
class Reads:
    """The reads and writes of one event: ``events`` of its past, and cells that nobody before it wrote.

    ``strays`` are cells that it wrote and that are not its own, ``unkept`` those of its own that it
    left as they were.
    """

    event: Event
    events: frozenset[Event]
    unwritten: frozenset[Event]
    strays: frozenset[Cell]
    unkept: frozenset[Cell]
    same_value: bool


class Recorder:
    """Records the reads of events of one target, made by its kernels or by substitutes."""

    def __init__(self, target: Target, seed: int, kernels: Kernels | None = None) -> None:
        self.target, self.seed, self.kernels = target, seed, kernels or target.kernels

    @cached_property
    def owners(self) -> dict[Cell, Event]:
        """Some event for every cell of the graph: the first in canonical order that writes it."""
        owners: dict[Cell, Event] = {}
        for event in self.target.graph:
            for cell in cells_written(self._blank, event):
                owners.setdefault(cell, event)
        return owners

    @cached_property
    def _blank(self) -> State:
        return self.target.fresh()

    def reads(self, event: Event) -> Reads:
        """Poison cells and see which change the event's bits."""
        before, writers = self._after_past(event)
        own = {*cells_written(before, event)}
        undisturbed, written = self._run(before, event)
        # A token may be the one that garbage had, and what is read and written in place may not be poisoned.
        written |= self._run(poisoned(before, own), event)[1]
        declared = {self.target.graph.index(source) for source in self.target.graph.predecessors(event)}
        index = self.target.graph.index
        expected = [cell for cell in self.owners if cell in writers and index(writers[cell]) in declared]
        rest = [cell for cell in self.owners if cell not in {*expected}]

        def seen(cells: Sequence[Cell]) -> bool:
            return not same_bits(undisturbed, self._value(poisoned(before, cells), event)[0])

        read = [cell for cell in expected if seen([cell])] + list(_halved(rest, seen))
        return Reads(
            event,
            frozenset(writers[cell] for cell in read if cell in writers),
            frozenset(self.owners[cell] for cell in read if cell not in writers),
            frozenset(written - own),
            frozenset(own - written),
            same_bits(undisturbed, self.target.reference[event]),
        )

    def _after_past(self, event: Event) -> tuple[State, dict[Cell, Event]]:
        graph = self.target.graph
        past = sorted(graph.index(other) for other in graph.past(event))
        program = self.target.program.restricted(np.array(past, np.int64))
        state = with_garbage(self._blank, np.random.default_rng(self.seed))
        after, _ = self.target.execute(program, state)
        return after, {cell: graph[index] for index in past for cell in cells_written(after, graph[index])}

    def _run(self, state: State, event: Event) -> tuple[object, set[Cell]]:
        """An event's value on a copy of a state, and the cells that it changes there."""
        value, after = self._value(state.copy(), event)
        return value, {*cells_changed(state, after)}

    def _value(self, state: State, event: Event) -> tuple[object, State]:
        """An event's value on a state, which is consumed, and the state after it."""
        after, outputs = self.target.with_kernels(self.kernels).step(state, [event])
        return values_of(self.target.graph, outputs)[event], after


def _halved(cells: Sequence[Cell], seen: Callable[[Sequence[Cell]], bool]) -> Iterator[Cell]:
    """Those of many cells that are seen, by poisoning all, and then halves, of what is seen."""
    if not cells or not seen(cells):
        return
    if len(cells) == 1:
        yield cells[0]
        return
    middle = len(cells) // 2
    yield from _halved(cells[:middle], seen)
    yield from _halved(cells[middle:], seen)


def choose_events(target: Target, sample: int, seed: int) -> list[Event]:
    """So many different events, going round the sites so that every kind and layer has its share."""
    rng, chosen = np.random.default_rng(seed), dict[Event, None]()
    graph = target.graph
    shuffled = [graph[int(index)] for index in rng.permutation(len(graph))]
    by_site: dict[tuple[str, int], list[Event]] = {}
    for event in shuffled:
        by_site.setdefault((event.kind, event.layer), []).append(event)
    while len(chosen) < min(sample, len(graph)):
        for waiting in by_site.values():
            if waiting and len(chosen) < sample:
                chosen[waiting.pop()] = None
    return sorted(chosen, key=graph.index)
