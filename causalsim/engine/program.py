"""A program: a foliation compiled to batches, as a value that can be read before and after it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Int

from causalsim.errors import InputError
from causalsim.events import KINDS, Event, EventGraph, Site
from causalsim.foliations import Foliation

# From so many rows of one request on, attention is cheaper for all of them together.
MANY_ROWS = 8
NO_EVENTS: Int[np.ndarray, " events"] = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Batch:
    """One dispatch of a kernel: the same site at some positions, one row each.

    ``events`` are canonical indices of the events that it computes. It is empty for work that
    is no event of the graph: a block graph's embeddings, its K/V (made for their first
    reader) and its logits. A batch that was executed may have been ``joined`` to the one
    before it: both in one dispatch.
    """

    site: Site
    requests: Int[np.ndarray, " rows"]
    positions: Int[np.ndarray, " rows"]
    events: Int[np.ndarray, " events"] = field(default_factory=lambda: NO_EVENTS)
    joined: bool = False

    def __len__(self) -> int:
        return len(self.positions)

    def restricted(self, rows: Bool[np.ndarray, " rows"] | Int[np.ndarray, " chosen"] | slice) -> Batch:
        """The same batch with only some of its rows, in the order given."""
        return Batch(self.site, self.requests[rows], self.positions[rows], self.events[rows])

    def as_joined(self, joined: bool) -> Batch:
        """The same batch as it was executed."""
        return Batch(self.site, self.requests, self.positions, self.events, joined)

    def __str__(self) -> str:
        layer = f" of layer {self.site.layer}" if KINDS[self.site.kind].place in ("layer", "block") else ""
        return f"{self.site.kind}{layer}: {len(self)} rows"


@dataclass(frozen=True, eq=False)
class Program:
    """Batches in the order in which they run, over the graph whose events they compute.

    ``compile`` makes one from a foliation; tests may also make one that breaks causality.
    """

    graph: EventGraph
    batches: tuple[Batch, ...]

    def __len__(self) -> int:
        return len(self.batches)

    @property
    def dispatches(self) -> int:
        """The number of dispatches that carry the batches; fewer where some were joined."""
        return sum(not batch.joined for batch in self.batches)

    def order(self) -> Iterator[tuple[Event, ...]]:
        """The events of each batch, in the order of running."""
        for batch in self.batches:
            if len(batch.events):
                yield tuple(self.graph[int(index)] for index in batch.events)

    def times(self) -> Int[np.ndarray, " events"]:
        """The batch that computed each event, in canonical order; -1 for none."""
        times = np.full(len(self.graph), -1, np.int64)
        for number, batch in enumerate(self.batches):
            times[batch.events] = number
        return times

    def restricted(self, events: Int[np.ndarray, " events"]) -> Program:
        """The same order of only some events, given by canonical index."""
        batches = [batch.restricted(np.isin(batch.events, events)) for batch in self.batches]
        return Program(self.graph, tuple(batch for batch in batches if len(batch)))

    def refines(self, foliation: Foliation) -> bool:
        """Return True if every event runs once, and no event before one of an earlier slice.

        What shows that the order asked for is the order that ran.
        """
        run = np.concatenate([NO_EVENTS, *(batch.events for batch in self.batches)])
        if self.graph != foliation.graph or not np.array_equal(np.sort(run), np.arange(len(self.graph))):
            return False
        slices = [foliation.times[batch.events] for batch in self.batches if len(batch.events)]
        return all(part.min() == part.max() for part in slices) and bool(
            (np.diff(np.concatenate(slices)) >= 0).all()
        )


def compile(foliation: Foliation) -> Program:
    """Make the program of a foliation.

    Args:
        foliation: The order.

    Returns:
        Its batches: the events of one slice, grouped by site, long attentions by request too.
    """
    return compile_unchecked(foliation.graph, foliation.times)


def compile_unchecked(graph: EventGraph, times: Int[np.ndarray, " events"]) -> Program:
    """Make a program as ``compile`` does, of times that may break causality, so that checks can fail.

    Args:
        graph: The graph.
        times: A time for each event.

    Returns:
        The batches.
    """
    batches = _grouped(graph, np.arange(len(graph)), np.asarray(times), *graph.codes())
    return Program(graph, tuple(_around_blocks(graph, batches) if graph.granularity == "block" else batches))


def compile_together(graph: EventGraph, events: Iterable[Event]) -> Program:
    """Make a program of chosen events only, site by site up the column, as if all were of one slice.

    Args:
        graph: A sublayer graph.
        events: Any of its events.

    Returns:
        Their batches.

    Raises:
        InputError: A block graph, whose events need K/V that is no event.
    """
    if graph.granularity == "block":
        raise InputError("single events run on sublayer graphs", got=f"a {graph.granularity} graph")
    chosen = sorted(set(events), key=graph.index)
    if not chosen:
        return Program(graph, ())
    ranks = np.array([graph.requests[event.request].rank[Site(event.kind, event.layer)] for event in chosen])
    positions = np.array([event.position for event in chosen], np.int32)
    requests = np.array([event.request for event in chosen], np.int32)
    indices = np.array([graph.index(event) for event in chosen])
    return Program(graph, tuple(_grouped(graph, indices, np.zeros_like(indices), ranks, positions, requests)))


def _grouped(
    graph: EventGraph,
    events: Int[np.ndarray, " events"],
    times: Int[np.ndarray, " events"],
    ranks: Int[np.ndarray, " events"],
    positions: Int[np.ndarray, " events"],
    requests: Int[np.ndarray, " events"],
) -> list[Batch]:
    apart = _apart(graph, times, ranks, requests)
    order = np.lexsort((positions, requests, apart, ranks, times))
    keys = np.stack([times[order], ranks[order], apart[order]])
    starts = np.flatnonzero((np.diff(keys, axis=1) != 0).any(axis=0)) + 1
    return [
        Batch(graph.sites[ranks[part[0]]], requests[part], positions[part], events[part])
        for part in np.split(order, starts)
    ]


def _apart(
    graph: EventGraph,
    times: Int[np.ndarray, " events"],
    ranks: Int[np.ndarray, " events"],
    requests: Int[np.ndarray, " events"],
) -> Int[np.ndarray, " events"]:
    """Return a mark for the attentions of a site and slice that run apart: those of requests with many.

    A batch over one request reads its K/V once for all rows; one over several, once a row.
    """
    if graph.granularity == "block":
        return requests + 1
    attends = np.array([KINDS[site.kind].attends for site in graph.sites])[ranks]
    if len(graph.lengths) == 1:
        return np.zeros_like(requests)
    keys = (times.astype(np.int64) * len(graph.sites) + ranks) * len(graph.lengths) + requests
    _, group, sizes = np.unique(keys, return_inverse=True, return_counts=True)
    return np.where(attends & (sizes[group] >= MANY_ROWS), requests + 1, 0)


def _around_blocks(graph: EventGraph, batches: list[Batch]) -> Iterator[Batch]:
    """Block batches with the embeddings before them, the logits behind, and K/V before its first reader."""
    everywhere = _every_position(graph)
    yield Batch(Site("embed", -1), *everywhere)
    made = [[np.zeros(length, bool) for length in graph.lengths] for _ in range(graph.wiring.n_layers)]
    for batch in batches:
        layer, request = batch.site.layer, int(batch.requests[0])
        done = made[layer][request]
        # Only what these rows see: between two windows a residual may not have come that far.
        fresh = np.flatnonzero(
            _seen(batch.positions, graph.wiring.windows_by_layer[layer], len(done)) & ~done
        )
        done[fresh] = True
        if fresh.size:
            yield Batch(Site("kv", layer), np.full(fresh.size, request, np.int32), fresh.astype(np.int32))
        yield batch
    yield Batch(Site("unembed", graph.wiring.n_layers), *everywhere)


def _seen(
    positions: Int[np.ndarray, " rows"], window: int | None, length: int
) -> Bool[np.ndarray, " length"]:
    """The positions that an attention at some of the given ones reads."""
    starts = np.zeros_like(positions) if window is None else np.maximum(positions - window + 1, 0)
    change = np.zeros(length + 1, np.int64)
    np.add.at(change, starts, 1)
    np.add.at(change, positions + 1, -1)
    return np.cumsum(change[:-1]) > 0


def _every_position(graph: EventGraph) -> tuple[Int[np.ndarray, " rows"], Int[np.ndarray, " rows"]]:
    requests = np.repeat(np.arange(len(graph.lengths), dtype=np.int32), graph.lengths)
    positions = np.concatenate([np.arange(length, dtype=np.int32) for length in graph.lengths])
    return requests, positions
