"""Things that are no graph, no order, no footprint and no count, refused in one form."""

from __future__ import annotations

import pytest

from causalsim.errors import InputError
from causalsim.events import Event, EventGraph, Wiring
from causalsim.foliations import (
    Foliation,
    Footprint,
    adjacent_swaps,
    admissible,
    batches,
    chunked,
    chunks_of,
    costs,
    dimension,
    distance,
    earliest,
    family_of,
    flops,
    is_refinement,
    kv_bytes_read,
    latest,
    layer_major,
    least_peak,
    ordering_fraction,
    peak_at_cuts,
    peak_during,
    random_down_set,
    random_foliation,
    random_linear_extension,
    random_orders,
    shape,
    swap_path,
    swapped,
    ticks,
    tilt_bound,
    tilted,
    token_major,
    wavefront,
    weight_bytes_read,
)

pytestmark = pytest.mark.usefixtures("unchecked")

GRAPH = EventGraph(Wiring(2), 3)
ORDER = token_major(GRAPH)
SIZES = Footprint(dict.fromkeys(("embed", "kv", "attn", "mlp", "unembed", "sample", "block"), 1), {})
OTHERS = [None, -1, 1.5, "a", [], {"a": 3}, Wiring(2)]
COUNTS = [None, -1, 1.5, True, "a", [1]]

OF_A_GRAPH = [
    layer_major, token_major, wavefront, earliest, latest, tilt_bound, dimension, ordering_fraction,
    lambda graph: chunked(graph, 2), lambda graph: tilted(graph, 1), lambda graph: least_peak(graph, SIZES),
    lambda graph: random_linear_extension(graph, 0), lambda graph: random_foliation(graph, 0),
    lambda graph: random_orders(graph, 0, 1), lambda graph: random_down_set(graph, 0),
    lambda graph: Foliation.from_json(graph, ORDER.to_json()), lambda graph: Foliation(graph, [0]),
]  # fmt: skip
OF_AN_ORDER = [
    batches, shape, chunks_of, family_of, lambda order: ticks(order, 0),
    lambda order: list(adjacent_swaps(order)), lambda order: distance(order, ORDER),
    lambda order: list(swap_path(order, ORDER)), lambda order: is_refinement(order, ORDER),
    lambda order: swapped(order, GRAPH[0], GRAPH[1]),
]  # fmt: skip
PRICED = [costs, flops, kv_bytes_read, weight_bytes_read, peak_at_cuts, peak_during]


@pytest.mark.parametrize("given", OTHERS, ids=repr)
def test_what_is_no_graph_no_order_and_no_footprint(given):
    for call in OF_A_GRAPH:
        with pytest.raises(InputError, match="a graph must be of type EventGraph: got"):
            call(given)
    for call in OF_AN_ORDER:
        with pytest.raises(InputError, match="an order must be of type Foliation: got"):
            call(given)
    for call in PRICED:
        with pytest.raises(InputError, match="an order must be of type Foliation: got"):
            call(given, SIZES)
        with pytest.raises(InputError, match="a footprint must be of type Footprint: got"):
            call(ORDER, given)
    with pytest.raises(InputError, match="a footprint must be of type Footprint: got"):
        least_peak(GRAPH, given)


@pytest.mark.parametrize("given", COUNTS, ids=repr)
def test_what_is_no_count(given):
    for call in (random_linear_extension, random_down_set):
        with pytest.raises(InputError, match="a limit is a whole number"):
            call(GRAPH, 0, limit=given)
    with pytest.raises(InputError, match="steps is a whole number"):
        random_linear_extension(GRAPH, 0, steps=given)
    with pytest.raises(InputError, match="a limit is a whole number"):
        least_peak(GRAPH, SIZES, limit=given)
    with pytest.raises(InputError, match="a count of orders is a whole number"):
        random_orders(GRAPH, 0, given)
    with pytest.raises(InputError, match="the size of a chunk is a whole number"):
        chunked(GRAPH, given)
    for call in (random_foliation, random_linear_extension, random_down_set):
        with pytest.raises(InputError, match="a seed is a whole number"):
            call(GRAPH, given)
    for position, request in ((given, 0), (0, given)):
        with pytest.raises(InputError, match="a worldline is of a position"):
            ticks(ORDER, position, request)


@pytest.mark.parametrize("given", COUNTS[1:], ids=repr)
def test_what_is_no_budget(given):
    schedules = {"decode": costs(ORDER, SIZES)}
    for limits in ({"token_budget": given}, {"memory_cap": given}):
        with pytest.raises(InputError, match=f"{next(iter(limits))} is a whole number of at least 0"):
            admissible(schedules, **limits)


@pytest.mark.parametrize("given", [None, 3, "a", [1], {"a": 3}, {"a": None}, {"a": ORDER}], ids=repr)
def test_what_are_no_costs_of_schedules(given):
    with pytest.raises(InputError, match=r"the schedules must be|what 'a' costs must be"):
        admissible(given)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((None, {}), "values of a footprint must be of type Mapping"),
        (("a", {}), "values of a footprint must be of type Mapping"),
        (({}, [1]), "weights of a footprint must be of type Mapping"),
        (({}, {}, 3), "flops of a footprint must be of type Mapping"),
        (({"kv": -1}, {}), "values of 'kv' in a footprint is a whole number"),
        (({}, {"kv": 1.5}), "weights of 'kv' in a footprint is a whole number"),
        (({}, {}, {"kv": None}), "flops of 'kv' in a footprint is a whole number"),
        (({}, {}, {}, "a"), "flops_per_read of a footprint is a whole number"),
    ],
)
def test_what_is_no_footprint(arguments, words):
    with pytest.raises(InputError, match=words):
        Footprint(*arguments)


def test_orders_of_another_graph_and_events_of_another_granularity():
    other = token_major(EventGraph(Wiring(3), 3))
    for call in (distance, is_refinement, lambda a, b: list(swap_path(a, b)), Foliation.meet, Foliation.join):
        with pytest.raises(InputError, match=r"over one graph: got .*n_layers=3.*expected .*n_layers=2"):
            call(ORDER, other)
    block = Event("block", 0, 0)
    with pytest.raises(InputError, match="a sublayer graph has no kind 'block'"):
        ORDER.time(block)
    with pytest.raises(InputError, match="a sublayer graph has no kind 'block'"):
        swapped(ORDER, block, GRAPH[0])
    with pytest.raises(InputError, match="a block graph has no kind 'kv'"):
        token_major(EventGraph(Wiring(2), 3, granularity="block")).time(Event("kv", 0, 0))
