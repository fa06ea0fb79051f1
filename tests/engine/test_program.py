"""Programs: what a foliation becomes, and that only its own program passes for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import causalsim as cs
from causalsim.engine import Launch, Program, compile, compile_unchecked
from causalsim.engine.calls import LAYER, MOST_LAYERS, calls_of, deepest, whole_layers
from causalsim.engine.program import MANY_LANES
from causalsim.kernels import CERTIFIED_LANES, FIXED_LANES, Lanes
from causalsim.verification.strategies import foliations, graphs, wirings
from tests.foliations.orders import graphs_with_foliation
from tests.models_for_tests import tiny

GRAPH = cs.EventGraph(cs.Wiring(2), (3, 2))


@given(graphs_with_foliation())
def test_every_event_runs_once_and_launches_refine_the_slices(foliation):
    program = compile(foliation)
    events = [event for launch in program.order() for event in launch]
    assert len(events) == len(set(events)) == len(foliation.graph)
    times = [{foliation.time(event) for event in launch} for launch in program.order()]
    assert all(len(time) == 1 for time in times)
    assert all(max(earlier) <= min(later) for earlier, later in pairwise(times))
    assert program.refines(foliation)


@given(graphs_with_foliation())
def test_a_launch_is_one_slot_and_long_attentions_one_request(foliation):
    program = compile(foliation)
    assert len(program) == len(program.launches)
    for launch in program.launches:
        assert len(launch) == len(launch.positions) == len(launch.requests)
        assert launch.slot.kind in str(launch)
        if launch.slot.kind in ("attn", "block") and len(set(launch.requests.tolist())) > 1:
            assert launch.slot.kind == "attn"
            assert np.bincount(launch.requests).max() < MANY_LANES
        for index, p, r in zip(
            launch.events, launch.positions, launch.requests, strict=bool(len(launch.events))
        ):
            assert foliation.graph[int(index)] == cs.Event(*launch.slot, int(p), int(r))


@given(graphs_with_foliation())
def test_a_slice_makes_as_few_launches_as_it_has_slots(foliation):
    program = compile(foliation)
    for time, events in enumerate(foliation.slices()):
        crowds = Counter((e.kind, e.layer, e.request) for e in events)
        alone = [e.kind == "block" or crowds[e.kind, e.layer, e.request] >= MANY_LANES for e in events]
        apart = {
            (e.kind, e.layer, e.request if apart and e.kind in ("attn", "block") else None)
            for e, apart in zip(events, alone, strict=True)
        }
        launched = [launch for launch in program.order() if foliation.time(launch[0]) == time]
        assert len(launched) == len(apart)


def _layers_from(launches: Sequence[Launch]) -> int:
    """Said once more, launch by launch."""
    if not launches:
        return 0
    first = launches[0].slot.layer
    for number, launch in enumerate(launches):
        wanted = LAYER[number % 3], first + number // 3
        if launch.slot != wanted or not np.array_equal(launch.requests, launches[0].requests):
            return number // 3
        if not np.array_equal(launch.positions, launches[0].positions):
            return number // 3
    return len(launches) // 3


@given(graphs_with_foliation())
def test_whole_layers_are_found_where_launches_have_the_same_lanes(foliation):
    launches = compile(foliation).launches
    naive = [_layers_from(launches[number:]) for number in range(len(launches))]
    assert whole_layers(launches).tolist() == naive
    assert whole_layers(launches[:1]).tolist() == [0]
    assert whole_layers(()).tolist() == []


@given(graphs_with_foliation(), st.sampled_from([CERTIFIED_LANES, FIXED_LANES, Lanes((1, 2)), Lanes()]))
def test_calls_carry_the_launches_in_their_order_and_only_whole_layers_together(foliation, lanes):
    launches, n_layers = compile(foliation).launches, foliation.graph.wiring.n_layers
    calls = list(calls_of(launches, lanes, n_layers))
    assert [launch for call in calls for launch in call] == list(launches)
    for call in calls:
        assert len(call) == 1 or len(call) == 3 * _layers_from(call)
        if len(call) > 3:
            assert len(call) == 3 * deepest(n_layers) and lanes.split(len(call[0])) == [1]
        if len(call) > 1:
            assert len(lanes.split(len(call[0]))) == 1
    alone = [n for n, call in enumerate(calls) if len(call) == 1 and call[0].slot.kind == "kv"]
    for n in alone:  # What could have gone together did.
        assert _layers_from([call[0] for call in calls[n:]]) == 0 or len(lanes.split(len(calls[n][0]))) > 1


@given(st.integers(1, 200))
def test_a_column_takes_as_few_calls_as_it_can(n_layers):
    def calls(layers: int) -> int:
        return n_layers // layers + n_layers % layers

    assert calls(deepest(n_layers)) == min(calls(layers) for layers in range(1, MOST_LAYERS + 1))


def test_layers_of_the_same_lanes_share_calls():
    model = tiny(n_layers=3)
    length, layers = 4, model.config.n_layers
    graph = cs.EventGraph(model.config, length)
    calls = {
        family.__name__: cs.run(model, [1, 2, 3, 4], family(graph)).program.calls
        for family in (cs.layer_major, cs.token_major, cs.wavefront)
    }
    assert calls["layer_major"] == layers + 2
    assert calls["token_major"] == length * (1 + 2)
    assert calls["wavefront"] == len(compile(cs.wavefront(graph)))


@given(graphs_with_foliation())
def test_times_of_a_program_give_a_foliation_that_refines_to_the_same(foliation):
    times = compile(foliation).times()
    own = cs.Foliation(foliation.graph, times)
    assert compile(own).refines(own)
    assert compile(own).refines(foliation)
    assert [set(launch) for launch in compile(own).order()] == [
        set(launch) for launch in compile(foliation).order()
    ]


@given(graphs(max_length=4), st.data())
def test_a_program_passes_only_for_foliations_that_it_refines(graph, data):
    first, second = data.draw(foliations(graph)), data.draw(foliations(graph))
    order = [[second.time(event) for event in launch] for launch in compile(first).order()]
    in_slices = all(len(set(times)) == 1 for times in order)
    rising = all(a[0] <= b[0] for a, b in pairwise(order))
    assert compile(first).refines(second) == (in_slices and rising)


def _damaged() -> dict[str, Program]:
    good = compile(cs.layer_major(GRAPH))
    launches = list(good.launches)
    wide = next(i for i, launch in enumerate(launches) if len(launch) > 1)
    short = launches[wide].restricted(slice(1, None))
    late = launches[wide].restricted(slice(0, 1))
    return {
        "a launch missing": Program(GRAPH, tuple(launches[:-1])),
        "an event missing": Program(GRAPH, (*launches[:wide], short, *launches[wide + 1 :])),
        "a launch twice": Program(GRAPH, (*launches, launches[-1])),
        "an event twice": Program(GRAPH, (*launches[: wide + 1], late, *launches[wide + 1 :])),
        "two launches swapped": Program(GRAPH, (launches[1], launches[0], *launches[2:])),
        "an event too late": Program(GRAPH, (*launches[:wide], short, *launches[wide + 1 :], late)),
        "two slices in one launch": Program(GRAPH, (_joined(launches[0], launches[1]), *launches[2:])),
        "all in reverse": Program(GRAPH, tuple(reversed(launches))),
        "nothing": Program(GRAPH, ()),
    }


def _joined(a: Launch, b: Launch) -> Launch:
    parts = ((getattr(a, name), getattr(b, name)) for name in ("requests", "positions", "events"))
    return Launch(a.slot, *map(np.concatenate, parts))


@pytest.mark.parametrize("name", _damaged())
def test_a_damaged_program_refines_nothing(name):
    assert compile(cs.layer_major(GRAPH)).refines(cs.layer_major(GRAPH))
    assert not _damaged()[name].refines(cs.layer_major(GRAPH))


def test_a_program_of_another_order_or_graph_is_told_apart():
    layer, token = cs.layer_major(GRAPH), cs.token_major(GRAPH)
    assert not compile(layer).refines(token)
    assert not compile(token).refines(layer)
    assert not compile(layer.refine()).refines(layer.refine().coarsen().join(token))
    assert compile(layer.refine()).refines(layer)
    assert not compile(layer).refines(layer.refine())
    other = cs.EventGraph(cs.Wiring(2, windows=5), (3, 2))
    assert not compile(layer).refines(cs.layer_major(other))


def test_an_engine_that_ignores_the_foliation_is_caught():
    """What Run.program is for: what ran is layer-major, whatever had been asked for."""
    ran = compile(cs.layer_major(GRAPH))
    assert not any(ran.refines(cs.random_foliation(GRAPH, seed)) for seed in range(20))


def test_unchecked_times_may_break_causality():
    times = cs.layer_major(GRAPH).times[::-1].copy()
    with pytest.raises(cs.CausalityError):
        cs.Foliation(GRAPH, times)
    program = compile_unchecked(GRAPH, times)
    assert sorted(event for launch in program.order() for event in launch) == sorted(GRAPH)


def test_blocks_are_surrounded_by_what_is_no_event():
    graph = cs.EventGraph(cs.Wiring(2), 2, granularity="block")
    kinds = [
        (launch.slot.kind, len(launch), len(launch.events))
        for launch in compile(cs.layer_major(graph)).launches
    ]
    assert kinds == [("embed", 2, 0), *[("kv", 2, 0), ("block", 2, 2)] * 2, ("unembed", 2, 0)]


@given(wirings(), st.lists(st.integers(1, 6), min_size=1, max_size=2), st.integers(0, 2**32))
def test_kv_of_blocks_is_made_once_before_its_first_reader_and_not_before_its_residual(wiring, lengths, seed):
    foliation = cs.random_foliation(cs.EventGraph(wiring, lengths, granularity="block"), seed)
    made, ran = set(), set()
    for launch in compile(foliation).launches:
        kind, layer = launch.slot
        places = {(layer, int(p), int(r)) for p, r in zip(launch.positions, launch.requests, strict=True)}
        if kind == "kv":
            assert not places & made
            assert layer == 0 or {(layer - 1, p, r) for _, p, r in places} <= ran
            made |= places
        if kind == "block":
            reach = foliation.graph.wiring.reaches[layer]
            assert {
                (layer, q, r) for _, p, r in places for q in range(p + 1) if reach is None or p - q < reach
            } <= made
            ran |= places
    assert made == ran
