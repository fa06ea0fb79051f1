"""Foliations compared by what they cost in all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Int

from causalsim.arguments import check_type, check_whole, shown
from causalsim.events import EventGraph
from causalsim.foliations.costs.footprint import Footprint, check_costed
from causalsim.foliations.costs.peaks import peak_at_cuts, peak_during
from causalsim.foliations.costs.per_slice import (
    BatchCost,
    EventCost,
    batches_by_site,
    flops_of,
    kv_of,
    positions_seen,
    weights_of,
)
from causalsim.foliations.foliation import Foliation


@dataclass(frozen=True)
class Shape:
    """Costs of a foliation whatever the model: slices, events in the widest, and batches.

    Attributes:
        depth: Slices.
        width: Events of the widest slice.
        tokens: The most events of one batch: what serving engines call the tokens of a step.
        batches: Batches of all slices.

    >>> Shape(depth=8, width=3, tokens=3, batches=8).depth
    8
    """

    depth: int
    width: int
    tokens: int
    batches: int


@dataclass(frozen=True)
class Costs(Shape):
    """A foliation in numbers: its shape, bytes and FLOPs over all slices, and the peaks of what is live.

    Attributes:
        weight_bytes: Bytes of weights that its batches read.
        kv_bytes: Bytes of K/V that its attentions read.
        flops: Floating-point operations of its events.
        peak_during: Bytes live at most while events run one by one.
        peak_at_cuts: Bytes that at most cross a cut between slices.

    >>> Costs(2, 4, 4, 2, weight_bytes=200, kv_bytes=6, flops=0, peak_during=32, peak_at_cuts=30).batches
    2
    """

    weight_bytes: int
    kv_bytes: int
    flops: int
    peak_during: int
    peak_at_cuts: int


def shape(foliation: Foliation) -> Shape:
    """Count slices and batches of a foliation, which cost whatever the model.

    Args:
        foliation: The foliation.

    Returns:
        Its slices, widest slice, widest batch and batches.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import layer_major
    >>> shape(layer_major(EventGraph(Wiring(2), 3)))
    Shape(depth=8, width=3, tokens=3, batches=8)
    """
    check_type("a foliation", foliation, Foliation)
    return _run(foliation, lambda site, tokens: 0)[0]


def costs(foliation: Foliation, footprint: Footprint) -> Costs:
    """All costs of a foliation over a footprint.

    Args:
        foliation: The foliation.
        footprint: Bytes and FLOPs of every kind in its graph.

    Returns:
        The costs.

    Raises:
        InputError: The footprint lacks a kind.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import layer_major
    >>> graph = EventGraph(Wiring(2), 2, granularity="block")
    >>> sizes = Footprint({"embed": 10, "block": 10, "kv": 1}, {"block": 100})
    >>> found = costs(layer_major(graph), sizes)
    >>> found.batches, found.weight_bytes, found.kv_bytes, found.peak_during
    (2, 200, 6, 32)
    """
    check_costed(foliation, footprint)
    found, weight_bytes = _run(foliation, partial(weights_of, footprint))
    return Costs(
        **vars(found),
        weight_bytes=weight_bytes,
        kv_bytes=_whatever_the_order(foliation.graph, partial(kv_of, footprint)),
        flops=_whatever_the_order(foliation.graph, partial(flops_of, footprint)),
        peak_during=peak_during(foliation, footprint),
        peak_at_cuts=peak_at_cuts(foliation, footprint),
    )


def admissible(
    schedules: Mapping[str, Costs], *, token_budget: int | None = None, memory_cap: int | None = None
) -> list[str]:
    """The schedules that keep to a budget of tokens a batch and to a cap of live bytes, by bytes read.

    Those that read the fewest bytes of weights and K/V come first: so one engine after another ranks
    schedules that its memory holds, where bandwidth is what bounds it (Agrawal et al. 2023).

    Args:
        schedules: The costs of each by its name.
        token_budget: The most events that a batch may have.
        memory_cap: The most bytes that may live at once, ``peak_during``.

    Returns:
        The names of those that keep to both.

    Raises:
        InputError: A limit is no whole number of at least 0.

    >>> few = Costs(2, 4, 4, 2, 200, 6, 0, 32, 30)
    >>> many = Costs(4, 1, 1, 4, 400, 6, 0, 23, 20)
    >>> both = {"decode": many, "prefill": few}
    >>> admissible(both), admissible(both, token_budget=2)
    (['prefill', 'decode'], ['decode'])
    """
    check_type("the schedules", schedules, Mapping, "Give the costs of each by its name.")
    for name, found in schedules.items():
        check_type(f"what {shown(name)} costs", found, Costs, "costs(foliation, footprint) says it.")
    for name, limit in (("token_budget", token_budget), ("memory_cap", memory_cap)):
        if limit is not None:
            check_whole(name, limit, 0)
    kept = [
        name
        for name, found in schedules.items()
        if (token_budget is None or found.tokens <= token_budget)
        and (memory_cap is None or found.peak_during <= memory_cap)
    ]
    return sorted(kept, key=lambda name: schedules[name].weight_bytes + schedules[name].kv_bytes)


def _run(foliation: Foliation, cost: BatchCost) -> tuple[Shape, int]:
    """The shape of a foliation, and what its batches cost together, in one pass over the sites."""
    run, most, total = 0, 0, 0
    for site, _, tokens in batches_by_site(foliation):
        run, most = run + len(tokens), max(most, int(tokens.max()))
        total += _sum(cost(site, tokens), len(tokens))
    return Shape(foliation.depth, foliation.width, most, run), total


def _whatever_the_order(graph: EventGraph, cost: EventCost) -> int:
    """The cost of all events together, which no slices change."""
    return sum(
        _sum(cost(site, positions_seen(graph, site, columns)), len(columns.positions(site)))
        for columns in graph.requests
        for site in graph.sites
    )


def _sum(cost: int | Int[np.ndarray, " terms"], terms: int) -> int:
    return cost * terms if isinstance(cost, int) else int(cost.sum())
