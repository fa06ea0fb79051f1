"""Peaks of the bytes that are live while the events of a foliation run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from itertools import zip_longest

import numpy as np

from causalsim.events import KINDS, EventGraph
from causalsim.events.kinds import kinds_at
from causalsim.events.vectorised import Lines, earliest_reader, latest_reader
from causalsim.foliations.costs.footprint import Footprint, check_costed
from causalsim.foliations.dense_times import places
from causalsim.foliations.foliation import Foliation, Times

Lifetimes = tuple[Times, Times, int]
"""Values of one size by the time at which each is born and the last at which it is read."""


def peak_during(foliation: Foliation, footprint: Footprint) -> int:
    """Bytes live at most while the events run one by one, slice by slice in canonical order.

    An event's inputs and its output are both live during it. Embeddings appear at their
    first read and, at block granularity, K/V at their first reader; a value that nobody
    reads drops at once. Weights are not counted.

    Args:
        foliation: The foliation.
        footprint: Bytes of the values of every kind in its graph.

    Returns:
        Bytes.

    Raises:
        InputError: The footprint lacks a kind.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import layer_major
    >>> graph = EventGraph(Wiring(2), 2, granularity="block")
    >>> sizes = Footprint({"embed": 10, "block": 10, "kv": 1}, {})
    >>> peak_during(layer_major(graph), sizes)  # T (d + k) + d
    32
    """
    check_costed(foliation, footprint)
    graph = foliation.graph
    steps = places(foliation.times, foliation.slice_sizes)
    return _peak(_lifetimes(graph, steps, footprint), len(graph), outlived=1)


def peak_at_cuts(foliation: Foliation, footprint: Footprint) -> int:
    """Bytes that at most cross a cut between two slices, when a slice runs all its events at once.

    Args:
        foliation: The foliation.
        footprint: Bytes of the values of every kind in its graph.

    Returns:
        Bytes.

    Raises:
        InputError: The footprint lacks a kind.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import layer_major
    >>> graph = EventGraph(Wiring(2), 2, granularity="block")
    >>> sizes = Footprint({"embed": 10, "block": 10, "kv": 1}, {})
    >>> peak_at_cuts(layer_major(graph), sizes)
    20
    """
    check_costed(foliation, footprint)
    return _peak(_lifetimes(foliation.graph, foliation.times, footprint), foliation.depth, outlived=0)


def _peak(lifetimes: Iterable[Lifetimes], steps: int, outlived: int) -> int:
    """The most bytes live at a step; a value dies so many steps after it is last read."""
    live = np.zeros(steps + 1, np.int64)
    for birth, read, size in lifetimes:
        death = read + outlived
        held = birth < death
        np.add.at(live, birth[held], size)
        np.add.at(live, death[held], -size)
    np.cumsum(live, out=live)
    return int(live[:-1].max())


def _lifetimes(graph: EventGraph, times: Times, footprint: Footprint) -> Iterator[Lifetimes]:
    of_request = _of_blocks if graph.granularity == "block" else _of_sublayers
    for columns in graph.requests:
        yield from of_request(graph, Lines(columns, times), footprint.values)


def _of_sublayers(graph: EventGraph, lines: Lines, sizes: Mapping[str, int]) -> Iterator[Lifetimes]:
    """Every event's value lives from the event (an embedding: from its first reader) to its last reader."""
    for site, families in graph.families_from.items():
        birth = read = lines[site]
        for family in families:
            read = np.maximum(read, latest_reader(lines[family.target], family.first, family.last))
        if KINDS[site.kind].place == "below":
            birth = reduce(np.minimum, (lines[family.target] for family in families))
        held = lines.columns.held(site)
        yield birth[held], read[held], sizes[site.kind]


def _of_blocks(graph: EventGraph, lines: Lines, sizes: Mapping[str, int]) -> Iterator[Lifetimes]:
    """Residuals are read above at their own position only; K/V lives from its first to its last reader."""
    first, _ = _readers(lines[graph.sites[0]], graph.wiring.windows_by_layer[0])
    for kind in kinds_at("below"):
        yield first, lines[graph.sites[0]], sizes[kind]
    for site, above in zip_longest(graph.sites, graph.sites[1:]):
        yield lines[site], lines[above or site], sizes[site.kind]
        yield *_readers(lines[site], graph.wiring.windows_by_layer[site.layer]), sizes["kv"]


def _readers(line: Times, window: int | None) -> tuple[Times, Times]:
    """The first and the last time at which the K/V of each position is read."""
    last = None if window is None else window - 1
    return earliest_reader(line, last), latest_reader(line, 0, last)
