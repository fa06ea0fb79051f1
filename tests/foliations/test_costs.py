"""Costs slice by slice against a sum over events, and the least peak against every order."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causalsim.errors import CausalityError, InputError, LimitError
from causalsim.events import Event, EventGraph, Kind, Wiring
from causalsim.events.kinds import registered
from causalsim.foliations import (
    Foliation,
    Footprint,
    admissible,
    batches,
    chunked,
    costs,
    flops,
    kv_bytes_read,
    layer_major,
    least_peak,
    peak_at_cuts,
    peak_during,
    random_foliation,
    shape,
    tilt_bound,
    tilted,
    token_major,
    wavefront,
    weight_bytes_read,
)
from causalsim.models import ModelConfig
from causalsim.testing.strategies import graphs
from tests.foliations.support import graphs_with_foliation
from tests.foliations.test_peaks import BYTES, D, simulated

KINDS = ("embed", "kv", "attn", "mlp", "unembed", "sample", "block")
PRICES = Footprint(
    BYTES.values,
    {kind: 10**n for n, kind in enumerate(KINDS)},
    {kind: 3 * 10**n for n, kind in enumerate(KINDS)},
    flops_per_read=7,
)


def seen(graph: EventGraph, event: Event) -> int:
    """Positions whose K/V an event reads."""
    if event.kind == "attn":
        return sum(source.kind == "kv" for source in graph.predecessors(event))
    if event.kind != "block":
        return 0
    window = graph.wiring.windows_by_layer[event.layer]
    return event.position + 1 if window is None else min(event.position + 1, window)


@given(graphs_with_foliation(max_length=4))
def test_costs_are_sums_over_the_events_of_each_slice(foliation):
    graph = foliation.graph
    for time, events in enumerate(foliation.slices()):
        sites = {(event.kind, event.layer) for event in events}
        rows = sum(PRICES.weights["embed"] for event in events if event.kind == "embed")
        weights = rows + sum(PRICES.weights[kind] for kind, _ in sites if kind != "embed")
        reads = sum(seen(graph, event) for event in events)
        work = sum(PRICES.flops[event.kind] for event in events) + 7 * reads
        assert batches(foliation)[time] == len(sites)
        assert weight_bytes_read(foliation, PRICES)[time] == weights
        assert kv_bytes_read(foliation, PRICES)[time] == PRICES.values["kv"] * reads
        assert flops(foliation, PRICES)[time] == work


@given(graphs_with_foliation(max_length=4))
def test_the_summary_adds_up(foliation):
    found = costs(foliation, PRICES)
    per_batch = [
        sum(e.kind == kind and e.layer == layer for e in events)
        for events in foliation.slices()
        for kind, layer in {(e.kind, e.layer) for e in events}
    ]
    assert (found.depth, found.width) == (foliation.depth, foliation.width)
    assert (found.tokens, found.batches) == (max(per_batch), len(per_batch))
    assert found.flops == flops(foliation, PRICES).sum()
    assert found.peak_during == peak_during(foliation, PRICES)
    assert found.peak_at_cuts == peak_at_cuts(foliation, PRICES)


@given(graphs_with_foliation(max_length=4))
def test_work_does_not_depend_on_the_order_and_traffic_does(foliation):
    """FLOPs and K/V reads are of events; only what a batch shares depends on the slices."""
    graph = foliation.graph
    alone, fine = costs(foliation, PRICES), costs(foliation.refine(), PRICES)
    assert (alone.flops, alone.kv_bytes) == (fine.flops, fine.kv_bytes)
    assert fine.batches == len(graph) >= alone.batches
    assert fine.weight_bytes >= alone.weight_bytes


def test_schedules_of_a_known_size():
    """Chunked prefill reads the weights once a chunk, decode once a position."""
    config = ModelConfig(
        n_layers=3, n_heads=4, n_kv_heads=2, d_model=64, d_head=16, d_ff=96, vocab_size=50, max_length=99
    )
    graph, footprint = EventGraph(config, 12), config.footprint("bfloat16")
    layer = sum(footprint.weights[kind] for kind in ("kv", "attn", "mlp"))
    once = 3 * layer + footprint.weights["unembed"]
    rows = 12 * footprint.weights["embed"]
    table = {
        "prefill": costs(layer_major(graph), footprint),
        "chunks": costs(chunked(graph, 4), footprint),
        "decode": costs(token_major(graph), footprint),
        "wave": costs(wavefront(graph), footprint),
    }
    weight_bytes = {name: found.weight_bytes - rows for name, found in table.items()}
    assert weight_bytes == {"prefill": once, "chunks": 3 * once, "decode": 12 * once, "wave": 12 * once}
    assert {found.kv_bytes for found in table.values()} == {3 * 78 * footprint.values["kv"]}
    assert footprint.flops["mlp"] == 2 * footprint.weights["mlp"] // 2 and footprint.flops["embed"] == 0
    assert admissible(table) == ["prefill", "chunks", "decode", "wave"]
    assert admissible(table, token_budget=4) == ["chunks", "decode", "wave"]
    assert admissible(table, token_budget=1, memory_cap=table["decode"].peak_during) == ["decode"]
    assert admissible(table, memory_cap=1) == []


@pytest.mark.usefixtures("unchecked")
def test_a_footprint_that_lacks_a_kind_is_refused():
    graph = EventGraph(Wiring(1), 2)
    with pytest.raises(InputError, match="those of attn among them"):
        flops(layer_major(graph), Footprint({}, {}, {"embed": 0, "kv": 1}))
    with pytest.raises(InputError, match="footprint must be of type"):
        flops(layer_major(graph), None)


# -- the least peak ---------------------------------------------------------------------------------


def small_graphs():
    return graphs(max_layers=2, max_length=3).filter(
        lambda graph: len(graph) <= 12 and graph.count_linear_extensions() <= 300
    )


@settings(max_examples=40)
@given(small_graphs(), st.sampled_from([BYTES, PRICES]), st.integers(1, 40))
def test_the_least_peak_is_the_least_of_every_order(graph, sizes, k):
    sizes = Footprint({**sizes.values, "kv": k * 1000}, {})
    peaks = []
    for order in graph.linear_extensions():
        times = np.empty(len(graph), np.int64)
        times[[graph.index(event) for event in order]] = np.arange(len(graph))
        peaks.append(peak_during(Foliation(graph, times), sizes))
    least, order = least_peak(graph, sizes)
    assert least == min(peaks) == peak_during(order, sizes)


@pytest.mark.parametrize("windows", [None, 2])
@pytest.mark.parametrize(("n_layers", "length"), [(1, 6), (2, 5), (3, 4), (4, 3), (5, 2)])
def test_nothing_beats_the_better_of_layer_major_and_token_major(n_layers, length, windows):
    """At block granularity: measured, not proved."""
    graph = EventGraph(Wiring(n_layers, windows=windows), length, granularity="block")
    for d, k in ((1, 1), (3, 1), (1, 3), (10, 1), (3, 2)):
        sizes = Footprint({"embed": d, "block": d, "kv": k}, {})
        better = min(peak_during(order, sizes) for order in (layer_major(graph), token_major(graph)))
        assert least_peak(graph, sizes)[0] == better


def test_windows_of_sublayers_let_another_order_win():
    """With dear K/V and short windows, the last positions go first and drop what they alone read."""
    graph = EventGraph(Wiring(2, windows=2), 3)
    sizes = Footprint({"embed": 1, "kv": 3, "attn": 1, "mlp": 1, "unembed": 0, "sample": 0}, {})
    better = min(peak_during(order, sizes) for order in (layer_major(graph), token_major(graph)))
    least, order = least_peak(graph, sizes)
    assert (least, peak_during(order, sizes), better) == (10, 10, 11)


def test_the_least_peak_has_a_limit():
    with pytest.raises(LimitError):
        least_peak(EventGraph(Wiring(8), 60), BYTES)
    with pytest.raises(LimitError):
        least_peak(EventGraph(Wiring(2, windows=2), 6), BYTES, limit=50)
    # Each of its down-sets would be asked about 3,604 values.
    with pytest.raises(LimitError) as caught:
        least_peak(EventGraph(Wiring(600), 2), BYTES)
    assert caught.value.bound < 4_000_000
    with pytest.raises(LimitError):
        least_peak(EventGraph(Wiring(1), 2000, granularity="block"), BYTES)


# -- a kind that was not there before ---------------------------------------------------------------


ADAPTER = Kind("adapter", "layer", ("residual",), "residual", (("d_model",),), "adapter", "ad", "#0e7490")
COLUMNS = [
    ("kv", "attn", "adapter", "mlp"),
    ("kv", "attn", "mlp", "adapter"),
    ("kv", "attn", "adapter"),
]


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("sublayers", COLUMNS)
def test_a_kind_that_is_registered_is_costed(sublayers, parallel):
    with registered(ADAPTER):
        wiring = Wiring(2, parallel_residual=parallel, sublayers=sublayers)
        graph = EventGraph(wiring, [3, 2], prompt=[2, 2])
        for foliation in (token_major(graph), chunked(graph, 2), random_foliation(graph, 3)):
            values = {**BYTES.values, "adapter": D + 6}
            prices = Footprint(
                values, {**PRICES.weights, "adapter": 5}, {**PRICES.flops, "adapter": 11}, flops_per_read=7
            )
            found, events = costs(foliation, prices), [e for e in graph if e.kind == "adapter"]
            without = Footprint(values, {**PRICES.weights, "adapter": 0}, {**PRICES.flops, "adapter": 0}, 7)
            batches_of_it = len({(foliation.time(event), event.layer) for event in events})
            assert found.weight_bytes - costs(foliation, without).weight_bytes == 5 * batches_of_it
            assert found.flops - costs(foliation, without).flops == 11 * len(events)
            assert (found.peak_during, found.peak_at_cuts) == simulated(foliation, values)
            assert shape(foliation).batches == sum(batches(foliation))
        lacking = Footprint(BYTES.values, {})
        with pytest.raises(InputError, match="those of adapter among them"):
            peak_during(token_major(graph), lacking)


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("sublayers", COLUMNS)
def test_tilted_slices_of_a_kind_that_is_registered_are_valid_above_their_bound_alone(sublayers, parallel):
    with registered(ADAPTER):
        wiring = Wiring(2, parallel_residual=parallel, sublayers=sublayers)
        for graph in (EventGraph(wiring, 5), EventGraph(wiring, 5, prompt=2)):
            bound = tilt_bound(graph)
            assert tilted(graph, bound + Fraction(1, 100)).graph == graph
            with pytest.raises(CausalityError):
                tilted(graph, bound)
