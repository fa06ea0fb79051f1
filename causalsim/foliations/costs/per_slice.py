"""Batches, bytes and FLOPs of every slice of a foliation, without running any.

A batch is one site (a kind of event at a layer) of one slice: its events share their weights,
over all positions and requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
from jaxtyping import Int

from causalsim.arguments import check_type
from causalsim.events import KINDS, EventGraph, Site
from causalsim.events.columns import Columns
from causalsim.events.vectorised import Lines
from causalsim.foliations.costs.footprint import Footprint, check_costed, number_of
from causalsim.foliations.dense_times import run_starts
from causalsim.foliations.foliation import Foliation

PerSlice = Int[np.ndarray, " slices"]
PerBatch = Int[np.ndarray, " batches"]
PerPosition = Int[np.ndarray, " positions"]

# Of the events of a site, told how many positions each of them sees.
EventCost = Callable[[Site, PerPosition], int | PerPosition]

# Of the batches of a site, told how many events each of them has.
BatchCost = Callable[[Site, PerBatch], int | PerBatch]


def batches(foliation: Foliation) -> PerSlice:
    """Batches of every slice: the sites that have events in it.

    Args:
        foliation: The foliation.

    Returns:
        Batches by slice.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import wavefront
    >>> batches(wavefront(EventGraph(Wiring(2), 2, granularity="block"))).tolist()
    [1, 2, 1]
    """
    check_type("a foliation", foliation, Foliation)
    return _by_batch(foliation, lambda site, tokens: 1)


def weight_bytes_read(foliation: Foliation, footprint: Footprint) -> PerSlice:
    """Bytes of weights that every slice reads: each batch its site's once, an embedding its own row.

    Args:
        foliation: The foliation.
        footprint: Bytes of the weights that every kind in its graph reads.

    Returns:
        Bytes by slice.

    Raises:
        InputError: The footprint lacks a kind.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import wavefront
    >>> sizes = Footprint({}, {"block": 100})
    >>> weight_bytes_read(wavefront(EventGraph(Wiring(2), 2, granularity="block")), sizes).tolist()
    [100, 200, 100]
    """
    check_costed(foliation, footprint)
    return _by_batch(foliation, partial(weights_of, footprint))


def kv_bytes_read(foliation: Foliation, footprint: Footprint) -> PerSlice:
    """Bytes of K/V that the attentions of every slice read, each of them all that it sees.

    Args:
        foliation: The foliation.
        footprint: Bytes of the K/V of a position in one layer.

    Returns:
        Bytes by slice.

    Raises:
        InputError: The footprint lacks them.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import token_major
    >>> decode = token_major(EventGraph(Wiring(1), 3, granularity="block"))
    >>> kv_bytes_read(decode, Footprint({"kv": 8}, {})).tolist()
    [8, 16, 24]
    """
    check_costed(foliation, footprint)
    return _by_event(foliation, partial(kv_of, footprint))


def flops(foliation: Foliation, footprint: Footprint) -> PerSlice:
    """Floating-point operations of every slice: of its events, and of each position that one reads.

    Args:
        foliation: The foliation.
        footprint: FLOPs of every kind in its graph, and of a read.

    Returns:
        Operations by slice.

    Raises:
        InputError: The footprint lacks a kind.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import token_major
    >>> sizes = Footprint({}, {}, flops={"block": 100}, flops_per_read=8)
    >>> flops(token_major(EventGraph(Wiring(1), 3, granularity="block")), sizes).tolist()
    [108, 116, 124]
    """
    check_costed(foliation, footprint)
    return _by_event(foliation, partial(flops_of, footprint))


def weights_of(footprint: Footprint, site: Site, tokens: PerBatch) -> int | PerBatch:
    """Bytes of weights of each batch of a site, told how many events each has."""
    each = number_of(footprint.weights, site.kind)
    return each * tokens if KINDS[site.kind].place == "below" else each


def kv_of(footprint: Footprint, site: Site, seen: PerPosition) -> int | PerPosition:
    """Bytes of K/V that each event of a site reads, told how many positions each sees."""
    return seen * footprint.values["kv"] if KINDS[site.kind].attends else 0


def flops_of(footprint: Footprint, site: Site, seen: PerPosition) -> int | PerPosition:
    """Operations of each event of a site, told how many positions each sees."""
    each = number_of(footprint.flops, site.kind)
    return each + seen * footprint.flops_per_read if KINDS[site.kind].attends else each


def _by_batch(foliation: Foliation, cost: BatchCost) -> PerSlice:
    totals = np.zeros(foliation.depth, np.int64)
    for site, slices, tokens in batches_by_site(foliation):
        totals[slices] += cost(site, tokens)
    return totals


def _by_event(foliation: Foliation, cost: EventCost) -> PerSlice:
    totals = np.zeros(foliation.depth, np.int64)
    for site, lines in _sites(foliation):
        for columns, line in zip(foliation.graph.requests, lines, strict=True):
            np.add.at(totals, line, cost(site, positions_seen(foliation.graph, site, columns)))
    return totals


def positions_seen(graph: EventGraph, site: Site, columns: Columns) -> PerPosition:
    """The number of positions that each event of a site sees, one after another."""
    window = graph.wiring.windows_by_layer[site.layer] if KINDS[site.kind].attends else None
    seen = np.arange(1, len(columns.positions(site)) + 1)
    return seen if window is None else np.minimum(seen, window)


def batches_by_site(foliation: Foliation) -> Iterator[tuple[Site, PerBatch, PerBatch]]:
    """Site by site, the slices in which it has events, ascending, and how many it has in each."""
    for site, lines in _sites(foliation):
        ascending = np.sort(np.concatenate(lines))
        starts = np.flatnonzero(run_starts(ascending))
        yield site, ascending[starts], np.diff(starts, append=len(ascending))


def _sites(foliation: Foliation) -> Iterable[tuple[Site, list[Int[np.ndarray, " positions"]]]]:
    """The times of every site that has events, one array a request."""
    lines = [Lines(columns, foliation.times) for columns in foliation.graph.requests]
    for site in foliation.graph.sites:
        found = [each[site][each.columns.held(site)] for each in lines]
        if any(len(line) for line in found):
            yield site, found
