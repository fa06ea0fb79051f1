"""Geometry of a graph as a spacetime: its dimension, and the ticks of worldlines in a foliation."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import inf, lgamma, log
from typing import SupportsIndex

import numpy as np
from jaxtyping import Int

from causalsim.arguments import as_int, check_limit, check_type
from causalsim.errors import InputError
from causalsim.events import EventGraph
from causalsim.events.graph import checked_graph
from causalsim.foliations.foliation import Foliation

# A past is found site by site: some ten seconds in all.
MOST_STEPS = 3_000_000


def ticks(
    foliation: Foliation, position: SupportsIndex, request: SupportsIndex = 0
) -> Int[np.ndarray, " ticks"]:
    """The slices at which one position's worldline computes, each once, ascending.

    Between two ticks the position waits, as a moving clock does: token-major slices tick for one
    position at a time, layer-major ones for all together.

    Args:
        foliation: The foliation.
        position: A position of the text.
        request: The number of the text.

    Returns:
        Times of slices.

    Raises:
        InputError: There is no such position.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import wavefront
    >>> ticks(wavefront(EventGraph(Wiring(2), 2, granularity="block")), position=1).tolist()
    [1, 2]
    """
    check_type("a foliation", foliation, Foliation)
    graph = foliation.graph
    text, place = as_int(request), as_int(position)
    lengths = dict(enumerate(graph.lengths))
    if text is None or place is None or place not in range(lengths.get(text, 0)):
        raise InputError(
            "a worldline is of a position of the text",
            got=f"position {position} of request {request}",
            expected=f"texts of {graph.lengths} positions",
        )
    sheets = graph.requests[text].sheets(foliation.times)
    return next(np.unique(sheet[place - held.start]) for held, sheet in sheets if place in held)


def ordering_fraction(graph: EventGraph) -> Fraction:
    """The comparable pairs of events over the square of their number.

    For L layers of T blocks in full attention it is (1/4)(1 - 1/L)(1 + 1/T).

    Args:
        graph: The graph.

    Returns:
        The fraction, exactly.

    Raises:
        LimitError: The pasts of all events are too many to count.

    >>> from causalsim.events import Wiring
    >>> ordering_fraction(EventGraph(Wiring(2), 2, granularity="block"))
    Fraction(3, 16)
    """
    checked_graph(graph)
    steps = len(graph) * len(graph.sites)
    rule = "comparable pairs are counted event by event and site by site"
    hint = "Take a shorter text: the fraction tends to a limit."
    got = f"{len(graph):,} events of {len(graph.sites):,} sites"
    check_limit(
        rule, steps, MOST_STEPS, got=got, expected=f"at most {MOST_STEPS:,} as the product of both", hint=hint
    )
    pairs = sum(len(graph.past(event)) for event in graph)
    return Fraction(pairs, len(graph) ** 2)


def dimension(graph: EventGraph) -> float:
    """The Myrheim-Meyer dimension: that of flat spacetime whose diamonds have as many comparable pairs.

    Sprinkled into a causal diamond of d dimensions, so many events have in the mean the ordering
    fraction Gamma(d+1) Gamma(d/2) / (4 Gamma(3d/2)) of their square (Myrheim 1978; Meyer 1988):
    1/2 at d = 1, 1/4 at d = 2. Infinite where no two events are comparable. The block order
    tends to 2 as layers and positions grow, and has it at L = T + 1.

    Args:
        graph: The graph.

    Returns:
        The dimension.

    Raises:
        LimitError: The pasts of all events are too many to count.

    >>> from causalsim.events import Wiring
    >>> round(dimension(EventGraph(Wiring(3), 2, granularity="block")), 6)
    2.0
    """
    fraction = ordering_fraction(graph)
    if not fraction:
        return inf
    return _decreasing_root(_log_fraction, log(fraction))


def _log_fraction(d: float) -> float:
    return lgamma(d + 1) + lgamma(d / 2) - lgamma(3 * d / 2) - log(4)


def _decreasing_root(f: Callable[[float], float], value: float) -> float:
    """Solve a decreasing function for a value: from above 0, by doubling and then by halving."""
    low, high = 0.0, 1.0
    while f(high) > value:
        low, high = high, 2 * high
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if f(middle) > value else (low, middle)
    return high
