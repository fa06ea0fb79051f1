"""Arguments of families, found from the times of a foliation."""

from __future__ import annotations

from fractions import Fraction
from math import floor, inf

import numpy as np
from jaxtyping import Int

from causalsim.arguments import check_type
from causalsim.events.vectorised import Lines
from causalsim.foliations.families import coordinates
from causalsim.foliations.foliation import Foliation

Bound = Fraction | float


def chunks_of(foliation: Foliation) -> tuple[tuple[int, ...], ...]:
    """The sizes of the chunks of each request: how many of its positions start together, slice after slice.

    Args:
        foliation: Any foliation.

    Returns:
        Sizes by request.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import chunked
    >>> chunks_of(chunked(EventGraph(Wiring(1), [5, 2]), 3))
    ((3, 2), (2,))
    """
    check_type("a foliation", foliation, Foliation)
    graph = foliation.graph
    starts = (Lines(columns, foliation.times)[graph.sites[0]] for columns in graph.requests)
    counts = (np.unique(line, return_counts=True)[1] for line in starts)
    return tuple(tuple(sizes.tolist()) for sizes in counts)


def velocity_of(foliation: Foliation) -> Fraction | None:
    """Return the simplest velocity at which tilted slices could be these; ``None`` if there is none.

    Events of one slice have the same height + velocity * position, which tells the velocity
    if their positions differ; from one slice to the next it rises, which bounds it.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import wavefront
    >>> velocity_of(wavefront(EventGraph(Wiring(2), 6)))
    Fraction(1, 1)
    """
    heights, positions = coordinates(foliation.graph)
    order = np.argsort(foliation.times, kind="stable")
    up, right, later = (np.diff(line[order]) for line in (heights, positions, foliation.times))
    tied = np.flatnonzero((later == 0) & (right != 0))
    if tied.size:
        return Fraction(-int(up[tied[0]]), int(right[tied[0]]))
    low, high = _bounds(up[later > 0], right[later > 0])
    return simplest_between(low, high) if low < high else None


def _bounds(up: Int[np.ndarray, " steps"], right: Int[np.ndarray, " steps"]) -> tuple[Bound, Bound]:
    """Between which velocities up + velocity * right > 0 for all steps."""
    steps = set(zip(up.tolist(), right.tolist(), strict=True))
    low = max((Fraction(-a, b) for a, b in steps if b > 0), default=-inf)
    high = min((Fraction(-a, b) for a, b in steps if b < 0), default=inf)
    return low, high


def simplest_between(low: Bound, high: Bound) -> Fraction:
    """The fraction of the least denominator strictly between two bounds (Stern 1858, Brocot 1861)."""
    if low < 0 < high:
        return Fraction(0)
    if high <= 0:
        return -simplest_between(-high, -low)
    whole = floor(low)
    if whole + 1 < high:
        return Fraction(whole + 1)
    # Both bounds lie in [whole, whole + 1], so that the rest is one over something greater than 1.
    above = 1 / (high - whole)
    return whole + 1 / simplest_between(above, inf if low == whole else 1 / (low - whole))
