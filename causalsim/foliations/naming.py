"""Which named family a foliation is, found from its times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from math import floor, inf

import numpy as np
from jaxtyping import Int

from causalsim.arguments import check_type
from causalsim.errors import CausalityError
from causalsim.events import EventGraph
from causalsim.events.vectorised import Lines
from causalsim.foliations.families import (
    chunked,
    coordinates,
    earliest,
    latest,
    layer_major,
    tilted,
    token_major,
    wavefront,
)
from causalsim.foliations.foliation import Foliation

Bound = Fraction | float


def family_of(foliation: Foliation) -> str | None:
    """The family that a foliation is of, as one would call it, or ``None``.

    Where families agree, the first of layer_major, token_major, chunked, wavefront, tilted,
    earliest, latest; with the least size of chunks and the simplest velocity.

    >>> from causalsim.events import Wiring
    >>> graph = EventGraph(Wiring(2), 6)
    >>> family_of(chunked(graph, 4)), family_of(tilted(graph, 0.5)), family_of(chunked(graph, 4).refine())
    ('chunked(4)', 'tilted(1/2)', None)
    """
    check_type("an order", foliation, Foliation)
    for name, family in _candidates(foliation):
        # Not every family is valid on every graph.
        with suppress(CausalityError):
            if family(foliation.graph) == foliation:
                return name
    return None


def _candidates(foliation: Foliation) -> Iterator[tuple[str, Callable[[EventGraph], Foliation]]]:
    yield "layer_major", layer_major
    yield "token_major", token_major
    size = max(chunk[0] for chunk in chunks_of(foliation))
    yield f"chunked({size})", lambda graph: chunked(graph, size)
    yield "wavefront", wavefront
    velocity = _velocity(foliation)
    if velocity is not None:
        yield f"tilted({velocity})", lambda graph: tilted(graph, velocity)
    yield "earliest", earliest
    yield "latest", latest


def chunks_of(foliation: Foliation) -> tuple[tuple[int, ...], ...]:
    """How many positions of each request start together, slice after slice: the sizes of its chunks.

    >>> from causalsim.events import Wiring
    >>> chunks_of(chunked(EventGraph(Wiring(1), [5, 2]), 3))
    ((3, 2), (2,))
    """
    check_type("an order", foliation, Foliation)
    graph = foliation.graph
    starts = (Lines(columns, foliation.times)[graph.sites[0]] for columns in graph.requests)
    counts = (np.unique(line, return_counts=True)[1] for line in starts)
    return tuple(tuple(sizes.tolist()) for sizes in counts)


def _velocity(foliation: Foliation) -> Fraction | None:
    """The simplest velocity at which tilted slices could be these; ``None`` if there is none.

    Events of one slice have the same height + velocity * position, which tells the velocity
    if their positions differ; from one slice to the next it rises, which bounds it.
    """
    heights, positions = coordinates(foliation.graph)
    order = np.argsort(foliation.times, kind="stable")
    up, right, later = (np.diff(line[order]) for line in (heights, positions, foliation.times))
    tied = np.flatnonzero((later == 0) & (right != 0))
    if tied.size:
        return Fraction(-int(up[tied[0]]), int(right[tied[0]]))
    low, high = _bounds(up[later > 0], right[later > 0])
    return _simplest(low, high) if low < high else None


def _bounds(up: Int[np.ndarray, " steps"], right: Int[np.ndarray, " steps"]) -> tuple[Bound, Bound]:
    """Between which velocities up + velocity * right > 0 for all steps."""
    steps = set(zip(up.tolist(), right.tolist(), strict=True))
    low = max((Fraction(-a, b) for a, b in steps if b > 0), default=-inf)
    high = min((Fraction(-a, b) for a, b in steps if b < 0), default=inf)
    return low, high


def _simplest(low: Bound, high: Bound) -> Fraction:
    """The fraction of the least denominator strictly between two bounds (Stern 1858, Brocot 1861)."""
    if low < 0 < high:
        return Fraction(0)
    if high <= 0:
        return -_simplest(-high, -low)
    whole = floor(low)
    if whole + 1 < high:
        return Fraction(whole + 1)
    # Both bounds lie in [whole, whole + 1], so that the rest is one over something greater than 1.
    above = 1 / (high - whole)
    return whole + 1 / _simplest(above, inf if low == whole else 1 / (low - whole))
