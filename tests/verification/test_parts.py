"""The parts of verification, each against an independent count."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import causalsim as cs
from causalsim.engine import compile_unchecked
from causalsim.kernels import CERTIFIED
from causalsim.testing import first_divergence, relative_error, same_bits, ulps_apart
from causalsim.testing.bits import divergence
from causalsim.testing.strategies import graphs
from causalsim.verification.faults import covers_to_invert, one_edge_inverted
from causalsim.verification.reads import Recorder, choose_events
from causalsim.verification.target import Target
from tests.models_for_tests import tiny

floats = npst.arrays(np.float32, st.integers(1, 5), elements=st.floats(-(2.0**100), 2.0**100, width=32))


@given(floats, st.integers(0, 40))
def test_ulps_count_representable_numbers(x, steps):
    y = x.copy()
    for _ in range(steps):
        y = np.nextafter(y, np.float32(np.inf))
    assert ulps_apart(x, y) == steps


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_ulps_of_every_floating_type(dtype):
    x = np.array([-2, -1e-7, 0, 0.5, 3], dtype)
    y = np.nextafter(np.nextafter(x, dtype(9)), dtype(9))
    assert ulps_apart(x, y) == 2 and ulps_apart(y, x) == 2
    assert ulps_apart(x, -x) == ulps_apart(-x, x) > 2**10
    assert ulps_apart(x, x.astype(np.float32 if dtype != np.float32 else np.float64)) is None


def test_ulps_of_tokens_and_of_the_greatest_doubles():
    assert ulps_apart(np.int32(2**31 - 1), np.int32(-(2**31))) == 2**32 - 1
    most = np.float64(np.finfo(np.float64).max)
    assert ulps_apart(most, -most) > 2**63


@given(floats, st.floats(0, 2.0**99, width=32))
def test_errors_are_relative_to_what_is_large(x, apart):
    y = x.astype(np.float64)
    y[0] += apart
    expected = abs(y[0] - np.float64(x[0])) / max(1, np.abs(x).max())
    assert relative_error(x, y) == pytest.approx(expected)


def test_errors_of_what_is_not_finite():
    number, nan, infinite = (np.float32([1, value]) for value in (2, np.nan, np.inf))
    assert relative_error(nan, nan) == relative_error(infinite, infinite) == 0
    assert np.isnan(relative_error(number, nan)) and np.isnan(relative_error(nan, number))
    assert relative_error(number, infinite) == relative_error(infinite, number) == np.inf
    assert relative_error((number, nan), (number, nan)) == 0 and relative_error(number[:0], number[:0]) == 0


def test_bits_are_told_apart():
    zero = np.zeros(2, np.float32)
    assert not same_bits(zero, -zero) and ulps_apart(zero, -zero) == 0
    nan = np.full(2, np.nan, np.float32)
    assert same_bits(nan, nan.copy()) and ulps_apart(zero, nan) is None
    assert not same_bits(zero, zero.astype(np.float64))
    assert same_bits((zero, nan), (zero, nan)) and not same_bits((zero, nan), (nan, zero))


def test_divergence_is_the_causally_first():
    run = cs.run(tiny(), [1, 2, 3], record=True)
    assert first_divergence(run, run) is None
    values = {event: run.values[event] for event in run.graph}
    values[cs.Event("attn", 1, 1)] = np.nextafter(values[cs.Event("attn", 1, 1)], np.float32(9))
    values[cs.Event("mlp", 1, 2)] = np.full_like(values[cs.Event("mlp", 1, 2)], np.nan)
    found = divergence({event: run.values[event] for event in run.graph}, values)
    assert (found.event, found.ulps, found.events) == (cs.Event("attn", 1, 1), 1, 2)
    with pytest.raises(cs.InputError):
        first_divergence(run, cs.run(tiny(), [1, 2], record=True))


@pytest.mark.parametrize("event", [cs.Event("kv", 0, 1), cs.Event("unembed", 2, 2)])
def test_one_bit_of_a_run_is_a_divergence(event):
    """Runs have their values in few arrays, which are compared first."""
    run, other = (cs.run(tiny(n_layers=2), [1, 2, 3], record=True) for _ in range(2))
    assert divergence(run.values, other.values) is None
    line = other.values.lines[cs.events.Site(event.kind, event.layer), 0]
    part = line[1] if isinstance(line, tuple) else line
    part.flags.writeable = True
    part.view(np.uint32)[event.position, ..., -1] ^= 1
    found = divergence(run.values, other.values)
    assert (found.event, found.events) == (event, 1)


def test_runs_of_which_both_lack_values_are_not_equal():
    run = cs.run(tiny(), [1, 2, 3], record=True)
    nothing = [type(run.values).from_outputs(tiny().config, run.graph, ()) for _ in range(2)]
    with pytest.raises(KeyError):
        divergence(*nothing)


@given(graphs(max_layers=2, max_length=4))
def test_inverting_a_cover_breaks_that_edge_alone(graph):
    for edge in covers_to_invert(graph, np.random.default_rng(0)):
        times = one_edge_inverted(graph, edge).times()
        time = dict(zip(graph, times, strict=True))
        broken = {(e.source, e.target) for e in graph.edges() if time[e.source] >= time[e.target]}
        assert broken == {(edge.source, edge.target)}


@given(graphs(max_layers=2, max_length=4))
def test_a_cover_of_every_stream_is_inverted(graph):
    found = [edge.stream for edge in covers_to_invert(graph, np.random.default_rng(1))]
    # In a block graph a residual edge has a K/V edge beside it; either may stand for the pair.
    assert set(found) >= {edge.stream for edge in graph.covers()} and len(found) == len(set(found))


@pytest.mark.parametrize(
    ("shape", "length", "prompt"),
    [((None, False), 4, 2), ((2, False), 3, 3), (((None, 1), True), 4, 4), ((None, True), 3, 1)],
)
def test_recorded_reads_are_the_declared_edges_of_every_event(shape, length, prompt):
    windows, parallel = shape
    model = tiny(windows=windows, parallel_residual=parallel)
    graph = cs.EventGraph(model.config, length, prompt=min(prompt, length))
    target = Target(model, graph, (np.arange(length),), CERTIFIED)
    recorder = Recorder(target, 0)
    for event in graph:
        reads = recorder.reads(event)
        assert reads.events == frozenset(graph.predecessors(event))
        assert not reads.unwritten and reads.same_value


def test_every_inverted_cover_of_a_small_graph_changes_bits():
    model = tiny()
    graph = cs.EventGraph(model.config, 4, prompt=2)
    target = Target(model, graph, (np.array([5, 6, 7, 8]),), CERTIFIED)
    covers = list(graph.covers())
    assert all(divergence(target.reference, target.values(one_edge_inverted(graph, edge))) for edge in covers)
    healthy = compile_unchecked(graph, np.arange(len(graph)))
    assert divergence(target.reference, target.values(healthy)) is None


@given(st.integers(1, 60))
def test_sampled_events_cover_every_site_first(sample):
    graph = cs.EventGraph(tiny().config, 5)
    chosen = choose_events(Target(tiny(), graph, (np.arange(5),), CERTIFIED), sample, 3)
    assert len(chosen) == len(set(chosen)) == min(sample, len(graph))
    if sample >= len(graph.sites):
        sites = {tuple(site) for site in graph.sites if site.kind != "sample"}
        assert {(event.kind, event.layer) for event in chosen} >= sites
