"""Orders to try: the named families of a graph, and random ones; whoever runs them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from causalsim.events import EventGraph
from causalsim.foliations import Foliation, random_foliation, random_linear_extension
from causalsim.foliations.registry import verified


def named_foliations(graph: EventGraph) -> dict[str, Foliation]:
    """The named families that respect a graph's edges, by name, as their registry has them."""
    return verified(graph)


def random_orders(graph: EventGraph, count: int, seed: int) -> Iterator[tuple[str, Foliation]]:
    """Random foliations and random Kahn linear extensions in turn, each with a seed of its own."""
    return (random_order(graph, number, seed) for number in range(count))


def random_order(graph: EventGraph, number: int, seed: int) -> tuple[str, Foliation]:
    """The random order of a number, whichever were drawn before it."""
    rng = np.random.default_rng([seed, number])
    if number % 2:
        return f"random linear extension {number}", random_linear_extension(graph, rng, method="kahn")
    return f"random foliation {number}", random_foliation(graph, rng)
