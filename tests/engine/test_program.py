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
from causalsim.engine import Batch, Program, compile, compile_unchecked
from causalsim.engine.joining import MOST_LAYERS, deepest, joined, whole_layers
from causalsim.engine.program import MANY_ROWS
from causalsim.events import Site
from causalsim.events.kinds import SUBLAYERS
from causalsim.kernels import CERTIFIED_BUCKETS, FIXED_BUCKETS, Buckets
from causalsim.testing.strategies import foliations, graphs, wirings
from tests.foliations.support import graphs_with_foliation
from tests.models_for_tests import tiny

GRAPH = cs.EventGraph(cs.Wiring(2), (3, 2))


@given(graphs_with_foliation())
def test_every_event_runs_once_and_batches_refine_the_slices(foliation):
    program = compile(foliation)
    events = [event for batch in program.order() for event in batch]
    assert len(events) == len(set(events)) == len(foliation.graph)
    times = [{foliation.time(event) for event in batch} for batch in program.order()]
    assert all(len(time) == 1 for time in times)
    assert all(max(earlier) <= min(later) for earlier, later in pairwise(times))
    assert program.refines(foliation)


@given(graphs_with_foliation())
def test_a_batch_is_one_site_and_long_attentions_one_request(foliation):
    program = compile(foliation)
    assert len(program) == len(program.batches)
    for batch in program.batches:
        assert len(batch) == len(batch.positions) == len(batch.requests)
        assert batch.site.kind in str(batch)
        if batch.site.kind in ("attn", "block") and len(set(batch.requests.tolist())) > 1:
            assert batch.site.kind == "attn"
            assert np.bincount(batch.requests).max() < MANY_ROWS
        for index, p, r in zip(batch.events, batch.positions, batch.requests, strict=bool(len(batch.events))):
            assert foliation.graph[int(index)] == cs.Event(*batch.site, int(p), int(r))


@given(graphs_with_foliation())
def test_a_slice_makes_as_few_batches_as_it_has_sites(foliation):
    program = compile(foliation)
    for time, events in enumerate(foliation.slices()):
        sizes = Counter((e.kind, e.layer, e.request) for e in events)
        alone = [e.kind == "block" or sizes[e.kind, e.layer, e.request] >= MANY_ROWS for e in events]
        apart = {
            (e.kind, e.layer, e.request if apart and e.kind in ("attn", "block") else None)
            for e, apart in zip(events, alone, strict=True)
        }
        run = [batch for batch in program.order() if foliation.time(batch[0]) == time]
        assert len(run) == len(apart)


def _layers_from(batches: Sequence[Batch]) -> int:
    """Said once more, batch by batch."""
    if not batches:
        return 0
    first = batches[0].site.layer
    for number, batch in enumerate(batches):
        wanted = SUBLAYERS[number % 3], first + number // 3
        if batch.site != wanted or not np.array_equal(batch.requests, batches[0].requests):
            return number // 3
        if not np.array_equal(batch.positions, batches[0].positions):
            return number // 3
    return len(batches) // 3


@given(graphs_with_foliation())
def test_whole_layers_are_found_where_batches_have_the_same_rows(foliation):
    batches = compile(foliation).batches
    naive = [_layers_from(batches[number:]) for number in range(len(batches))]
    sublayers = foliation.graph.wiring.sublayers
    assert whole_layers(batches, sublayers).tolist() == naive
    assert whole_layers(batches[:1], sublayers).tolist() == [0]
    assert whole_layers((), sublayers).tolist() == []


@pytest.mark.parametrize(("below", "above"), [([0, 1, 2], [1, 2]), ([2], [1, 2]), ([1, 2], [1, 3])])
def test_batches_of_other_rows_are_no_whole_layer(below, above):
    """Even where the last rows of one are the first of the next."""
    rows = [np.array(below, np.int32), np.array(above, np.int32), np.array(above, np.int32)]
    batches = [
        Batch(Site(kind, 0), np.zeros_like(own), own) for kind, own in zip(SUBLAYERS, rows, strict=True)
    ]
    assert whole_layers(batches, SUBLAYERS).tolist() == [0, 0, 0]


@given(
    graphs_with_foliation(), st.sampled_from([CERTIFIED_BUCKETS, FIXED_BUCKETS, Buckets((1, 2)), Buckets()])
)
def test_groups_carry_the_batches_in_their_order_and_only_whole_layers_together(foliation, buckets):
    batches, wiring = compile(foliation).batches, foliation.graph.wiring
    groups = list(joined(batches, buckets, wiring))
    assert [batch for group in groups for batch in group] == list(batches)
    for group in groups:
        assert len(group) == 1 or len(group) == 3 * _layers_from(group)
        if len(group) > 3:
            assert len(group) == 3 * deepest(wiring.n_layers) and buckets.split(len(group[0])) == [1]
        if len(group) > 1:
            assert len(buckets.split(len(group[0]))) == 1
    alone = [n for n, group in enumerate(groups) if len(group) == 1 and group[0].site.kind == "kv"]
    for n in alone:  # What could have gone together did.
        assert (
            _layers_from([group[0] for group in groups[n:]]) == 0 or len(buckets.split(len(groups[n][0]))) > 1
        )


@given(st.integers(1, 200))
def test_a_column_takes_as_few_dispatches_as_it_can(n_layers):
    def dispatches(layers: int) -> int:
        return n_layers // layers + n_layers % layers

    assert dispatches(deepest(n_layers)) == min(dispatches(layers) for layers in range(1, MOST_LAYERS + 1))


def test_layers_of_the_same_rows_share_dispatches():
    model = tiny(n_layers=3)
    length, layers = 4, model.config.n_layers
    graph = cs.EventGraph(model.config, length)
    dispatches = {
        family.__name__: cs.run(model, [1, 2, 3, 4], family(graph)).program.dispatches
        for family in (cs.layer_major, cs.token_major, cs.wavefront)
    }
    assert dispatches["layer_major"] == layers + 2
    assert dispatches["token_major"] == length * (1 + 2)
    assert dispatches["wavefront"] == len(compile(cs.wavefront(graph)))


@given(graphs_with_foliation())
def test_times_of_a_program_give_a_foliation_that_refines_to_the_same(foliation):
    times = compile(foliation).times()
    own = cs.Foliation(foliation.graph, times)
    assert compile(own).refines(own)
    assert compile(own).refines(foliation)
    assert [set(batch) for batch in compile(own).order()] == [
        set(batch) for batch in compile(foliation).order()
    ]


@given(graphs(max_length=4), st.data())
def test_a_program_passes_only_for_foliations_that_it_refines(graph, data):
    first, second = data.draw(foliations(graph)), data.draw(foliations(graph))
    order = [[second.time(event) for event in batch] for batch in compile(first).order()]
    in_slices = all(len(set(times)) == 1 for times in order)
    rising = all(a[0] <= b[0] for a, b in pairwise(order))
    assert compile(first).refines(second) == (in_slices and rising)


def _damaged() -> dict[str, Program]:
    good = compile(cs.layer_major(GRAPH))
    batches = list(good.batches)
    wide = next(i for i, batch in enumerate(batches) if len(batch) > 1)
    short = batches[wide].restricted(slice(1, None))
    late = batches[wide].restricted(slice(0, 1))
    return {
        "a batch missing": Program(GRAPH, tuple(batches[:-1])),
        "an event missing": Program(GRAPH, (*batches[:wide], short, *batches[wide + 1 :])),
        "a batch twice": Program(GRAPH, (*batches, batches[-1])),
        "an event twice": Program(GRAPH, (*batches[: wide + 1], late, *batches[wide + 1 :])),
        "two batches swapped": Program(GRAPH, (batches[1], batches[0], *batches[2:])),
        "an event too late": Program(GRAPH, (*batches[:wide], short, *batches[wide + 1 :], late)),
        "two slices in one batch": Program(GRAPH, (_merged(batches[0], batches[1]), *batches[2:])),
        "all in reverse": Program(GRAPH, tuple(reversed(batches))),
        "nothing": Program(GRAPH, ()),
    }


def _merged(a: Batch, b: Batch) -> Batch:
    parts = ((getattr(a, name), getattr(b, name)) for name in ("requests", "positions", "events"))
    return Batch(a.site, *map(np.concatenate, parts))


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
    """The use of Run.program: what ran is layer-major, whatever had been asked for."""
    ran = compile(cs.layer_major(GRAPH))
    assert not any(ran.refines(cs.random_foliation(GRAPH, seed)) for seed in range(20))


def test_unchecked_times_may_break_causality():
    times = cs.layer_major(GRAPH).times[::-1].copy()
    with pytest.raises(cs.CausalityError):
        cs.Foliation(GRAPH, times)
    program = compile_unchecked(GRAPH, times)
    assert sorted(event for batch in program.order() for event in batch) == sorted(GRAPH)


def test_blocks_are_surrounded_by_what_is_no_event():
    graph = cs.EventGraph(cs.Wiring(2), 2, granularity="block")
    kinds = [
        (batch.site.kind, len(batch), len(batch.events)) for batch in compile(cs.layer_major(graph)).batches
    ]
    assert kinds == [("embed", 2, 0), *[("kv", 2, 0), ("block", 2, 2)] * 2, ("unembed", 2, 0)]


@given(wirings(), st.lists(st.integers(1, 6), min_size=1, max_size=2), st.integers(0, 2**32))
def test_kv_of_blocks_is_made_once_before_its_first_reader_and_not_before_its_residual(wiring, lengths, seed):
    foliation = cs.random_foliation(cs.EventGraph(wiring, lengths, granularity="block"), seed)
    made, ran = set(), set()
    for batch in compile(foliation).batches:
        kind, layer = batch.site
        places = {(layer, int(p), int(r)) for p, r in zip(batch.positions, batch.requests, strict=True)}
        if kind == "kv":
            assert not places & made
            assert layer == 0 or {(layer - 1, p, r) for _, p, r in places} <= ran
            made |= places
        if kind == "block":
            reach = foliation.graph.wiring.windows_by_layer[layer]
            assert {
                (layer, q, r) for _, p, r in places for q in range(p + 1) if reach is None or p - q < reach
            } <= made
            ran |= places
    assert made == ran
