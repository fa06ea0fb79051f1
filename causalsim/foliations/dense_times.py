"""Times as dense ranks, slices counted, and the place of every event in the refinement.

All of it is counting in chunks: next to the result only a chunk, and a table of slices, is held.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Int, Integer

# Chunks fit into a cache.
CHUNK = 1 << 18

# A table of times may be so much longer than the times; beyond that they are sorted.
SPARSEST = 4


def dense(times: Integer[np.ndarray, " events"]) -> Int[np.ndarray, " events"]:
    """Return ranks from 0 without gaps, in the order of the times.

    >>> dense(np.array([10, -3, 10, 2**40])).tolist()
    [1, 0, 1, 2]
    """
    low, high = int(times.min()), int(times.max())
    if high - low < SPARSEST * len(times) + 1024 and high < 2**62:
        return _by_counting(times, low, high)
    return _by_sorting(times)


def count_slices(times: Int[np.ndarray, " events"]) -> Int[np.ndarray, " slices"]:
    """Return how many events run at each time from 0 to the last.

    >>> count_slices(np.array([0, 2, 2, 1])).tolist()
    [1, 1, 2]
    """
    sizes = np.zeros(int(times.max()) + 1, np.int64)
    for chunk in _chunks(len(times)):
        np.add.at(sizes, times[chunk], 1)
    return sizes


def places(
    times: Int[np.ndarray, " events"], sizes: Int[np.ndarray, " slices"]
) -> Int[np.ndarray, " events"]:
    """Return the place of every event when slices run one after another, each in canonical order.

    ``times`` are dense and ``sizes`` count their slices.

    >>> places(np.array([1, 0, 1, 0]), np.array([2, 2])).tolist()
    [2, 0, 3, 1]
    """
    if len(sizes) == len(times):
        return times
    vacant = (np.cumsum(sizes) - sizes).astype(narrow(len(times)))
    out = np.empty(len(times), vacant.dtype)
    for chunk in _chunks(len(times)):
        out[chunk] = _seat(times[chunk], vacant)
    return out


def narrow(top: int) -> type[np.signedinteger]:
    """Return the integers that hold numbers up to ``top`` in the least memory.

    >>> narrow(10).__name__
    'int32'
    """
    return np.int32 if top < 2**31 else np.int64


def run_starts(ascending: Integer[np.ndarray, " numbers"]) -> Bool[np.ndarray, " numbers"]:
    """Return True where a run of equal numbers begins.

    >>> run_starts(np.array([3, 3, 5])).tolist()
    [True, False, True]
    """
    begins = np.ones(len(ascending), bool)
    np.not_equal(ascending[1:], ascending[:-1], out=begins[1:])
    return begins


def _by_counting(times: Integer[np.ndarray, " events"], low: int, high: int) -> Int[np.ndarray, " events"]:
    present = np.zeros(high - low + 1, bool)
    for chunk in _chunks(len(times)):
        present[_shifted(times[chunk], low)] = True
    table = np.cumsum(present, dtype=narrow(len(present)))
    table -= 1
    ranks = np.empty(len(times), table.dtype)
    for chunk in _chunks(len(times)):
        ranks[chunk] = table[_shifted(times[chunk], low)]
    return ranks


def _by_sorting(times: Integer[np.ndarray, " events"]) -> Int[np.ndarray, " events"]:
    found = np.sort(times)
    found = found[run_starts(found)]
    ranks = np.empty(len(times), narrow(len(found)))
    for chunk in _chunks(len(times)):
        # Ascending searches stay near each other in memory.
        order = np.argsort(times[chunk])
        ranks[chunk][order] = np.searchsorted(found, times[chunk][order])
    return ranks


def _seat(times: Int[np.ndarray, " chunk"], vacant: Int[np.ndarray, " slices"]) -> Int[np.ndarray, " chunk"]:
    """Give each event the next vacant place of its slice, and move on what is vacant."""
    order = stable_order(times)
    ascending = times[order]
    firsts = np.flatnonzero(run_starts(ascending))
    slices, counts = ascending[firsts], np.diff(firsts, append=len(times))
    seats = np.empty(len(times), vacant.dtype)
    seats[order] = np.repeat(vacant[slices] - firsts, counts) + np.arange(len(times))
    vacant[slices] += counts.astype(vacant.dtype)
    return seats


def stable_order(times: Int[np.ndarray, " chunk"]) -> Int[np.ndarray, " chunk"]:
    # Sixteen bits are sorted by radix, several times as fast.
    low = times.min()
    near = int(times.max()) - int(low) < 2**16
    return np.argsort((times - low).astype(np.uint16) if near else times, kind="stable")


def _shifted(times: Integer[np.ndarray, " chunk"], low: int) -> Int[np.ndarray, " chunk"]:
    # Narrow integers would overflow.
    return times.astype(np.int64) - low


def _chunks(length: int) -> Iterator[slice]:
    return (slice(first, first + CHUNK) for first in range(0, length, CHUNK))
