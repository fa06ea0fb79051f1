"""The linear extension with the least peak of live bytes, exactly, by dynamic programming over down-sets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from causalsim.arguments import check_type, check_whole
from causalsim.events import KINDS, Event, EventGraph
from causalsim.events.graph import checked_graph
from causalsim.events.kinds import kinds_at
from causalsim.events.lattice import refuse_large
from causalsim.foliations.costs.footprint import HINT, Footprint
from causalsim.foliations.foliation import Foliation
from causalsim.posets import DEFAULT_LIMIT
from causalsim.posets.downsets import ranks
from causalsim.posets.growth import Budget
from causalsim.posets.relations import elements

# Every value is looked at for every down-set: a minute or so.
MOST_STEPS = 200_000_000


@dataclass(frozen=True)
class _Life:
    """A value that exists from the first of some events to the last of others, as bitmasks."""

    births: int
    uses: int
    size: int


def least_peak(
    graph: EventGraph, footprint: Footprint, *, limit: int = DEFAULT_LIMIT
) -> tuple[int, Foliation]:
    """The least ``peak_during`` of any linear extension, and one that has it.

    What is live while an event runs depends only on the set of events before it, so the least peak
    of a down-set is a minimum over its last event: one-shot pebbling, NP-complete in general (Sethi
    1975), exact here while at most ``limit`` down-sets are tabulated.

    Measured over up to 5 layers, 8 positions and 3,000 down-sets (8,000 with windows of 2 to 4) for ten
    or more ratios of sizes: at block granularity nothing beats the better of ``layer_major`` and
    ``token_major``; at sublayer granularity short windows let others win.

    Args:
        graph: The graph.
        footprint: Bytes of the values of every kind in it.
        limit: The most down-sets that are tabulated.

    Returns:
        Bytes, and the linear extension.

    Raises:
        LimitError: There are more down-sets.
        InputError: The footprint lacks a kind.

    >>> from causalsim.events import Wiring
    >>> graph = EventGraph(Wiring(2), 2, granularity="block")
    >>> sizes = Footprint({"embed": 10, "block": 10, "kv": 1}, {})
    >>> least_peak(graph, sizes)[0]  # token by token: (2*2 - 2 + 1) * 1 + 2 * 10
    23
    """
    check_type("a footprint", footprint, Footprint, HINT)
    limit = min(check_whole("a limit", limit, 1), max(1, MOST_STEPS // len(checked_graph(graph))))
    refuse_large(graph, limit, whole=True)
    sources = graph.explicit()
    lives = list(_lives(graph, footprint))
    layers: list[dict[int, tuple[int, int]]] = [{0: (0, 0)}]
    for rank in ranks(sources, Budget(limit)):
        layers.append({})
        for mask, enabled in rank.enabled.items():
            _extend(layers[-1], mask, layers[-2][mask][0], enabled, lives)
    layers.pop()
    return layers[-1][(1 << len(graph)) - 1][0], _traced(graph, layers)


def _extend(
    grown: dict[int, tuple[int, int]], mask: int, peak: int, enabled: int, lives: list[_Life]
) -> None:
    """Let every enabled event run next, and keep for each down-set the lowest peak and its last event."""
    waited = [life for life in lives if life.uses & ~mask]
    alive = sum(life.size for life in waited if life.births & mask)
    waited = [life for life in waited if not life.births & mask]
    for i in elements(enabled):
        bit = 1 << i
        found = max(peak, alive + sum(life.size for life in waited if life.births & bit)), i
        grown[mask | bit] = min(found, grown.get(mask | bit, found))


def _traced(graph: EventGraph, layers: list[dict[int, tuple[int, int]]]) -> Foliation:
    times, mask = np.empty(len(graph), np.int64), (1 << len(graph)) - 1
    for place in reversed(range(len(graph))):
        last = layers[place + 1][mask][1]
        times[last], mask = place, mask ^ 1 << last
    return Foliation(graph, times)


def _lives(graph: EventGraph, footprint: Footprint) -> Iterator[_Life]:
    of_event = _of_block if graph.granularity == "block" else _of_sublayer
    for event in graph:
        yield from of_event(graph, event, footprint)


def _of_sublayer(graph: EventGraph, event: Event, footprint: Footprint) -> Iterator[_Life]:
    own, readers = _mask(graph, [event]), _mask(graph, graph.successors(event))
    lazy = KINDS[event.kind].place == "below"
    yield _Life(readers if lazy else own, readers if lazy else own | readers, footprint.values[event.kind])


def _of_block(graph: EventGraph, event: Event, footprint: Footprint) -> Iterator[_Life]:
    """The block's residual, the K/V that its layer reads at its position, and for the first the embedding."""
    own, layer, sizes = _mask(graph, [event]), event.layer, footprint.values
    window = graph.wiring.windows_by_layer[layer] or graph.lengths[event.request]
    last = min(graph.lengths[event.request], event.position + window)
    readers = _mask(graph, [Event(event.kind, layer, q, event.request) for q in range(event.position, last)])
    above = Event(event.kind, layer + 1, event.position, event.request)
    yield _Life(own, own | (_mask(graph, [above]) if above in graph else 0), sizes[event.kind])
    yield _Life(readers, readers, sizes["kv"])
    for kind in kinds_at("below") if layer == 0 else ():
        yield _Life(readers, own, sizes[kind])


def _mask(graph: EventGraph, events: list[Event] | tuple[Event, ...]) -> int:
    return sum(1 << graph.index(event) for event in events)
