"""Orders to try: the named families of a graph, and random ones; whoever runs them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from causalsim.errors import CausalityError
from causalsim.events import EventGraph
from causalsim.foliations import (
    Foliation,
    chunked,
    latest,
    layer_major,
    random_foliation,
    random_linear_extension,
    token_major,
    wavefront,
)


def named_foliations(graph: EventGraph) -> dict[str, Foliation]:
    """The named families that respect a graph's edges, by name."""
    families = {
        "layer_major": layer_major,
        "token_major": token_major,
        "chunked(4)": lambda graph: chunked(graph, 4),
        "wavefront": wavefront,
        "latest": latest,
    }
    found = {}
    for name, family in families.items():
        with suppress(CausalityError):
            found[name] = family(graph)
    return found


def random_orders(graph: EventGraph, count: int, seed: int) -> Iterator[tuple[str, Foliation]]:
    """Random foliations and random Kahn linear extensions in turn, each with a seed of its own."""
    return (random_order(graph, number, seed) for number in range(count))


def random_order(graph: EventGraph, number: int, seed: int) -> tuple[str, Foliation]:
    """The random order of a number, whichever were drawn before it."""
    rng = np.random.default_rng([seed, number])
    if number % 2:
        return f"random linear extension {number}", random_linear_extension(graph, rng, method="kahn")
    return f"random foliation {number}", random_foliation(graph, rng)
