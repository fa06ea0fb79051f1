"""K/V is given up when its last reader has run, and what is given up is poison again."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import causalsim as cs
from causalsim.engine import Layout, Program, State, Values, compile, event_values, plan
from causalsim.engine import execute as follow
from causalsim.engine.joining import Group, joined
from causalsim.engine.placement import Placement, live_ranges
from causalsim.kernels import CERTIFIED_BUCKETS, PAGE
from causalsim.verification.faults import freed_early
from tests.engine.support import (
    architectures,
    cells_of,
    execute,
    fresh,
    fresh_for,
    graphs_of,
    ids,
    recycled,
    texts,
)
from tests.models_for_tests import tiny

MODEL = tiny(n_layers=4)
GRAPH = cs.EventGraph(MODEL.config, 6)


def _kv_layers(run: cs.Run) -> float:
    """The number of layers whose K/V a run had memory for."""
    without, whole = (
        State.fresh(MODEL.config, MODEL.dtype, GRAPH, [np.zeros(6, np.int32)], pools=pools).nbytes
        for pools in (0, None)
    )
    return (run.state_bytes - without) / (whole - without) * MODEL.config.n_layers


@pytest.mark.parametrize(
    ("family", "layers"),
    [
        (cs.layer_major, 1),
        (cs.token_major, 4),
        (lambda g: cs.chunked(g, 3), 4),
        (lambda g: cs.chunked(g, 6), 1),
    ],
)
def test_memory_follows_the_order(family, layers):
    assert _kv_layers(cs.run(MODEL, ids(MODEL, 6), family(GRAPH))) == layers


def test_memory_is_ordered_as_the_predicted_peaks_are():
    """An order that is predicted to need less than another takes no more."""
    orders = [cs.layer_major(GRAPH), cs.token_major(GRAPH), cs.wavefront(GRAPH)]
    orders += [cs.random_foliation(GRAPH, seed) for seed in range(5)]
    footprint = MODEL.config.footprint()
    taken = [cs.run(MODEL, ids(MODEL, 6), order).state_bytes for order in orders]
    least = int(np.argmin([cs.peak_during(order, footprint) for order in orders]))
    assert taken[least] == min(taken)


@pytest.mark.parametrize("family", [cs.layer_major, cs.token_major, cs.wavefront])
def test_recording_changes_nothing(family):
    """A recorded run keeps its values on the side: it gives K/V up as any run does."""
    plain, recorded = (cs.run(MODEL, ids(MODEL, 6), family(GRAPH), record=record) for record in (False, True))
    assert recorded.state_bytes == plain.state_bytes and recorded.digest == plain.digest
    assert list(map(str, recorded.program.batches)) == list(map(str, plain.program.batches))
    state, outputs = execute(MODEL, compile(family(GRAPH)), fresh(MODEL, GRAPH, [ids(MODEL, 6)]))
    assert len(state.keys) == 4
    assert Values.from_outputs(MODEL.config, GRAPH, outputs).digest() == recorded.values_digest


@settings(max_examples=15)
@given(st.data(), st.sampled_from(architectures()), st.integers(0, 99))
def test_giving_up_changes_no_bits(data, model, seed):
    graph = data.draw(graphs_of(model))
    given_texts, order = texts(model, graph.lengths), cs.random_foliation(graph, seed)
    state, outputs = execute(model, compile(order), fresh(model, graph, given_texts))
    kept = Values.from_outputs(model.config, graph, outputs)
    assert len(state.keys) == model.config.n_layers
    run, recorded = (cs.run(model, given_texts, order, record=record) for record in (False, True))
    assert recorded.values_digest == kept.digest()
    assert run.digest == recorded.digest


def test_what_is_given_up_is_poison_for_the_next():
    """All of the first layer, then one position of the second, in the memory of the first."""
    batches = compile(cs.layer_major(GRAPH)).batches
    second = next(n for n, batch in enumerate(batches) if batch.site == ("kv", 1))
    alone = [batch.restricted(slice(2, 3)) for batch in batches[second : second + 2]]
    made, _, outputs = recycled(MODEL, Program(GRAPH, (*batches[:second], *alone)), [ids(MODEL, 6)])
    assert made.placement.pools == 1
    assert np.isnan(np.asarray(outputs[-1].value)).all()  # it sees positions that nobody wrote


@pytest.mark.parametrize("family", [cs.wavefront, cs.token_major])
def test_a_plan_that_reads_what_was_given_up_gets_poison(family):
    """A page that is poison again right before its last reader comes."""
    right = plan(compile(family(GRAPH)), CERTIFIED_BUCKETS)
    wrong = freed_early(right)
    spoilt = next(n for n, each in enumerate(wrong.dispatches) if each is not right.dispatches[n])
    found = []
    for made in (right, wrong):
        outputs = follow(made, fresh_for(MODEL, made, [ids(MODEL, 6)]), MODEL.computation())[1]
        before = sum(len(each.batches) for each in made.dispatches[:spoilt])
        found.append([np.isnan(rows).any() for _, _, rows in _attended(outputs[before:])])
    assert not any(found[0]) and found[1][0]


def _attended(outputs):
    return (each for each in event_values(outputs) if each[0].kind == "attn")


# -- pages of long texts and of several ---------------------------------------------------------


def _groups(program: Program) -> list[Group]:
    return list(joined(program.batches, CERTIFIED_BUCKETS, program.graph.wiring))


def _ends_last(graph: cs.EventGraph) -> cs.Foliation:
    """Layer by layer; where K/V is read, the ends of a text come after all that is between."""
    _, positions, requests = graph.codes()
    is_end = (positions == 0) | (positions == np.array(graph.lengths)[requests] - 1)
    return cs.Foliation(graph, 2 * cs.layer_major(graph).times + is_end)


@st.composite
def long_programs(draw):
    """Programs over texts of several pages; windows reach into the page before, or not."""
    windows = draw(st.lists(st.sampled_from([None, 1, 60, 130, 300]), min_size=1, max_size=4))
    wiring = cs.Wiring(len(windows), windows=windows)
    lengths = draw(st.lists(st.integers(1, 3 * PAGE + 5), min_size=1, max_size=3))
    graph = cs.EventGraph(wiring, lengths)
    families = [cs.layer_major, cs.token_major, lambda g: cs.chunked(g, 90), cs.wavefront, _ends_last]
    return compile(draw(st.sampled_from(families))(graph))


def _live_ranges_said_once_more(program: Program, layout: Layout) -> dict[tuple[int, int], tuple[int, int]]:
    """Of every page of every layer, from what each event reads."""
    found: dict[tuple[int, int], tuple[int, int]] = {}
    first = layout.first_pages()
    numbered = [(number, batch) for number, group in enumerate(_groups(program)) for batch in group]
    for number, batch in numbered:
        if batch.site.kind not in ("kv", "attn"):
            continue
        reach = 1 if batch.site.kind == "kv" else program.graph.wiring.windows_by_layer[batch.site.layer]
        for request, position in zip(batch.requests.tolist(), batch.positions.tolist(), strict=True):
            start = 0 if reach is None else max(position - reach + 1, 0)
            for page in {seen // PAGE for seen in range(start, position + 1)}:
                here = batch.site.layer, int(first[request]) + page
                found[here] = found.get(here, (number, number))[0], number
    return found


@settings(max_examples=10)
@given(long_programs())
@example(compile(_ends_last(cs.EventGraph(cs.Wiring(1), 2 * PAGE + 1))))
def test_a_page_lives_from_the_first_group_that_touches_it_to_the_last(program):
    layout = Layout(program.graph.lengths)
    first_use, last_use = live_ranges(_groups(program), program.graph.wiring, layout)
    expected = _live_ranges_said_once_more(program, layout)
    used = {
        (int(layer), int(page)): (int(first_use[layer, page]), int(last_use[layer, page]))
        for layer, page in zip(*np.nonzero(last_use >= 0), strict=True)
    }
    assert used == expected


@settings(max_examples=50)
@given(long_programs())
def test_no_two_pages_have_one_place_at_the_same_time(program):
    layout = Layout(program.graph.lengths)
    wiring = program.graph.wiring
    first_use, last_use = live_ranges(_groups(program), wiring, layout)
    placement = Placement.recycling(_groups(program), wiring, layout)
    tenants: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for layer, page in zip(*np.nonzero(last_use >= 0), strict=True):
        assert placement.place[layer, page] < layout.pages
        here = int(placement.pool[layer]), int(placement.place[layer, page])
        tenants.setdefault(here, []).append((int(first_use[layer, page]), int(last_use[layer, page])))
    changes = {(group, *here) for group, places in placement.recycled.items() for here in places}
    for here, stays in tenants.items():
        stays.sort()
        assert all(earlier[1] < later[0] for earlier, later in pairwise(stays))
        assert {(start, *here) for start, _ in stays[1:]} == {c for c in changes if c[1:] == here}
    assert placement.pools <= wiring.n_layers
    at_once = np.zeros(len(program) + 1, np.int64)
    np.add.at(at_once, first_use[last_use >= 0], 1)
    np.add.at(at_once, last_use[last_use >= 0] + 1, -1)
    assert placement.pools * layout.pages >= np.cumsum(at_once).max()


def _pools(model: cs.Model, graph: cs.EventGraph, order: cs.Foliation) -> int:
    """The pools that an order needs, after a check that its bits are those of one that keeps all."""
    given_texts = texts(model, graph.lengths)
    made, state, _ = recycled(model, compile(order), given_texts)
    kept, _ = execute(model, compile(cs.layer_major(graph)), fresh(model, graph, given_texts))
    assert cells_of(state)["logits"] == cells_of(kept)["logits"]
    return made.placement.pools


def test_layers_with_short_windows_share_a_pool():
    """Four pages of text, of which an attention sees two: two layers fit into one pool.

    Position by position one dispatch could carry both, but not the same pool twice.
    """
    pools = {}
    for windows in ((100, 100, 100), None):
        model = tiny(n_layers=3, windows=windows)
        graph = cs.EventGraph(model.config, 4 * PAGE)
        pools[windows] = [
            _pools(model, graph, order) for order in (cs.chunked(graph, 64), cs.token_major(graph))
        ]
    assert list(pools.values()) == [[2, 2], [3, 3]]


def test_requests_one_after_the_other_take_the_place_of_one():
    model = tiny(n_layers=4)
    graph = cs.EventGraph(model.config, (5, 4, 6, 3))
    ranks, positions, requests = graph.codes()
    in_turn = cs.Foliation(graph, (requests * 100 + positions) * 100 + ranks)
    assert _pools(model, graph, in_turn) == 1
    assert _pools(model, graph, cs.token_major(graph)) == 4
