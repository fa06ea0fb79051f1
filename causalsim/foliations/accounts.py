"""What every slice of a foliation costs, and schedules compared, without running any.

A launch is one slot (a kind of event at a layer) of one slice: its events share their weights,
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
from causalsim.events import EventGraph, Slot
from causalsim.events.columns import Columns
from causalsim.events.lines import Lines
from causalsim.foliations.costs import Footprint, check_priced, peak_at_cuts, peak_during
from causalsim.foliations.foliation import Foliation
from causalsim.foliations.ranks import run_starts

PerSlice = Int[np.ndarray, " slices"]
PerLaunch = Int[np.ndarray, " launches"]
PerPosition = Int[np.ndarray, " positions"]

# Of the events of a slot, told how many positions each of them sees.
EventCost = Callable[[Slot, PerPosition], int | PerPosition]

# Of the launches of a slot, told how many events each of them has.
LaunchCost = Callable[[Slot, PerLaunch], int | PerLaunch]

# What reads K/V of other positions.
READERS = ("attn", "block")


@dataclass(frozen=True)
class Shape:
    """What a foliation costs whatever the model: slices, events in the widest, and launches.

    ``tokens`` is the most events of one launch: what serving engines call the tokens of a step.

    >>> Shape(depth=8, width=3, tokens=3, launches=8).depth
    8
    """

    depth: int
    width: int
    tokens: int
    launches: int


@dataclass(frozen=True)
class Costs(Shape):
    """A foliation in numbers: its shape, bytes and FLOPs over all slices, and the peaks of what is live.

    >>> Costs(2, 4, 4, 2, weight_bytes=200, kv_bytes=6, flops=0, peak_during=32, peak_at_cuts=30).launches
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
    Shape(depth=8, width=3, tokens=3, launches=8)
    """
    check_type("an order", foliation, Foliation)
    return _launched(foliation, lambda slot, tokens: 0)[0]


def costs(foliation: Foliation, footprint: Footprint) -> Costs:
    """All costs of a foliation over a footprint.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import layer_major
    >>> graph = EventGraph(Wiring(2), 2, granularity="block")
    >>> sizes = Footprint({"embed": 10, "block": 10, "kv": 1}, {"block": 100})
    >>> found = costs(layer_major(graph), sizes)
    >>> found.launches, found.weight_bytes, found.kv_bytes, found.peak_during
    (2, 200, 6, 32)
    """
    check_priced(foliation, footprint)
    found, weight_bytes = _launched(foliation, partial(_weights_of, footprint))
    return Costs(
        **vars(found),
        weight_bytes=weight_bytes,
        kv_bytes=_whatever_the_order(foliation.graph, partial(_kv_of, footprint)),
        flops=_whatever_the_order(foliation.graph, partial(_flops_of, footprint)),
        peak_during=peak_during(foliation, footprint),
        peak_at_cuts=peak_at_cuts(foliation, footprint),
    )


def launches(foliation: Foliation) -> PerSlice:
    """Launches of every slice: the slots that have events in it.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import wavefront
    >>> launches(wavefront(EventGraph(Wiring(2), 2, granularity="block"))).tolist()
    [1, 2, 1]
    """
    check_type("an order", foliation, Foliation)
    return _by_launch(foliation, lambda slot, tokens: 1)


def weight_bytes_read(foliation: Foliation, footprint: Footprint) -> PerSlice:
    """Bytes of weights that every slice reads: each launch its slot's once, an embedding its own row.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import wavefront
    >>> sizes = Footprint({}, {"block": 100})
    >>> weight_bytes_read(wavefront(EventGraph(Wiring(2), 2, granularity="block")), sizes).tolist()
    [100, 200, 100]
    """
    check_priced(foliation, footprint)
    return _by_launch(foliation, partial(_weights_of, footprint))


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
    """The schedules that no launch of which has more tokens and no moment more live bytes, by bytes read.

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


def _weights_of(footprint: Footprint, slot: Slot, tokens: PerLaunch) -> int | PerLaunch:
    each = _of(footprint.weights, slot)
    return each * tokens if slot.kind == "embed" else each


def _kv_of(footprint: Footprint, slot: Slot, seen: PerPosition) -> int | PerPosition:
    return seen * footprint.values["kv"] if slot.kind in READERS else 0


def _flops_of(footprint: Footprint, slot: Slot, seen: PerPosition) -> int | PerPosition:
    each = _of(footprint.flops, slot)
    return each + seen * footprint.flops_per_read if slot.kind in READERS else each


def _launched(foliation: Foliation, cost: LaunchCost) -> tuple[Shape, int]:
    """The shape of a foliation, and what its launches cost together, in one pass over the slots."""
    launched, most, total = 0, 0, 0
    for slot, _, tokens in _launches(foliation):
        launched, most = launched + len(tokens), max(most, int(tokens.max()))
        total += _sum(cost(slot, tokens), len(tokens))
    return Shape(foliation.depth, foliation.width, most, launched), total


def _whatever_the_order(graph: EventGraph, cost: EventCost) -> int:
    """What the events cost together, which no slices change."""
    return sum(
        _sum(cost(slot, _seen(graph, slot, columns)), len(columns.positions(slot)))
        for columns in graph.requests
        for slot in graph.slots
    )


def _sum(cost: int | Int[np.ndarray, " terms"], terms: int) -> int:
    return cost * terms if isinstance(cost, int) else int(cost.sum())


def _by_launch(foliation: Foliation, cost: LaunchCost) -> PerSlice:
    totals = np.zeros(foliation.depth, np.int64)
    for slot, slices, tokens in _launches(foliation):
        totals[slices] += cost(slot, tokens)
    return totals


def _by_event(foliation: Foliation, cost: EventCost) -> PerSlice:
    totals = np.zeros(foliation.depth, np.int64)
    for slot, lines in _slots(foliation):
        for columns, line in zip(foliation.graph.requests, lines, strict=True):
            np.add.at(totals, line, cost(slot, _seen(foliation.graph, slot, columns)))
    return totals


def _seen(graph: EventGraph, slot: Slot, columns: Columns) -> PerPosition:
    """How many positions the events of a slot see, one after another."""
    reach = graph.wiring.reaches[slot.layer] if slot.kind in READERS else None
    seen = np.arange(1, len(columns.positions(slot)) + 1)
    return seen if reach is None else np.minimum(seen, reach)


def _launches(foliation: Foliation) -> Iterator[tuple[Slot, PerLaunch, PerLaunch]]:
    """Slot by slot, the slices in which it has events, ascending, and how many it has in each."""
    for slot, lines in _slots(foliation):
        ascending = np.sort(np.concatenate(lines))
        starts = np.flatnonzero(run_starts(ascending))
        yield slot, ascending[starts], np.diff(starts, append=len(ascending))


def _slots(foliation: Foliation) -> Iterable[tuple[Slot, list[Int[np.ndarray, " positions"]]]]:
    """The times of every slot that has events, one array a request."""
    requests = foliation.graph.requests
    lines = [Lines(columns, foliation.times) for columns in requests]
    for slot in foliation.graph.slots:
        found = [
            line[slot][columns.positions(slot).start : columns.positions(slot).stop]
            for columns, line in zip(requests, lines, strict=True)
        ]
        if any(len(line) for line in found):
            yield slot, found


def _of(by_kind: Mapping[str, int], slot: Slot) -> int:
    if by_kind and slot.kind not in by_kind:
        raise InputError(
            "a footprint says what every kind of event costs",
            got=f"none for {slot.kind}",
            expected=f"one for {', '.join(by_kind)} and {slot.kind}",
            cure="ModelConfig(...).footprint() makes a whole one.",
        )
    return by_kind.get(slot.kind, 0)
