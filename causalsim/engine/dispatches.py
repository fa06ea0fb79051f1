"""Dispatches: which batches of a program go to the device together.

A batch is a dispatch of its own unless kv, attn and mlp of a layer follow each other for the same
rows. Those share a dispatch, and where a dispatch has but one row, whose work takes hardly longer than
its start, several layers of it do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Int

from causalsim.engine.program import Batch
from causalsim.kernels import Buckets

# The kinds of batches that one dispatch can carry, where their rows are the same.
LAYER = ("kv", "attn", "mlp")
# Layers of a dispatch of one row. More take longer to compile and gain nothing.
MOST_LAYERS = 6

NO_ROWS = np.empty((2, 0), np.int32)

Dispatch = tuple[Batch, ...]


def dispatches_of(batches: Sequence[Batch], buckets: Buckets, n_layers: int) -> Iterator[Dispatch]:
    """Batches in the same order, those together that one dispatch carries."""
    layers, number = whole_layers(batches), 0
    while number < len(batches):
        counts = buckets.split(len(batches[number]))
        together = _layers_together(int(layers[number]), counts, n_layers)
        size = max(1, together * len(LAYER))
        yield tuple(batches[number : number + size])
        number += size


def deepest(n_layers: int) -> int:
    """How many layers a dispatch of one row carries, so that a column takes as few dispatches as possible.

    What is left over goes layer by layer: every number of layers has an executable of its own.

    >>> [deepest(n_layers) for n_layers in (1, 2, 12, 22, 30, 32)]
    [1, 2, 6, 5, 6, 6]
    """
    return min(range(1, MOST_LAYERS + 1), key=lambda layers: (sum(divmod(n_layers, layers)), layers))


def _layers_together(there: int, counts: Sequence[int], n_layers: int) -> int:
    """How many of the whole layers that are there one dispatch carries, if their rows go in such counts."""
    if len(counts) > 1:
        return 0
    most = deepest(n_layers) if counts[0] == 1 else 1
    return most if there >= most else min(there, 1)


def whole_layers(batches: Sequence[Batch]) -> Int[np.ndarray, " batches"]:
    """With how many whole layers for the same rows, one above another, each batch begins."""
    heights = np.array([_height(batch) for batch in batches], np.int64)
    goes_on = (np.diff(heights) == 1) & _same_rows(batches)
    ends = np.append(np.flatnonzero(~goes_on), len(batches) - 1)
    here = np.arange(len(batches))
    ahead = ends[np.searchsorted(ends, here)] - here + 1
    return np.where(heights % len(LAYER) == 0, ahead // len(LAYER), 0)


def _height(batch: Batch) -> int:
    """Where a batch stands in the column; far from all others, and no beginning, if it is in no layer."""
    kind, layer = batch.site
    return layer * len(LAYER) + LAYER.index(kind) if kind in LAYER else -len(LAYER) - 1


def _same_rows(batches: Sequence[Batch]) -> Bool[np.ndarray, " gaps"]:
    """Which batches have the rows of the next one."""
    sizes = np.array([len(batch) for batch in batches], np.int64)
    rows = np.concatenate([NO_ROWS, *(np.stack([each.requests, each.positions]) for each in batches)], axis=1)
    owner = np.repeat(np.arange(len(batches)), sizes)
    before = np.maximum(np.arange(len(owner)) - sizes[owner], 0)
    changed = (rows != rows[:, before]).any(axis=0)
    differing = np.bincount(owner, changed, len(batches))
    return (differing[1:] == 0) & (np.diff(sizes) == 0)
