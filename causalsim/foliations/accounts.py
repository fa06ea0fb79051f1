"""What every slice of a foliation costs, and schedules compared, without running any.

A batch is one site (a kind of event at a layer) of one slice: its events share their weights,
over all positions and requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Int

from causalsim.arguments import check_type, check_whole, shown
from causalsim.errors import InputError
from causalsim.events import EventGraph, Site
from causalsim.events.columns import Columns
from causalsim.events.vectorised import Lines
from causalsim.foliations.costs import Footprint, check_priced, peak_at_cuts, peak_during
from causalsim.foliations.foliation import Foliation
from causalsim.foliations.ranks import run_starts

PerSlice = Int[np.ndarray, " slices"]
PerBatches = Int[np.ndarray, " batches"]
PerPosition = Int[np.ndarray, " positions"]

# Of the events of a site, told how many positions each of them sees.
EventCost = Callable[[Site, PerPosition], int | PerPosition]

# Of the batches of a site, told how many events each of them has.
LaunchCost = Callable[[Site, PerBatches], int | PerBatches]

# What reads K/V of other positions.
READERS = ("attn", "block")


@dataclass(frozen=True)
class Shape:
    """What a foliation costs whatever the model: slices, events in the widest, and batches.

    ``tokens`` is the most events of one batch: what serving engines call the tokens of a step.

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

    >>> Costs(2, 4, 4, 2, weight_bytes=200, kv_bytes=6, flops=0, peak_during=32, peak_at_cuts=30).batches
    2
    """

    weight_bytes: int
    kv_bytes: int
    flops: int
    peak_during: int
    peak_at_cuts: int


def shape(foliation: Foliation) -> Shape:
    """What a foliation costs whatever the model.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import layer_major
    >>> shape(layer_major(EventGraph(Wiring(2), 3)))
    Shape(depth=8, width=3, tokens=3, batches=8)
    """
    check_type("an order", foliation, Foliation)
    return _run(foliation, lambda site, tokens: 0)[0]


def costs(foliation: Foliation, footprint: Footprint) -> Costs:
    """All costs of a foliation over a footprint.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import layer_major
    >>> graph = EventGraph(Wiring(2), 2, granularity="block")
    >>> sizes = Footprint({"embed": 10, "block": 10, "kv": 1}, {"block": 100})
    >>> found = costs(layer_major(graph), sizes)
    >>> found.batches, found.weight_bytes, found.kv_bytes, found.peak_during
    (2, 200, 6, 32)
    """
    check_priced(foliation, footprint)
    found, weight_bytes = _run(foliation, partial(_weights_of, footprint))
    return Costs(
        **vars(found),
        weight_bytes=weight_bytes,
        kv_bytes=_whatever_the_order(foliation.graph, partial(_kv_of, footprint)),
        flops=_whatever_the_order(foliation.graph, partial(_flops_of, footprint)),
        peak_during=peak_during(foliation, footprint),
        peak_at_cuts=peak_at_cuts(foliation, footprint),
    )


def batches(foliation: Foliation) -> PerSlice:
    """Batches of every slice: the sites that have events in it.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import wavefront
    >>> batches(wavefront(EventGraph(Wiring(2), 2, granularity="block"))).tolist()
    [1, 2, 1]
    """
    check_type("an order", foliation, Foliation)
    return _by_batch(foliation, lambda site, tokens: 1)


def weight_bytes_read(foliation: Foliation, footprint: Footprint) -> PerSlice:
    """Bytes of weights that every slice reads: each batch its site's once, an embedding its own row.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import wavefront
    >>> sizes = Footprint({}, {"block": 100})
    >>> weight_bytes_read(wavefront(EventGraph(Wiring(2), 2, granularity="block")), sizes).tolist()
    [100, 200, 100]
    """
    check_priced(foliation, footprint)
    return _by_batch(foliation, partial(_weights_of, footprint))


def kv_bytes_read(foliation: Foliation, footprint: Footprint) -> PerSlice:
    """Bytes of K/V that the attentions of every slice read, each of them all that it sees.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import token_major
    >>> decode = token_major(EventGraph(Wiring(1), 3, granularity="block"))
    >>> kv_bytes_read(decode, Footprint({"kv": 8}, {})).tolist()
    [8, 16, 24]
    """
    check_priced(foliation, footprint)
    return _by_event(foliation, partial(_kv_of, footprint))


def flops(foliation: Foliation, footprint: Footprint) -> PerSlice:
    """Floating-point operations of every slice: of its events, and of each position that one reads.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import token_major
    >>> sizes = Footprint({}, {}, flops={"block": 100}, flops_per_read=8)
    >>> flops(token_major(EventGraph(Wiring(1), 3, granularity="block")), sizes).tolist()
    [108, 116, 124]
    """
    check_priced(foliation, footprint)
    return _by_event(foliation, partial(_flops_of, footprint))


def admissible(
    schedules: Mapping[str, Costs], *, token_budget: int | None = None, memory_cap: int | None = None
) -> list[str]:
    """The schedules that no batch of which has more tokens and no moment more live bytes, by bytes read.

    Those that read the fewest bytes of weights and K/V come first: so one engine after another ranks
    schedules that its memory holds, where bandwidth is what bounds it (Agrawal et al. 2023).

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


def _weights_of(footprint: Footprint, site: Site, tokens: PerBatches) -> int | PerBatches:
    each = _of(footprint.weights, site)
    return each * tokens if site.kind == "embed" else each


def _kv_of(footprint: Footprint, site: Site, seen: PerPosition) -> int | PerPosition:
    return seen * footprint.values["kv"] if site.kind in READERS else 0


def _flops_of(footprint: Footprint, site: Site, seen: PerPosition) -> int | PerPosition:
    each = _of(footprint.flops, site)
    return each + seen * footprint.flops_per_read if site.kind in READERS else each


def _run(foliation: Foliation, cost: LaunchCost) -> tuple[Shape, int]:
    """The shape of a foliation, and what its batches cost together, in one pass over the sites."""
    run, most, total = 0, 0, 0
    for site, _, tokens in _batches(foliation):
        run, most = run + len(tokens), max(most, int(tokens.max()))
        total += _sum(cost(site, tokens), len(tokens))
    return Shape(foliation.depth, foliation.width, most, run), total


def _whatever_the_order(graph: EventGraph, cost: EventCost) -> int:
    """What the events cost together, which no slices change."""
    return sum(
        _sum(cost(site, _seen(graph, site, columns)), len(columns.positions(site)))
        for columns in graph.requests
        for site in graph.sites
    )


def _sum(cost: int | Int[np.ndarray, " terms"], terms: int) -> int:
    return cost * terms if isinstance(cost, int) else int(cost.sum())


def _by_batch(foliation: Foliation, cost: LaunchCost) -> PerSlice:
    totals = np.zeros(foliation.depth, np.int64)
    for site, slices, tokens in _batches(foliation):
        totals[slices] += cost(site, tokens)
    return totals


def _by_event(foliation: Foliation, cost: EventCost) -> PerSlice:
    totals = np.zeros(foliation.depth, np.int64)
    for site, lines in _sites(foliation):
        for columns, line in zip(foliation.graph.requests, lines, strict=True):
            np.add.at(totals, line, cost(site, _seen(foliation.graph, site, columns)))
    return totals


def _seen(graph: EventGraph, site: Site, columns: Columns) -> PerPosition:
    """How many positions the events of a site see, one after another."""
    window = graph.wiring.windows_by_layer[site.layer] if site.kind in READERS else None
    seen = np.arange(1, len(columns.positions(site)) + 1)
    return seen if window is None else np.minimum(seen, window)


def _batches(foliation: Foliation) -> Iterator[tuple[Site, PerBatches, PerBatches]]:
    """Site by site, the slices in which it has events, ascending, and how many it has in each."""
    for site, lines in _sites(foliation):
        ascending = np.sort(np.concatenate(lines))
        starts = np.flatnonzero(run_starts(ascending))
        yield site, ascending[starts], np.diff(starts, append=len(ascending))


def _sites(foliation: Foliation) -> Iterable[tuple[Site, list[Int[np.ndarray, " positions"]]]]:
    """The times of every site that has events, one array a request."""
    requests = foliation.graph.requests
    lines = [Lines(columns, foliation.times) for columns in requests]
    for site in foliation.graph.sites:
        found = [
            line[site][columns.positions(site).start : columns.positions(site).stop]
            for columns, line in zip(requests, lines, strict=True)
        ]
        if any(len(line) for line in found):
            yield site, found


def _of(by_kind: Mapping[str, int], site: Site) -> int:
    if by_kind and site.kind not in by_kind:
        raise InputError(
            "a footprint says what every kind of event costs",
            got=f"none for {site.kind}",
            expected=f"one for {', '.join(by_kind)} and {site.kind}",
            hint="ModelConfig(...).footprint() makes a whole one.",
        )
    return by_kind.get(site.kind, 0)
