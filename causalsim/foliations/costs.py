"""What a foliation costs without running it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from causalsim.arguments import check_type
from causalsim.events import EventGraph
from causalsim.events.lines import latest_reader, latest_successors, spread
from causalsim.foliations.foliation import Foliation, Times


@dataclass(frozen=True)
class Footprint:
    """What costs need to know of a model: bytes of one value, and of the weights that an event
    reads, each by kind of event.
    """

    values: Mapping[str, int]
    weights: Mapping[str, int]


@dataclass(frozen=True)
class _Lifetimes:
    """Values that exist from ``birth`` to ``death``, both inclusive, in steps of some order."""

    birth: Int[np.ndarray, " values"]
    death: Int[np.ndarray, " values"]
    size: Int[np.ndarray, " values"]


def peak_during(foliation: Foliation, footprint: Footprint) -> int:
    """Bytes live at most while the events run one by one, slice by slice in canonical order.

    An event's inputs and its output are both live during it. Embeddings appear at their
    first read and, at block granularity, K/V at their first reader; a value that nobody
    reads drops at once. Weights are not counted.
    """
    check_type("an order", foliation, Foliation)
    values = _lifetimes(foliation.refine(), footprint)
    return int(_live(values, len(foliation.graph)).max())


def peak_at_cuts(foliation: Foliation, footprint: Footprint) -> int:
    """Bytes that at most cross a cut between two slices, when a slice runs all its events at once."""
    check_type("an order", foliation, Foliation)
    values = _lifetimes(foliation, footprint)
    crossing = _Lifetimes(values.birth, values.death - 1, values.size)
    return int(_live(crossing, foliation.depth).max())


def _live(values: _Lifetimes, steps: int) -> Int[np.ndarray, " steps"]:
    change = np.zeros(steps + 1, np.int64)
    held = values.birth <= values.death
    np.add.at(change, values.birth[held], values.size[held])
    np.add.at(change, values.death[held] + 1, -values.size[held])
    return np.cumsum(change[:-1])


def _lifetimes(foliation: Foliation, footprint: Footprint) -> _Lifetimes:
    check_type("a footprint", footprint, Footprint, "ModelConfig(...).footprint() makes one.")
    times = foliation.times.astype(np.int64)
    lifetimes = _of_blocks if foliation.graph.granularity == "block" else _of_sublayers
    return lifetimes(foliation.graph, times, footprint)


def _of_sublayers(graph: EventGraph, times: Times, footprint: Footprint) -> _Lifetimes:
    """Every event's value lives from the event (an embedding: from its first reader) to its last reader."""
    ranks = graph.codes()[0]
    size = np.array([footprint.values[slot.kind] for slot in graph.slots], np.int64)[ranks]
    is_embed = np.array([slot.kind == "embed" for slot in graph.slots])[ranks]
    first = times.max() - latest_successors(graph, times.max() - times)
    return _Lifetimes(
        np.where(is_embed, first, times), np.maximum(times, latest_successors(graph, times)), size
    )


def _of_blocks(graph: EventGraph, times: Times, footprint: Footprint) -> _Lifetimes:
    """Residuals are read above at their own position only; K/V lives from its first to its last reader."""
    parts = []
    for columns in graph.requests:
        lines = [spread(columns, slot, times) for slot in graph.slots]
        first_layer_readers, _ = _readers(lines[0], graph.wiring.reaches[0])
        parts.append((first_layer_readers, lines[0], footprint.values["embed"]))
        for layer, line in enumerate(lines):
            parts.append(
                (line, lines[layer + 1] if layer + 1 < len(lines) else line, footprint.values["block"])
            )
            parts.append((*_readers(line, graph.wiring.reaches[layer]), footprint.values["kv"]))
    birth, death = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    return _Lifetimes(
        birth, death, np.concatenate([np.full(len(part[0]), part[2], np.int64) for part in parts])
    )


def _readers(line: Times, reach: int | None) -> tuple[Times, Times]:
    """The first and the last time at which the K/V of each position is read."""
    first = line.max() - latest_reader(line.max() - line, 0, None if reach is None else reach - 1)
    return first, latest_reader(line, 0, None if reach is None else reach - 1)
