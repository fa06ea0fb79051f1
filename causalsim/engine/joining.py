"""Joining: which batches of a program go to the device together.

A batch is a dispatch of its own unless all kinds of a layer follow each other for the same rows. Those
share a dispatch, and where it has but one row, whose work takes hardly longer than its start, several
layers of it do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Int

from causalsim.engine.program import Batch
from causalsim.events import Wiring
from causalsim.kernels import Buckets

# Layers of a dispatch of one row. More take longer to compile and gain nothing.
MOST_LAYERS = 6

NO_ROWS = np.empty(0, np.int32)

Group = tuple[Batch, ...]


def joined(batches: Sequence[Batch], buckets: Buckets, wiring: Wiring) -> Iterator[Group]:
    """Yield batches in the same order, those together that one dispatch may carry."""
    layers, number = whole_layers(batches, wiring.sublayers), 0
    while number < len(batches):
        sizes = buckets.split(len(batches[number]))
        together = _layers_together(int(layers[number]), sizes, wiring.n_layers)
        size = max(1, together * len(wiring.sublayers))
        yield tuple(batches[number : number + size])
        number += size


@lru_cache(maxsize=64)
def deepest(n_layers: int) -> int:
    """Return how many layers a dispatch of one row carries, so that a column takes as few as possible.

    What is left over goes layer by layer: every number of layers has an executable of its own.

    >>> [deepest(n_layers) for n_layers in (1, 2, 12, 22, 30, 32)]
    [1, 2, 6, 5, 6, 6]
    """
    return min(range(1, MOST_LAYERS + 1), key=lambda layers: (sum(divmod(n_layers, layers)), layers))


def _layers_together(there: int, sizes: Sequence[int], n_layers: int) -> int:
    """Count the whole layers that one dispatch carries, if their rows go in such sizes."""
    if len(sizes) > 1:
        return 0
    most = deepest(n_layers) if sizes[0] == 1 else 1
    return most if there >= most else min(there, 1)


def whole_layers(batches: Sequence[Batch], sublayers: Sequence[str]) -> Int[np.ndarray, " batches"]:
    """Count, for each batch, the whole layers for the same rows, one above another, that it begins."""
    heights = np.array([_height(batch, sublayers) for batch in batches], np.int64)
    goes_on = (np.diff(heights) == 1) & _same_rows(batches)
    ends = np.append(np.flatnonzero(~goes_on), len(batches) - 1)
    here = np.arange(len(batches))
    ahead = ends[np.searchsorted(ends, here)] - here + 1
    return np.where(heights % len(sublayers) == 0, ahead // len(sublayers), 0)


def _height(batch: Batch, sublayers: Sequence[str]) -> int:
    """The place of a batch in the column; far from all others, and no beginning, if it is in no layer."""
    kind, layer = batch.site
    return layer * len(sublayers) + sublayers.index(kind) if kind in sublayers else -len(sublayers) - 1


def _same_rows(batches: Sequence[Batch]) -> Bool[np.ndarray, " gaps"]:
    """True for batches that have the rows of the next one."""
    sizes = np.array([len(batch) for batch in batches], np.int64)
    # Both joined before they are stacked: a stack a batch takes longer than all the rest.
    requests = np.concatenate([NO_ROWS, *(batch.requests for batch in batches)])
    rows = np.stack([requests, np.concatenate([NO_ROWS, *(batch.positions for batch in batches)])])
    owner = np.repeat(np.arange(len(batches)), sizes)
    before = np.maximum(np.arange(len(owner)) - sizes[owner], 0)
    changed = (rows != rows[:, before]).any(axis=0)
    differing = np.bincount(owner, changed, len(batches))
    return (differing[1:] == 0) & (np.diff(sizes) == 0)
