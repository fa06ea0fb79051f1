"""Random linear extensions, down-sets and foliations, each with its law."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, SupportsIndex

import numpy as np
from jaxtyping import Int

from causalsim.arguments import as_int, check_whole, shown
from causalsim.errors import InputError, LimitError
from causalsim.events import Event, EventGraph
from causalsim.events.graph import checked_graph
from causalsim.events.lattice import refuse_large
from causalsim.foliations.foliation import Foliation
from causalsim.posets import (
    DEFAULT_LIMIT,
    DEFAULT_STEPS,
    CoupledSampler,
    DownSetSampler,
    UniformSampler,
    kahn_order,
    kahn_orders,
)
from causalsim.posets.relations import elements, successors

Seed = SupportsIndex | np.random.Generator

METHODS = ("uniform", "kahn")

# Kahn orders need every edge once, as an integer each: some gigabytes at the most.
KAHN_EDGES = 50_000_000
KEPT_EDGES = 1_000_000


def random_linear_extension(
    graph: EventGraph,
    seed: Seed,
    *,
    method: Literal["uniform", "kahn"] = "uniform",
    limit: int = DEFAULT_LIMIT,
    steps: int = DEFAULT_STEPS,
) -> Foliation:
    """A random linear extension of a graph.

    ``"uniform"`` draws each linear extension with exactly the same probability: by counting over
    the lattice of down-sets where it has at most ``limit`` of them, else by coupling from the past
    in at most ``steps`` moves (Huber 2006).
    ``"kahn"`` picks uniformly among the events that are enabled: any size, but *not* uniform
    over them (on 4x4 blocks the likeliest is 21,845 times as likely as the rarest).

    Args:
        graph: The graph.
        seed: A whole number of at least 0, or a NumPy generator.
        method: The law, as above.
        limit: The most down-sets that ``"uniform"`` tabulates.
        steps: The most moves of coupling from the past.

    Returns:
        A foliation of one event a slice.

    Raises:
        InputError: An argument is of the wrong kind.
        LimitError: ``"uniform"`` would pass both bounds, or the graph has too many edges to list.

    >>> from causalsim.events import Wiring
    >>> random_linear_extension(EventGraph(Wiring(1), 1), seed=0).times.tolist()
    [0, 1, 2, 3, 4]
    """
    checked_graph(graph)
    if method not in METHODS:
        raise InputError(
            "a random linear extension is drawn by a known method",
            got=repr(method),
            expected=" or ".join(METHODS),
        )
    rng, limit, steps = _generator(seed), check_whole("a limit", limit, 1), check_whole("steps", steps, 0)
    uniform = method == "uniform"
    order = sampler_for(graph, limit, steps).sample(rng) if uniform else kahn_order(_sources(graph), rng)
    return Foliation(graph, np.argsort(order))


def random_orders(graph: EventGraph, seed: Seed, count: int) -> Int[np.ndarray, "orders events"]:
    """Many random linear extensions at once, as canonical indices in the order of running.

    By the law of ``random_linear_extension(..., method="kahn")``; for campaigns over small graphs.

    Args:
        graph: The graph.
        seed: A whole number of at least 0, or a NumPy generator.
        count: How many.

    Returns:
        A row a linear extension.

    Raises:
        LimitError: The graph has too many edges to list.

    >>> from causalsim.events import Wiring
    >>> random_orders(EventGraph(Wiring(1), 1), seed=0, count=2).tolist()
    [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]
    """
    return kahn_orders(_sources(checked_graph(graph)), _generator(seed), count)


def random_down_set(graph: EventGraph, seed: Seed, *, limit: int = DEFAULT_LIMIT) -> frozenset[Event]:
    """A set of events that holds the past of each of its own, each such set equally likely.

    What may have run at some moment.

    Args:
        graph: The graph.
        seed: A whole number of at least 0, or a NumPy generator.
        limit: The most down-sets that are tabulated.

    Returns:
        Its events.

    Raises:
        LimitError: There are more.

    >>> from causalsim.events import Wiring
    >>> sorted(map(str, random_down_set(EventGraph(Wiring(1), 1), seed=2)))
    ['embed(0)', 'kv(0,0)']
    """
    mask = _down_sets(checked_graph(graph), check_whole("a limit", limit, 1)).sample(_generator(seed))
    return frozenset(graph[index] for index in elements(mask))


def random_foliation(graph: EventGraph, seed: Seed) -> Foliation:
    """Random slices: each is a random subset of the events enabled after the slices before it.

    The law: a density is drawn uniformly from (0, 1) once a foliation; then every enabled
    event joins the next slice with that probability, independently, and a slice that would
    be empty takes one of them uniformly. Dense draws come near ``earliest``, sparse ones
    near a Kahn order, so slices of every width occur. Not uniform over foliations.

    Args:
        graph: The graph.
        seed: A whole number of at least 0, or a NumPy generator.

    Returns:
        A foliation.

    Raises:
        LimitError: The graph has too many edges to list.

    >>> from causalsim.events import Wiring
    >>> random_foliation(EventGraph(Wiring(1), 1), seed=0).times.tolist()
    [0, 1, 2, 3, 4]
    """
    rng = _generator(seed)
    density = rng.uniform()
    sources = _sources(checked_graph(graph))
    waiting, readers = np.array([len(read) for read in sources]), successors(sources)
    times = np.empty(len(graph), np.int64)
    enabled, now = np.flatnonzero(waiting == 0), 0
    while enabled.size:
        chosen = rng.random(enabled.size) < density
        if not chosen.any():
            chosen[rng.integers(enabled.size)] = True
        times[enabled[chosen]] = now
        freed = [reader for index in enabled[chosen] for reader in readers[index]]
        np.subtract.at(waiting, freed, 1)
        ready = np.unique(np.array(freed, np.int64))
        enabled, now = np.concatenate([enabled[~chosen], ready[waiting[ready] == 0]]), now + 1
    return Foliation(graph, times)


def _sources(graph: EventGraph) -> list[tuple[int, ...]]:
    # Campaigns draw many linear extensions of one graph; only large graphs are too big to keep.
    return _kept(graph) if graph.count_edges() < KEPT_EDGES else graph.explicit(KAHN_EDGES)


@lru_cache(maxsize=2)
def _kept(graph: EventGraph) -> list[tuple[int, ...]]:
    return graph.explicit(KEPT_EDGES)


def _generator(seed: Seed) -> np.random.Generator:
    if isinstance(seed, np.random.Generator):
        return seed
    number = as_int(seed)
    if number is None or number < 0:
        raise InputError(
            "a seed is a whole number of at least 0, or a NumPy generator",
            got=shown(seed),
            hint="Give seed=0.",
        )
    return np.random.default_rng(number)


@lru_cache(maxsize=2)
def sampler_for(graph: EventGraph, limit: int, steps: int) -> UniformSampler | CoupledSampler:
    """Make a sampler of uniform linear extensions: by tables where they fit, else by coupling."""
    sources = graph.explicit()
    try:
        refuse_large(graph, limit)
        return UniformSampler(sources, limit=limit)
    except LimitError:
        return CoupledSampler(sources, steps=steps)


@lru_cache(maxsize=2)
def _down_sets(graph: EventGraph, limit: int) -> DownSetSampler:
    refuse_large(graph, limit)
    sources = graph.explicit()
    return DownSetSampler(sources, limit=limit)
