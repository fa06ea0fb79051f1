"""Peak live bytes against a simulation that holds values in a set, and against closed formulas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causalsim.errors import InputError
from causalsim.events import Event, EventGraph, Wiring
from causalsim.foliations import (
    Foliation,
    Footprint,
    kv_bytes_read,
    layer_major,
    least_peak,
    peak_at_cuts,
    peak_during,
    token_major,
)
from causalsim.models import ModelConfig
from tests.foliations.support import graphs_with_foliation

D, K = 10_007, 101  # primes of different size, so that no two formulas agree by chance
BYTES = Footprint(
    {"embed": D, "kv": K, "attn": D + 2, "mlp": D + 4, "block": D, "unembed": 50_021, "sample": 7}, {}
)
Value = tuple  # (kind of value, layer, position, request)


def _readers_of_blocks(graph: EventGraph) -> dict[Value, list[Event]]:
    """Readers of each value. K/V of a layer is made from the residual below by its first reader."""
    readers: dict[Value, list[Event]] = {}
    for request, length in enumerate(graph.lengths):
        for p in range(length):
            for layer in range(graph.wiring.n_layers):
                window = graph.wiring.windows_by_layer[layer]
                readers["kv", layer, p, request] = [
                    Event("block", layer, q, request)
                    for q in range(p, length)
                    if window is None or q - p < window
                ]
                readers["block", layer, p, request] = []
            residuals = [("embed", -1, p, request)] + [
                ("block", layer, p, request) for layer in range(graph.wiring.n_layers)
            ]
            for layer, below in enumerate(residuals[:-1]):
                # The block itself, and whoever makes the K/V at this position: one of its readers.
                readers[below] = readers["kv", layer, p, request]
    return readers


def _first(times: dict[Event, int], events: Iterable[Event]) -> int:
    return min(times[event] for event in events)


def _block_lives(graph: EventGraph, times: dict[Event, int]) -> list[tuple[str, int, int]]:
    """(kind, born, last needed) of every value."""
    lives = []
    for (kind, layer, p, request), readers in _readers_of_blocks(graph).items():
        if kind == "kv":
            lives.append((kind, _first(times, readers), max(times[event] for event in readers)))
            continue
        born = _first(times, readers) if kind == "embed" else times[Event(kind, layer, p, request)]
        above = Event("block", layer + 1, p, request)
        # Needed by the block above and by the maker of the K/V there, which is no later.
        lives.append((kind, born, times.get(above, born)))
    return lives


def _sublayer_lives(graph: EventGraph, times: dict[Event, int]) -> list[tuple[str, int, int]]:
    lives = []
    for event in graph:
        read = [times[reader] for reader in graph.successors(event)]
        born = min(read) if event.kind == "embed" else times[event]
        lives.append((event.kind, born, max(read, default=times[event])))
    return lives


def simulated(foliation: Foliation, sizes: Mapping[str, int] = BYTES.values) -> tuple[int, int]:
    """Peak during events and peak at cuts, by counting what is live at every moment."""
    graph = foliation.graph
    lives_of = _block_lives if graph.granularity == "block" else _sublayer_lives
    order = [event for events in foliation.slices() for event in events]
    one_by_one = lives_of(graph, {event: step for step, event in enumerate(order)})
    during = [
        sum(sizes[k] for k, born, last in one_by_one if born <= step <= last) for step in range(len(order))
    ]
    sliced = lives_of(graph, {event: foliation.time(event) for event in graph})
    cuts = [sum(sizes[k] for k, born, last in sliced if born <= cut < last) for cut in range(foliation.depth)]
    return max(during), max(cuts)


@given(graphs_with_foliation(max_length=4))
def test_peaks_equal_the_simulation(foliation):
    assert (peak_during(foliation, BYTES), peak_at_cuts(foliation, BYTES)) == simulated(foliation)


@given(graphs_with_foliation(max_length=4))
def test_peaks_depend_only_on_what_they_say(foliation):
    assert peak_during(foliation, BYTES) == peak_during(foliation.refine(), BYTES)
    nothing = Footprint(dict.fromkeys(BYTES.values, 0), {})
    assert peak_during(foliation, nothing) == peak_at_cuts(foliation, nothing) == 0
    double = Footprint({kind: 2 * size for kind, size in BYTES.values.items()}, {})
    assert peak_during(foliation, double) == 2 * peak_during(foliation, BYTES)
    assert peak_at_cuts(foliation, double) == 2 * peak_at_cuts(foliation, BYTES)


@given(st.integers(1, 5), st.integers(1, 7))
def test_closed_formulas_for_scoring_a_prompt(n_layers, length):
    """Layer-major T(d+k)+d for L >= 2 and Tk+2d for L = 1; token-major (LT-L+1)k+2d."""
    graph = EventGraph(Wiring(n_layers), length, granularity="block")
    expected = length * K + 2 * D if n_layers == 1 else length * (D + K) + D
    assert peak_during(layer_major(graph), BYTES) == expected
    assert peak_during(token_major(graph), BYTES) == (n_layers * length - n_layers + 1) * K + 2 * D


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 9))
def test_a_window_makes_decoding_flat_in_the_length(n_layers, window, more):
    """Token-major with a window W: (LW-L+1)k+2d for every length of at least W."""
    graph = EventGraph(Wiring(n_layers, windows=window), window + more, granularity="block")
    assert peak_during(token_major(graph), BYTES) == (n_layers * window - n_layers + 1) * K + 2 * D


def test_an_example_by_hand():
    """One layer, one position: the MLP reads one residual and writes another; the logits stand alone."""
    graph = EventGraph(Wiring(1), 1)
    sizes = Footprint({"embed": 10, "kv": 1, "attn": 10, "mlp": 10, "unembed": 5, "sample": 0}, {})
    # kv: 10 + 1, attn: 10 + 1 + 10, mlp: 10 + 10, unembed: 10 + 5; at cuts embed + kv.
    assert (peak_during(layer_major(graph), sizes), peak_at_cuts(layer_major(graph), sizes)) == (21, 11)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_configuration_gives_the_footprint(dtype):
    config = ModelConfig(
        n_layers=3, n_heads=4, n_kv_heads=2, d_model=64, d_head=16, d_ff=96, vocab_size=50, max_length=99
    )
    graph = EventGraph(config, 9, granularity="block")
    size = 4 if dtype == "float32" else 2
    d, k = 64 * size, 2 * 2 * 16 * size
    assert peak_during(layer_major(graph), config.footprint(dtype)) == 9 * (d + k) + d


def test_a_long_text_is_priced_without_listing_edges():
    graph = EventGraph(Wiring(28), 20_000, granularity="block")
    assert peak_during(layer_major(graph), BYTES) == 20_000 * (D + K) + D


def test_a_kind_that_a_footprint_lacks_is_named():
    order = layer_major(EventGraph(Wiring(1), 2))
    lacking = Footprint({"embed": 1, "attn": 1, "mlp": 1, "unembed": 1}, {})
    for cost in (peak_during, peak_at_cuts, kv_bytes_read, lambda o, f: least_peak(o.graph, f)):
        with pytest.raises(InputError, match="those of kv among them"):
            cost(order, lacking)
