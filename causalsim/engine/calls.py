"""Calls: which launches of a program go to the device together.

A launch is a call of its own unless kv, attn and mlp of a layer follow each other for the same
lanes. Those share a call, and where a call has but one lane, whose work takes hardly longer than
its start, several layers of it do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Int

from causalsim.engine.program import Launch
from causalsim.kernels import Lanes

# The kinds of launches that one call can carry, where their lanes are the same.
LAYER = ("kv", "attn", "mlp")
# Layers of a call of one lane. More take longer to compile and gain nothing.
MOST_LAYERS = 6

NO_LANES = np.empty((2, 0), np.int32)

Call = tuple[Launch, ...]


def calls_of(launches: Sequence[Launch], lanes: Lanes, n_layers: int) -> Iterator[Call]:
    """Launches in the same order, those together that one call carries."""
    layers, number = whole_layers(launches), 0
    while number < len(launches):
        counts = lanes.split(len(launches[number]))
        together = _layers_together(int(layers[number]), counts, n_layers)
        size = max(1, together * len(LAYER))
        yield tuple(launches[number : number + size])
        number += size


def deepest(n_layers: int) -> int:
    """How many layers a call of one lane carries, so that a column takes as few calls as possible.

    What is left over goes layer by layer: every number of layers has an executable of its own.

    >>> [deepest(n_layers) for n_layers in (1, 2, 12, 22, 30, 32)]
    [1, 2, 6, 5, 6, 6]
    """
    return min(range(1, MOST_LAYERS + 1), key=lambda layers: (sum(divmod(n_layers, layers)), layers))


def _layers_together(there: int, counts: Sequence[int], n_layers: int) -> int:
    """How many of the whole layers that are there one call carries, if their lanes go in such counts."""
    if len(counts) > 1:
        return 0
    most = deepest(n_layers) if counts[0] == 1 else 1
    return most if there >= most else min(there, 1)


def whole_layers(launches: Sequence[Launch]) -> Int[np.ndarray, " launches"]:
    """With how many whole layers for the same lanes, one above another, each launch begins."""
    heights = np.array([_height(launch) for launch in launches], np.int64)
    goes_on = (np.diff(heights) == 1) & _same_lanes(launches)
    ends = np.append(np.flatnonzero(~goes_on), len(launches) - 1)
    here = np.arange(len(launches))
    ahead = ends[np.searchsorted(ends, here)] - here + 1
    return np.where(heights % len(LAYER) == 0, ahead // len(LAYER), 0)


def _height(launch: Launch) -> int:
    """Where a launch stands in the column; far from all others, and no beginning, if it is in no layer."""
    kind, layer = launch.slot
    return layer * len(LAYER) + LAYER.index(kind) if kind in LAYER else -len(LAYER) - 1


def _same_lanes(launches: Sequence[Launch]) -> Bool[np.ndarray, " gaps"]:
    """Which launches have the lanes of the next one."""
    sizes = np.array([len(launch) for launch in launches], np.int64)
    lanes = np.concatenate(
        [NO_LANES, *(np.stack([each.requests, each.positions]) for each in launches)], axis=1
    )
    owner = np.repeat(np.arange(len(launches)), sizes)
    before = np.maximum(np.arange(len(owner)) - sizes[owner], 0)
    changed = (lanes != lanes[:, before]).any(axis=0)
    differing = np.bincount(owner, changed, len(launches))
    return (differing[1:] == 0) & (np.diff(sizes) == 0)
