"""Lifetimes: a cell serves another event only after all that read it, by the graph alone.

Two things share memory: events that write one cell in turn (the residual of a column, in place),
and pages of K/V that take each other's place while a program runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from causalsim.engine import Plan
from causalsim.engine.cells import Cell, cells_written
from causalsim.engine.state import State
from causalsim.events import KINDS, Event, EventGraph
from causalsim.kernels import PAGE

# Layer and page of a text; bank and place in memory.
Page = tuple[int, int]
Place = tuple[int, int]
# The first and the last dispatch in which a page is needed.
Stay = tuple[int, int, Page]


def overwritten_early(graph: EventGraph, state: State) -> Iterator[str]:
    """Every cell that an event may write while another still has to read what is there, in words."""
    writers: dict[Cell, list[Event]] = {}
    for event in graph:
        for cell in cells_written(state, event):
            writers.setdefault(cell, []).append(event)
    for cell, events in writers.items():
        for first, second in pairwise(events):
            late = [reader for reader in graph.successors(first) if not _is_done(graph, reader, second)]
            if late or not _is_done(graph, first, second):
                late_words = f" while {late[0]} may still read it" if late else ""
                yield f"{second} may overwrite {cell.array} of {first}{late_words}"


def _is_done(graph: EventGraph, reader: Event, writer: Event) -> bool:
    # Most are neighbours in the graph, which is seen at once.
    return reader == writer or writer in graph.successors(reader) or graph.precedes(reader, writer)


def misplaced_pages(plan: Plan) -> Iterator[str]:
    """Every page of K/V whose place is given away while it is needed, or taken over unpoisoned, in words.

    Says once more, event by event, what ``Placement.recycling`` works out for all of a program at once.
    """
    placement = plan.placement
    stays: dict[Place, list[Stay]] = {}
    for (layer, page), (first, last) in _needed(plan).items():
        here = int(placement.pool[layer]), int(placement.place[layer, page])
        stays.setdefault(here, []).append((first, last, (layer, page)))
    for here, tenants in stays.items():
        poisoned = [number for number, each in enumerate(plan.dispatches) if here in each.recycled]
        yield from _spoilt(tenants, poisoned)
        yield from _taken_over(tenants, poisoned)


def _spoilt(tenants: Sequence[Stay], poisoned: Sequence[int]) -> Iterator[str]:
    for first, last, page in tenants:
        if any(first < dispatch <= last for dispatch in poisoned):
            yield f"{_name(page)} is poison again while it is needed"


def _taken_over(tenants: Sequence[Stay], poisoned: Sequence[int]) -> Iterator[str]:
    for (_, end, one), (start, _, other) in pairwise(sorted(tenants)):
        if start <= end:
            yield f"{_name(other)} takes the place of {_name(one)} too early"
        elif start not in poisoned:
            yield f"{_name(other)} finds what {_name(one)} left"


def _name(page: Page) -> str:
    return f"page {page[1]} of layer {page[0]}"


def _needed(plan: Plan) -> dict[Page, tuple[int, int]]:
    """The first and the last dispatch in which an event writes or reads each page of each layer."""
    found: dict[Page, tuple[int, int]] = {}
    graph, pages = plan.graph, plan.layout.first_pages().tolist()
    for number, dispatch in enumerate(plan.dispatches):
        for event in (graph[int(index)] for batch in dispatch.batches for index in batch.events):
            for touched in _touched(graph, event):
                page = touched.layer, pages[touched.request] + touched.position // PAGE
                found[page] = found.get(page, (number, number))[0], number
    return found


def _touched(graph: EventGraph, event: Event) -> Iterable[Event]:
    """The K/V that an event writes or reads, by the events that make it."""
    if KINDS[event.kind].writes == "kv":
        return (event,)
    return (source for source in graph.predecessors(event) if KINDS[source.kind].writes == "kv")
