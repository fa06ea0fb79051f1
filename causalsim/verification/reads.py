"""Causal invariance: what events are seen to read and to write, against what the graph declares.

An event is run on memory in which its past has run and all else is litter. Then cells are
poisoned and the event is run again: the cells that change its bits are the cells that it reads,
and the events that wrote them last are its recorded predecessors. Cells that it is declared to
read are poisoned one by one, all others together; where these show, their halves are, down to one.
What it writes are the cells whose bits it changes, from litter or from poison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from causalsim.engine import State, event_values, execute, step
from causalsim.engine.cells import Cell, cells_changed, cells_written, littered, poisoned
from causalsim.events import Event
from causalsim.kernels import Kernels
from causalsim.progress import Progress, silent
from causalsim.testing.bits import same_bits
from causalsim.verification.faults import overlooking, seeing_too_far, writing_elsewhere
from causalsim.verification.report import Control, Verdict
from causalsim.verification.target import Target

# All events of graphs up to this size are recorded, of others so many.
WHOLE, SAMPLE = 500, 24


@dataclass(frozen=True)
class Reads:
    """What one event was seen to read: ``events`` of its past, and cells that nobody before it wrote.

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
        # A token may be the one that litter had, and what is read and written in place may not be poisoned.
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
        state = littered(self._blank, np.random.default_rng(self.seed))
        after, _ = execute(program, state, self.target.kernels)
        return after, {cell: graph[index] for index in past for cell in cells_written(after, graph[index])}

    def _run(self, state: State, event: Event) -> tuple[object, set[Cell]]:
        """An event's value on a copy of a state, and the cells that it changes there."""
        value, after = self._value(state.copy(), event)
        return value, {*cells_changed(state, after)}

    def _value(self, state: State, event: Event) -> tuple[object, State]:
        """An event's value on a state, which is consumed, and the state after it."""
        after, outputs = step(state, [event], self.kernels)
        (_, _, rows), = event_values(outputs)  # fmt: skip
        return tuple(part[0] for part in rows) if isinstance(rows, tuple) else rows[0], after


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


def fault_in(
    recorder: Recorder, events: Iterable[Event], progress: Progress = silent, total: int = 0
) -> str | None:
    """The first way in which recorded reads and writes differ from the declared ones, in words."""
    for done, event in enumerate(events, 1):
        if (fault := next(_differences(recorder, recorder.reads(event)), None)) is not None:
            return f"{event} {fault}"
        progress("reads", done, total)
    return None


def _differences(recorder: Recorder, reads: Reads) -> Iterator[str]:
    graph = recorder.target.graph
    declared = set(graph.predecessors(reads.event))
    of_events = {
        "read the cell of {}, which is not in its past": reads.unwritten,
        "read {} without a declared edge": reads.events - declared,
        "did not read {} although an edge is declared": declared - reads.events,
    }
    of_cells = {
        "wrote {}, which is not its own": reads.strays,
        "left {} as it was, which is its own": reads.unkept,
    }
    yield from (words.format(min(found, key=graph.index)) for words, found in of_events.items() if found)
    yield from (words.format(min(found)) for words, found in of_cells.items() if found)
    if not reads.same_value:
        yield "has other bits when only its past has run"


def causal_invariance(target: Target, sample: int | None, seed: int, progress: Progress) -> Verdict:
    """Record what events read and write and compare it with what is declared.

    Of all events of a graph of up to 500, or of a ``sample``.
    """
    recorder, events = Recorder(target, seed), len(target.graph)
    most = events if events <= WHOLE else SAMPLE
    chosen = choose_events(target, most if sample is None else sample, seed)
    cells, whole = len(recorder.owners), len(chosen) == events
    which = f"all {events:,} events" if whole else f"{len(chosen):,} of {events:,} events"
    return Verdict(
        name="causal invariance",
        method="recorded",
        claim="what they were seen to read and to write is what the graph declares",
        coverage=f"{which}, each with all {cells:,} cells poisoned in turn or together, and memory before it "
        "compared with memory after it",
        excludes=(
            *(() if whole else ("events not sampled",)),
            "reads and writes that leave the bits as they are",
        ),
        controls=tuple(_controls(target, seed)),
        witness=fault_in(recorder, chosen, progress, len(chosen)),
    )


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


def _controls(target: Target, seed: int) -> Iterator[Control]:
    """A read too many, a read too few, and a write too many, each at the first text's middle."""
    middle, top = target.graph.lengths[0] // 2, target.graph.wiring.n_layers
    faults = {
        seeing_too_far: Event("attn", 0, middle),
        overlooking: Event("attn", 0, middle),
        writing_elsewhere: Event("unembed", top, middle),
    }
    for fault, event in faults.items():
        kernels = fault(target.kernels)
        found = fault_in(Recorder(target, seed, kernels), [event])
        yield Control(kernels.name, found is not None, found or "")
