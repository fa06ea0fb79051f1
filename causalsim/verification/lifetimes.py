"""Live ranges: a cell serves another event only after all that read it, by the graph alone.

Two things share memory: events that write one cell in turn (the residual of a column, in place),
and pages of K/V that take each other's place while a program runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from causalsim.engine import Plan, Planner, run_dispatch
from causalsim.engine.cells import Cell, cells_written
from causalsim.engine.placement import Placement
from causalsim.engine.state import State
from causalsim.events import KINDS, Event, EventGraph
from causalsim.kernels import PAGE
from causalsim.kernels.precision import poison
from causalsim.testing.bits import same_bits
from causalsim.testing.findings import Statement
from causalsim.verification.target import Target

# Layer and page of a text; pool and place in memory.
Page = tuple[int, int]
Place = tuple[int, int]
# The first and the last dispatch in which a page is needed, and the page.
LiveRange = tuple[int, int, Page]
# Places that are poisoned one by one.
MOST_PLACES = 8


def overwritten_early(graph: EventGraph, state: State) -> Iterator[Statement]:
    """Every write-after-read hazard: a cell that an event may write while another has still to read it."""
    writers: dict[Cell, list[Event]] = {}
    for event in graph:
        for cell in cells_written(state, event):
            writers.setdefault(cell, []).append(event)
    for cell, events in writers.items():
        for first, second in pairwise(events):
            late = [reader for reader in graph.successors(first) if not _is_done(graph, reader, second)]
            if late or not _is_done(graph, first, second):
                words = "{event} may overwrite {cell.array} of {writer}"
                words += " while {reader} may still read it" * bool(late)
                facts = {"event": second, "cell": cell, "writer": first, "reader": next(iter(late), None)}
                yield Statement(words, facts)


def _is_done(graph: EventGraph, reader: Event, writer: Event) -> bool:
    # Most are neighbours in the graph, which is seen at once.
    return reader == writer or writer in graph.successors(reader) or graph.precedes(reader, writer)


def misplaced_pages(plan: Plan) -> Iterator[Statement]:
    """Yield every use after free: a page of K/V given away while needed, or taken over unpoisoned.

    Says once more, event by event, what ``Placement.recycling`` works out for all of a program at once.
    """
    placement = plan.placement
    ranges: dict[Place, list[LiveRange]] = {}
    for (layer, page), (first, last) in _needed(plan).items():
        here = int(placement.pool[layer]), int(placement.place[layer, page])
        ranges.setdefault(here, []).append((first, last, (layer, page)))
    for here, sharing in ranges.items():
        poisoned = [number for number, each in enumerate(plan.dispatches) if here in each.recycled]
        yield from _spoilt(sharing, poisoned)
        yield from _taken_over(sharing, poisoned)


def _spoilt(sharing: Sequence[LiveRange], poisoned: Sequence[int]) -> Iterator[Statement]:
    for first, last, page in sharing:
        if any(first < dispatch <= last for dispatch in poisoned):
            yield Statement.of("{page} is poison again while it is needed", page=_name(page))


def _taken_over(sharing: Sequence[LiveRange], poisoned: Sequence[int]) -> Iterator[Statement]:
    for (_, end, one), (start, _, other) in pairwise(sorted(sharing)):
        if start <= end:
            words = "{page} takes the place of {other} too early"
            yield Statement.of(words, page=_name(other), other=_name(one))
        elif start not in poisoned:
            yield Statement.of("{page} finds what {other} left", page=_name(other), other=_name(one))


def poisoned_wrong(target: Target, seed: int) -> tuple[int, Statement | None]:
    """Poison pages of full memory as plans do, and tell how often, and of a cell that is wrong then."""
    # Some places each by itself, all of a pool, and one of each pool.
    state = _full(target.fresh(), np.random.default_rng(seed))
    pools, pages = len(state.keys), state.layout.pages
    each = [((pool, page),) for pool in range(pools) for page in range(pages)]
    spread = each[:: -(-len(each) // MOST_PLACES)]
    one_of_each = tuple((pool, pool % pages) for pool in range(pools))
    together = [tuple((0, page) for page in range(pages)), one_of_each]
    tried = list(dict.fromkeys([*spread, *together]))
    return len(tried), next(filter(None, (_poisoned(target, state, places) for places in tried)), None)


def _full(state: State, rng: np.random.Generator) -> State:
    """A state in which nothing is poison."""
    cells = jax.tree.map(lambda part: jnp.asarray(rng.integers(1, 99, part.shape), part.dtype), state.cells())
    return replace(state, **cells)


def _poisoned(target: Target, state: State, places: tuple[Place, ...]) -> Statement | None:
    """Run a dispatch of padding that takes over some places."""
    wiring, buckets = target.graph.wiring, target.kernels.buckets
    planner = Planner(wiring, state.layout, Placement.apart(len(state.keys), state.layout), buckets)
    site = next(site for site in target.graph.sites if KINDS[site.kind].writes == "kv")
    padding = replace(planner.scratch(site, buckets.up_to(1)[0]), recycled=places)
    after, _ = run_dispatch(padding, state.copy(), target.computation)
    due = jax.tree.map(np.array, state.cells())
    for array, (pool, page) in product(("keys", "values"), places):
        due[array][pool][page] = poison(due[array][pool].dtype)
    for name, part in after.cells().items():
        # The last of each array is scratch, where padding writes.
        for number, (own, other) in enumerate(zip(_parts(part), _parts(due[name]), strict=True)):
            kept = np.s_[:, :-1] if name == "residual" else np.s_[:-1]
            if not same_bits(np.asarray(own)[kept], other[kept]):
                words = "{array} {number} is not as it should be when {places} are poisoned"
                return Statement.of(words, array=name, number=number, places=str(list(places)))
    return None


def _parts(value: Any) -> Sequence[Any]:
    return value if isinstance(value, tuple) else (value,)


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
