"""Traces of other engines: what is wrong with them is named, and values are blamed on the right event."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

import causalsim as cs
from causalsim.foliations import costs
from causalsim.kernels import CERTIFIED
from causalsim.testing import check_trace, trace_of_steps
from causalsim.testing.strategies import batch_mixes, broken_times, graphs, traces
from causalsim.verification.faults import overlooking
from tests.graphs import events_with
from tests.models_for_tests import tiny

GRAPH = cs.EventGraph(cs.Wiring(2), [6, 3], prompt=[4, 3])
STEPS = [{0: (0, 4)}, {0: (4, 1), 1: (0, 3)}, {0: (5, 1)}]
BLOCKS = cs.EventGraph(cs.Wiring(2), 2, granularity="block")
FOOTPRINT = tiny().config.footprint()


def shown(check: Any) -> str:
    page = io.StringIO()
    Console(width=200, file=page).print(check)
    return page.getvalue()


# -- foliations --------------------------------------------------------------------------------


@given(graphs(), st.data())
def test_a_trace_of_a_foliation_is_that_foliation_with_its_costs(graph, data):
    trace = data.draw(traces(graph))
    expected = cs.Foliation(graph, dict(trace))
    for told in (trace, dict(reversed(trace)), iter(trace), [[e, time / 8] for e, time in trace]):
        check = check_trace(graph, told, footprint=FOOTPRINT)
        assert check.holds and not check.faults and check.foliation == expected
    assert check.costs == costs(expected, FOOTPRINT)
    bare = check_trace(graph, trace).costs
    sites = [{(event.kind, event.layer) for event in events} for events in expected.slices()]
    assert (bare.depth, bare.width, bare.batches) == (len(sites), expected.width, sum(map(len, sites)))
    assert [sum(sizes) for sizes in check.chunks] == list(graph.lengths)


@given(graphs(), st.data())
def test_the_edge_that_runs_backwards_is_the_witness(graph, data):
    if not graph.count_edges():
        return
    times, edge = data.draw(broken_times(graph))
    check = check_trace(graph, dict(zip(graph, times, strict=True)))
    (fault,) = check.faults
    assert fault.edge == edge and fault.events == edge[:2] and not check.holds
    assert check.foliation is check.family is check.costs is check.chunks is None
    source, target = (times[graph.index(event)] for event in edge[:2])
    assert f"{edge.source} at time {source} and its reader {edge.target} at time {target}" in str(fault)


@given(graphs(), st.data())
def test_missing_repeated_and_unknown_events_are_named_and_the_rest_is_checked(graph, data):
    trace = data.draw(traces(graph))
    lost = set(data.draw(st.lists(st.sampled_from(trace), max_size=3)))
    twice = set(data.draw(st.lists(st.sampled_from(trace), max_size=3))) - lost
    strange = data.draw(st.lists(st.integers(0, 3), max_size=2, unique=True))
    last = trace[-1][1]
    told = [entry for entry in trace for _ in range(1 + (entry in twice)) if entry not in lost]
    told += [(cs.Event("mlp", 0, graph.lengths[0] + n), last) for n in strange]
    found = {fault.rule.split(":")[0]: fault.events for fault in check_trace(graph, told).faults}
    wrong = {
        "every event happens": sorted((event for event, _ in lost), key=graph.index),
        "every event happens once": [event for event, _ in trace if (event in dict(twice))],
        "events belong to the graph": [cs.Event("mlp", 0, graph.lengths[0] + n) for n in strange],
    }
    assert found == {rule: tuple(events) for rule, events in wrong.items() if events}


def test_edges_between_the_events_that_are_there_are_checked():
    trace = {event: time for time, event in enumerate(BLOCKS)}
    del trace[cs.Event("block", 0, 0)]
    (missing,) = check_trace(BLOCKS, trace).faults
    assert missing.events == (cs.Event("block", 0, 0),) and missing.edge is None
    trace[cs.Event("block", 1, 1)] = -5
    missing, backwards = check_trace(BLOCKS, trace).faults
    assert str(backwards.edge) == "block(0,1) -> block(1,1) [residual]"


def test_a_list_goes_forward_in_time_and_a_mapping_need_not():
    trace = [(event, time) for time, event in enumerate(BLOCKS)]
    check = check_trace(BLOCKS, [*trace[1:], trace[0]])
    (fault,) = check.faults
    assert str(fault).endswith("got block(0,0) at time 0 behind block(1,1) at time 3")
    assert check_trace(BLOCKS, dict([*trace[1:], trace[0]])).holds


def test_times_are_any_real_numbers():
    big = 2**63
    for early, late in ((0.5, 1e300), (-1, -0.5), (big, big + 1), (np.int8(3), np.float32(4))):
        check = check_trace(BLOCKS, {event: late if event.layer else early for event in BLOCKS})
        assert check.holds and check.foliation.times.tolist() == [0, 1, 0, 1]
    # Nanoseconds that a float could not tell apart.
    now = 1_700_000_000_000_000_001
    check = check_trace(BLOCKS, {event: now + time for time, event in enumerate(BLOCKS)})
    assert check.holds and check.family == "token_major"


@pytest.mark.parametrize(
    ("trace", "message"),
    [
        (7, "a trace must be of type Iterable: got 7"),
        ("block(0,0)", "entry 0 of a trace is an event with its time: got 'b'"),
        ([cs.Event("block", 0, 0)], "entry 0 of a trace is an event with its time"),
        ([("block(0,0)", 1)], r"got \('block\(0,0\)', 1\). Give a list of \(event, time\)"),
        ({cs.Event("block", 0, 0): "early"}, "a real number for its time: got 'early'"),
        ([(cs.Event("block", 0, 0), 1), (cs.Event("block", 1, 0), float("nan"))], "entry 1 .* got nan"),
    ],
)
def test_what_is_no_trace_is_refused(trace, message):
    with pytest.raises(cs.InputError, match=message):
        check_trace(BLOCKS, trace)
    with pytest.raises(cs.InputError, match="a graph must be of type EventGraph"):
        check_trace(BLOCKS.wiring, trace)


# -- step records --------------------------------------------------------------------------------


@given(graphs(max_requests=3), st.data())
def test_steps_become_a_foliation_with_the_chunks_that_were_scheduled(graph, data):
    steps = data.draw(batch_mixes(graph))
    check = check_trace(graph, trace_of_steps(graph, steps))
    assert check.holds
    sizes = [tuple(step[r][1] for step in steps if r in step) for r in range(len(graph.lengths))]
    assert list(check.chunks) == sizes
    assert check.costs.depth <= len(steps) * len(graph.sites)


@given(graphs(max_requests=3), st.data())
def test_inconsistent_steps_are_refused_with_their_number(graph, data):
    steps = data.draw(batch_mixes(graph))
    number = data.draw(st.integers(0, len(steps) - 1))
    request = data.draw(st.sampled_from(sorted(steps[number])))
    before, now = steps[number][request]
    wrong, message = data.draw(
        st.sampled_from(
            [
                ({request: (before + 1, now)}, "position"),
                ({request: (before - 1, now)}, "counts" if before == 0 else "computes no position again"),
                ({request: (before, graph.lengths[request] - before + 1)}, "stays within the text"),
                ({len(graph.lengths): (0, 1)}, "schedules requests of the graph"),
                ({request: (before, -1)}, "gives two counts"),
            ]
        )
    )
    with pytest.raises(cs.InputError, match=f"step {number} .*{message}"):
        trace_of_steps(graph, [*steps[:number], {**steps[number], **wrong}, *steps[number + 1 :]])


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{0: (0, 4)}, {0: (5, 1)}], r"step 1 leaves no position out: got request 0 with 5 .*expected 4"),
        ([{0: (0, 4)}, {0: (3, 1)}], "step 1 computes no position again: got request 0 with 3"),
        (
            [{0: (0, 7)}],
            "step 0 stays within the text of request 0: got 7 positions after 0",
        ),
        ([{2: (0, 1)}], "step 0 schedules requests of the graph: got request 2, expected 0..1"),
        ([{"a": (0, 1)}], "step 0 schedules requests of the graph: got request 'a'"),
        ([{0: 4}], "step 0 gives two counts for request 0: got 4"),
        ([{0: (0, 1.5)}], "step 0 gives two counts"),
        ([{0: (0, 1, 2)}], "step 0 gives two counts"),
        ([[(0, 0, 4)]], "step 0 must be of type Mapping"),
        (None, "the steps must be of type Iterable"),
    ],
)
def test_what_is_no_step_is_refused(steps, message):
    with pytest.raises(cs.InputError, match=message):
        trace_of_steps(GRAPH, steps)


def test_steps_that_are_not_finished_leave_events_out():
    check = check_trace(GRAPH, trace_of_steps(GRAPH, STEPS[:2]))
    (fault,) = check.faults
    assert set(fault.events) == {event for event in GRAPH if event.position == 5 and event.request == 0}
    assert not trace_of_steps(GRAPH, [{}, {0: (0, 0)}])


def test_a_step_that_does_not_wait_for_its_token_is_caught():
    (fault,) = check_trace(GRAPH, trace_of_steps(GRAPH, [{0: (0, 6), 1: (0, 3)}])).faults
    assert str(fault.edge) == "sample(3) -> embed(4) [token]"


def test_a_batch_by_hand():
    check = check_trace(GRAPH, trace_of_steps(GRAPH, STEPS))
    assert check.holds and check.family is None and check.chunks == ((4, 1, 1), (3,))
    prefill = [{0: (0, 4), 1: (0, 3)}, {0: (4, 1)}, {0: (5, 1)}]
    assert check_trace(GRAPH, trace_of_steps(GRAPH, prefill)).family == "chunked(4)"


# -- values --------------------------------------------------------------------------------------


def made_up(graph: cs.EventGraph, seed: int) -> dict[cs.Event, Any]:
    """A value of the right kind for every event."""
    rng = np.random.default_rng(seed)

    def value(event: cs.Event) -> Any:
        if event.kind == "sample":
            return np.int32(rng.integers(1000))
        rows = rng.normal(size=(2, 2, 3)).astype(np.float32)
        return (rows[0], rows[1]) if event.kind == "kv" else rows[0, 0]

    return {event: value(event) for event in graph}


def nudged(value: Any, element: int, steps: int) -> Any:
    """The same value with one element so many representable numbers up."""
    if isinstance(value, tuple):
        return (nudged(value[0], element, steps), value[1])
    if not np.issubdtype(value.dtype, np.floating):
        return value + steps
    flat = value.ravel().copy()
    for _ in range(steps):
        flat[element % flat.size] = np.nextafter(flat[element % flat.size], np.float32(np.inf))
    return flat.reshape(value.shape)


def trace_of(graph: cs.EventGraph) -> dict[cs.Event, int]:
    return {event: time for time, event in enumerate(graph)}


@given(graphs(), st.data(), st.integers(1, 40), st.booleans())
def test_a_fault_at_any_event_is_located(graph, data, steps, spreads):
    """A divergence, spread to all that comes behind it or not."""
    (event,) = events_with(graph, data, 1)
    reference = made_up(graph, 0)
    future = set(graph.future(event)) if spreads else set()
    values = {e: nudged(value, 1, 3) if e in future else value for e, value in reference.items()}
    values[event] = nudged(reference[event], data.draw(st.integers(0, 5)), steps)
    check = check_trace(graph, trace_of(graph), values=values, reference=reference)
    assert not check.holds and not check.faults
    assert (check.divergence.event, check.divergence.ulps) == (event, steps)
    assert check.divergence.events == 1 + len(future)
    assert check.values.inputs_agree is True and check.values.origins == (event,)
    assert str(event) in str(check.values) and "All that it reads agreed." in str(check.values)


@given(graphs(), st.data())
def test_what_was_not_recorded_may_be_at_fault(graph, data):
    (event,) = events_with(graph, data, 1)
    sources = graph.predecessors(event)
    hidden = set(data.draw(st.lists(st.sampled_from(sources), max_size=2))) if sources else set()
    reference = made_up(graph, 0)
    values = {e: value for e, value in reference.items() if e not in hidden}
    values[event] = nudged(values[event], 0, 1)
    check = check_trace(graph, trace_of(graph), values=values, reference=reference).values
    assert check.divergence.event == event and set(check.unrecorded) == hidden
    assert check.inputs_agree is (None if hidden else True)
    assert check.compared == len(graph) - len(hidden)
    assert not hidden or f"{check.unrecorded[0]}" in str(check)


@given(graphs(), st.integers(0, 9))
def test_equal_values_agree_in_bits_and_within_any_tolerance(graph, seed):
    values = made_up(graph, seed)
    copies = {event: made_up(graph, seed)[event] for event in list(graph)[:3]}
    for tolerance in (None, 0, 1e-5):
        check = check_trace(graph, trace_of(graph), values=copies, reference=values, tolerance=tolerance)
        assert check.holds and check.values.compared == min(3, len(graph))
        assert check.values.inputs_agree is None


def test_a_tolerance_is_for_other_implementations():
    reference = made_up(BLOCKS, 0)
    close = {event: value.astype(np.float64) + 1e-6 for event, value in reference.items()}
    with pytest.raises(
        cs.InputError, match=r"bits of block\(0,0\) .* got float64, expected float32. Give a tol"
    ):
        check_trace(BLOCKS, trace_of(BLOCKS), values=close, reference=reference)
    assert check_trace(BLOCKS, trace_of(BLOCKS), values=close, reference=reference, tolerance=1e-5).holds
    close[cs.Event("block", 0, 1)] += 1e-3
    found = check_trace(BLOCKS, trace_of(BLOCKS), values=close, reference=reference, tolerance=1e-5)
    assert found.divergence.event == cs.Event("block", 0, 1) and found.divergence.ulps is None
    assert 2e-4 < found.divergence.error < 2e-3 and "off by 0.00" in str(found.divergence)
    close[cs.Event("block", 0, 1)][0] = np.nan
    found = check_trace(BLOCKS, trace_of(BLOCKS), values=close, reference=reference, tolerance=1e-5)
    assert "NaN on one side" in str(found.divergence)
    assert json.loads(found.to_json())["values"]["divergence"]["error"] is None


def test_a_tolerance_may_be_a_number_of_any_library():
    values = {cs.Event("block", 0, 0): np.ones(2)}
    check = check_trace(BLOCKS, trace_of(BLOCKS), values=values, reference=values, tolerance=np.float32(0.5))
    assert json.loads(check.to_json())["values"]["tolerance"] == 0.5


def test_k_and_v_may_stand_in_one_array():
    kv = cs.Event("kv", 0, 0)
    keys, values = np.arange(6, dtype=np.float32).reshape(2, 3)
    sides = {"values": {kv: np.stack([keys, values])}, "reference": {kv: (keys, values)}}
    assert check_trace(GRAPH, trace_of(GRAPH), **sides).holds
    sides["values"] = {kv: {"k": keys, "v": values + 1}}
    assert check_trace(GRAPH, trace_of(GRAPH), **sides).divergence.event == kv


def test_a_token_is_another_token_however_near_its_number():
    graph = cs.EventGraph(cs.Wiring(1), 2, prompt=1)
    sample = cs.Event("sample", 1, 0)
    for token, holds in ((50_000, True), (50_001, False)):
        sides = {"values": {sample: token}, "reference": {sample: np.int32(50_000)}}
        assert check_trace(graph, trace_of(graph), **sides, tolerance=1e-3).holds is holds


FIRST = BLOCKS[0]
PAIR = (np.zeros(3), np.zeros(3))


@pytest.mark.parametrize(
    ("given_values", "message"),
    [
        ({"values": {}}, "values without reference. For example reference=cs.run"),
        ({"reference": {}}, "reference without values"),
        ({"values": {}, "reference": {}}, "no event with a value on both sides"),
        ({"values": [1], "reference": {}}, "values must be a recorded run or a mapping"),
        ({"values": {FIRST: 1}, "reference": {BLOCKS[1]: 1}}, "no event with a value on both sides"),
        ({"values": {cs.Event("mlp", 0, 0): 1}, "reference": {}}, "a block graph has no kind 'mlp'"),
        ({"values": {"logits": 1}, "reference": {}}, "an Event was asked for"),
        (
            {"values": {FIRST: [1.0, 2.0]}, "reference": {FIRST: PAIR[0]}},
            r"shape: got \(2,\), expected \(3,\)",
        ),
        ({"values": {FIRST: [[1], [2, 3]]}, "reference": {FIRST: PAIR[0]}}, "real numbers: got list"),
        ({"values": {FIRST: PAIR[0]}, "reference": {FIRST: [[1], [2, 3]]}}, "real numbers: got list"),
        # Arrays of objects have the bits of addresses, which may agree.
        ({"values": {FIRST: None}, "reference": {FIRST: None}}, "real numbers: got NoneType"),
        ({"values": {FIRST: 1j}, "reference": {FIRST: 1j}, "tolerance": 1}, "real numbers: got .* complex"),
        ({"values": {FIRST: np.longdouble(1)}, "reference": {FIRST: np.longdouble(2)}}, "real numbers"),
        ({"values": {FIRST: 3}, "reference": {FIRST: PAIR}}, r"shape: got \(\), expected \(3,\) and"),
        ({"values": {FIRST: ()}, "reference": {FIRST: ()}}, "has elements to compare: got none"),
        ({"values": {FIRST: np.ones(0)}, "reference": {FIRST: np.ones(0)}}, "has elements to compare"),
        ({"values": {FIRST: 1.0}, "reference": {FIRST: 1.0}, "tolerance": -1}, "a tolerance is a finite"),
        ({"values": {FIRST: 1.0}, "reference": {FIRST: 1.0}, "tolerance": "a"}, "a tolerance is a finite"),
    ],
)
def test_values_that_cannot_be_compared_are_refused(given_values, message):
    with pytest.raises(cs.InputError, match=message):
        check_trace(BLOCKS, trace_of(BLOCKS), **given_values)


def test_runs_are_values_too():
    model = tiny()
    run = cs.run(model, [1, 2, 3], record=True)
    other = cs.run(model, [1, 2, 3], cs.token_major(run.graph), record=True)
    check = check_trace(run.graph, trace_of(run.graph), values=other, reference=run)
    assert check.holds and check.values.compared == len(run.graph)
    wrong = cs.run(model, [1, 2, 3], record=True, kernels=overlooking(CERTIFIED))
    found = check_trace(run.graph, trace_of(run.graph), values=wrong, reference=run).values
    # The fault is the kernel's: all attentions of the first layer diverge, and all that they read agrees.
    assert found.origins == tuple(cs.Event("attn", 0, position) for position in range(3))
    assert found.divergence.event == found.origins[0] and "So it is with 2 more" in str(found)
    with pytest.raises(cs.InputError, match="recorded values are of the trace's graph"):
        check_trace(BLOCKS, trace_of(BLOCKS), values=run, reference=run)
    with pytest.raises(cs.InputError, match="values are kept by recorded runs"):
        check_trace(run.graph, trace_of(run.graph), values=cs.run(model, [1, 2, 3]), reference=run)


@settings(max_examples=20)
@given(graphs(max_requests=3), st.data())
def test_the_check_is_told_whole(graph, data):
    trace, reference = data.draw(traces(graph)), made_up(graph, 1)
    told = json.loads(check_trace(graph, trace, values=reference, reference=reference).to_json())
    assert told["holds"] is True and told["faults"] == [] and told["values"]["divergence"] is None
    assert cs.Foliation(graph, told["times"]) == cs.Foliation(graph, dict(trace))
    assert told["costs"]["depth"] == len({time for _, time in trace})
    assert told["graph"]["lengths"] == list(graph.lengths)


def test_the_check_is_shown():
    reference = made_up(GRAPH, 0)
    check = check_trace(
        GRAPH, trace_of_steps(GRAPH, STEPS), values=reference, reference=reference, footprint=FOOTPRINT
    )
    table = shown(check)
    assert "74 events in 26 slices; of no named family." in table
    assert "Positions that start together: 4, 1 (2 times); 3." in table
    assert "26 batches; at most" in table and "74 of 74 events compared: all agree bit for bit." in table
    assert table.count("holds") == 2 and "FAILS" not in table
    values = {**reference, cs.Event("attn", 1, 2): reference[cs.Event("attn", 1, 2)] + 1}
    table = shown(check_trace(GRAPH, [], values=values, reference=reference, tolerance=0.1))
    assert (
        table.count("FAILS") == 2 and "every event happens: got none of embed(0), kv(0,0), attn(0,0)" in table
    )
    assert "and 71 more" in table and "diverges first at attn(1,2), off by" in table
