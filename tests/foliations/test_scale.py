"""Long and deep graphs: the same answers from chunks and bands, in bounded memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from causalsim.errors import CausalityError
from causalsim.events import EventGraph, Wiring, vectorised
from causalsim.foliations import (
    Foliation,
    Footprint,
    chunked,
    dense_times,
    earliest,
    latest,
    layer_major,
    peak_at_cuts,
    peak_during,
    tilted,
    token_major,
    wavefront,
)  # fmt: skip
from causalsim.testing.strategies import graphs
from tests.foliations.support import backwards, disturbed_times, times_of
from tests.foliations.test_peaks import BYTES, simulated

shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def small_parts(monkeypatch):
    """Chunks and bands so small that every small graph has several."""
    monkeypatch.setattr(dense_times, "CHUNK", 3)
    monkeypatch.setattr(vectorised, "BAND", 2)


@pytest.mark.usefixtures("small_parts")
@shared
@given(st.lists(st.integers(-9, 9) | st.integers(-(2**62), 2**62), min_size=1, max_size=20))
def test_ranks_and_places_come_from_chunks(times):
    values = sorted(set(times))
    dense = dense_times.dense(np.array(times))
    assert dense.tolist() == [values.index(time) for time in times]
    sizes = dense_times.count_slices(dense)
    assert sizes.tolist() == [times.count(value) for value in values]
    order = sorted(range(len(times)), key=times.__getitem__)
    assert dense_times.places(dense, sizes).tolist() == np.argsort(order).tolist()


@given(st.lists(st.integers(0, 10), min_size=1, max_size=30), st.sampled_from([1, 6553, 6554, 2**27]))
def test_near_times_and_far_ones_are_sorted_alike(times, apart):
    """Sixteen bits hold what is less than 65,536 apart."""
    far = (np.array(times) * apart + 2**31).astype(np.int64)
    assert dense_times.stable_order(far).tolist() == sorted(range(len(times)), key=times.__getitem__)


@pytest.mark.usefixtures("small_parts")
@shared
@given(graphs(max_length=4), st.data())
def test_a_foliation_is_checked_and_priced_over_bands(graph, data):
    times = data.draw(disturbed_times(graph))
    if backwards(graph, times):
        with pytest.raises(CausalityError) as caught:
            Foliation(graph, times)
        assert caught.value.edge[:2] in backwards(graph, times)
        return
    foliation = Foliation(graph, times)
    assert (peak_during(foliation, BYTES), peak_at_cuts(foliation, BYTES)) == simulated(foliation)


@pytest.mark.usefixtures("small_parts")
@shared
@given(graphs(max_length=4), st.data())
def test_families_and_coarsening_over_bands(graph, data):
    foliation = Foliation(graph, data.draw(times_of(graph)))
    coarse = foliation.coarsen()
    assert not backwards(graph, coarse.times) and coarse.coarsen() == coarse
    for family in (earliest, latest):
        assert family(graph).depth == graph.depth and not backwards(graph, family(graph).times)


DEEP = EventGraph(Wiring(40), 3000)
SCALE = Footprint({"embed": 8, "kv": 2, "attn": 8, "mlp": 8, "unembed": 64, "sample": 1}, {})


def test_a_deep_and_long_graph_is_held_in_about_one_array():
    """366,000 events, two arrays of four bytes each: the ranks that are kept, and what is next to them."""
    times = np.tile(np.arange(122, dtype=np.int32), 3000)
    tracemalloc.start()
    foliation = Foliation(DEEP, times)
    extra = tracemalloc.get_traced_memory()[1] - foliation.times.nbytes
    tracemalloc.reset_peak()
    assert (foliation.depth, foliation.width) == (122, 3000)
    assert peak_at_cuts(foliation, SCALE) == 3000 * 10
    counted = tracemalloc.get_traced_memory()[1] - foliation.times.nbytes
    tracemalloc.stop()
    assert extra < 6 * times.nbytes and counted < 3 * times.nbytes
    assert foliation == layer_major(DEEP)


def test_a_violation_at_the_far_end_is_named():
    times = np.tile(np.arange(122, dtype=np.int32), 3000)
    times[-3] = 100
    with pytest.raises(CausalityError) as caught:
        Foliation(DEEP, times)
    assert str(caught.value.edge) == "mlp(38,2999) -> attn(39,2999) [residual]"
    assert "attn(39,2999) at time 100" in str(caught.value)


@pytest.mark.parametrize(
    ("family", "depth", "width"),
    [
        (layer_major, 122, 3000),
        (token_major, 122 * 3000, 1),
        (lambda graph: chunked(graph, 512), 122 * 6, 512),
        (wavefront, 122 + 2999, 122),
        (lambda graph: tilted(graph, "1/1000003"), 122 * 3000, 1),
    ],
    ids=["layer_major", "token_major", "chunked", "wavefront", "tilted"],
)
def test_families_of_a_deep_and_long_graph(family, depth, width):
    foliation = family(DEEP)
    assert (foliation.depth, foliation.width) == (depth, width)
    assert int(foliation.slice_sizes.sum()) == len(DEEP)


def test_peaks_of_a_deep_and_long_graph():
    """Prefill: all residuals and one layer's K/V, and one value more while an attention runs."""
    prefill, decode = layer_major(DEEP), token_major(DEEP)
    assert peak_during(prefill, SCALE) == 3000 * 10 + 8
    # Decoding: before the last position all K/V is kept, with two residuals or one and the logits.
    kept = 40 * 2999
    assert peak_during(decode, SCALE) == max((kept + 1) * 2 + 16, kept * 2 + 8 + 64)
