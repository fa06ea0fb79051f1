"""The plan as a value: what it says of every row, said again in plain Python; nothing else decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import causalsim as cs
from causalsim.engine import Dispatch, Plan, Program, compile, compile_unchecked, plan, run_dispatch
from causalsim.engine import execute as follow
from causalsim.engine.planning import UNBOUNDED
from causalsim.kernels import CERTIFIED_BUCKETS, FIXED, FIXED_BUCKETS, PAGE, Buckets
from causalsim.kernels.paged import tile_of
from causalsim.testing.strategies import graphs
from tests.engine.support import architectures, bits, cells_of, fresh_for, graphs_of, texts
from tests.foliations.support import graphs_with_foliation

BUCKETS = st.sampled_from([CERTIFIED_BUCKETS, FIXED_BUCKETS, Buckets((1, 2)), Buckets((3,)), Buckets()])


def _in_order() -> st.SearchStrategy[Program]:
    """Programs of foliations of every graph, of short texts."""
    return graphs_with_foliation().map(compile)


@st.composite
def _out_of_order(draw: st.DrawFn) -> Program:
    graph = draw(graphs(max_layers=4))
    times = draw(st.lists(st.integers(0, 9), min_size=len(graph), max_size=len(graph)))
    return compile_unchecked(graph, np.array(times))


@st.composite
def _long(draw: st.DrawFn) -> Program:
    """Programs of texts of several pages; windows reach into the page before, or not."""
    wiring = cs.Wiring(2, windows=draw(st.lists(st.sampled_from([None, 1, 60, 130]), min_size=2, max_size=2)))
    lengths = draw(st.lists(st.sampled_from([3, PAGE, PAGE + 1, 2 * PAGE + 9]), min_size=1, max_size=2))
    family = draw(st.sampled_from([cs.layer_major, cs.wavefront, lambda g: cs.chunked(g, 90)]))
    return compile(family(cs.EventGraph(wiring, lengths)))


@st.composite
def _plans(draw: st.DrawFn) -> tuple[Program, Plan, Buckets]:
    """Programs, right or not, with their plans; about one in ten of them long."""
    program = draw(_long() if draw(st.integers(0, 9)) == 9 else _in_order() | _out_of_order())
    buckets = draw(BUCKETS)
    return program, plan(program, buckets, recycle=draw(st.booleans())), buckets


def _sliding(family, count: int) -> tuple[Program, Plan, Buckets]:
    """A text of several pages, of which one layer sees all and others few."""
    graph = cs.EventGraph(cs.Wiring(2, windows=[None, 60]), count)
    program = compile(family(graph))
    return program, plan(program, CERTIFIED_BUCKETS), CERTIFIED_BUCKETS


# -- a plan in plain Python ------------------------------------------------------------------------


def _pages(length: int) -> int:
    return (length + PAGE - 1) // PAGE


def _token(graph: cs.EventGraph, request: int, position: int) -> int:
    return sum(graph.lengths[:request]) + position


def _page(graph: cs.EventGraph, request: int, position: int) -> int:
    return sum(_pages(length) for length in graph.lengths[:request]) + position // PAGE


def _each(dispatch: Dispatch) -> Iterator[tuple]:
    """Batches of a dispatch with what each gets: places of its rows, layer, table and window, pool."""
    kinds = len(dispatch.batches) // max(dispatch.layers, 1)
    for number, batch in enumerate(dispatch.batches):
        at, here = dispatch.indices, number // kinds
        if dispatch.layers:
            own = at.layer[here], at.table[here], at.window[here]
            yield batch, at.rows[2 + here], *own, dispatch.pools[here]
        else:
            pool = dispatch.pools[0] if dispatch.pools else None
            yield batch, at.rows[2], at.layer, at.table, at.window, pool


def _rows(batch) -> list[tuple[int, int]]:
    return list(zip(batch.requests.tolist(), batch.positions.tolist(), strict=True))


@settings(max_examples=40)
@given(_plans())
def test_every_event_is_in_one_row_of_one_dispatch_in_the_programs_order(drawn):
    program, made, _ = drawn
    asked = [(batch.site, row) for batch in program.batches for row in _rows(batch)]
    planned = [(b.site, row) for each in made.dispatches for b in each.batches for row in _rows(b)]
    assert planned == asked
    assert len({*planned}) == len(planned)
    events = [int(event) for each in made.dispatches for b in each.batches for event in b.events]
    assert Counter(events) == Counter(range(len(program.graph)))
    for each in made.dispatches:
        for batch in each.batches:
            named = zip(batch.events.tolist(), _rows(batch), strict=bool(len(batch.events)))
            assert all(made.graph[event] == cs.Event(*batch.site, p, r) for event, (r, p) in named)
    times = made.program.times()
    assert np.array_equal(np.argsort(times, kind="stable"), np.argsort(program.times(), kind="stable"))


@settings(max_examples=40)
@given(_plans())
def test_rows_fill_the_batch_sizes_that_were_asked_for(drawn):
    program, made, buckets = drawn
    for each in made.dispatches:
        assert not buckets.sizes or each.size in buckets.sizes
        assert {len(batch) for batch in each.batches} == {len(each.batches[0])}
        assert 1 <= len(each.batches[0]) <= each.size == each.indices.rows.shape[1]
        assert each.executable[1:] == (each.layers, each.size)
    sizes = [size for batch in program.batches for size in buckets.split(len(batch))]
    assert sizes == [each.size for each in made.dispatches for _ in each.batches]
    assert made.executables == {each.executable for each in made.dispatches}


@settings(max_examples=40)
@given(_plans())
def test_only_whole_layers_of_the_same_rows_share_a_dispatch(drawn):
    _, made, _ = drawn
    column = made.graph.wiring.sublayers
    for each in made.dispatches:
        first = each.batches[0]
        assert [batch.joined for batch in each.batches] == [False] + [True] * (len(each.batches) - 1)
        if not each.layers:
            assert len(each.batches) == 1
            continue
        layers = range(first.site.layer, first.site.layer + each.layers)
        assert [batch.site for batch in each.batches] == [(kind, n) for n in layers for kind in column]
        assert all(_rows(batch) == _rows(first) for batch in each.batches)
        # An executable consumes what it writes, and can have no pool twice.
        assert len({*each.pools}) == len(each.pools) == each.layers
    assert made.program.dispatches == len(made.dispatches)


def test_layers_that_share_a_pool_go_in_dispatches_of_their_own():
    """Four pages of text, of which a layer sees two: position by position one dispatch could carry all."""
    graph = cs.EventGraph(cs.Wiring(3, windows=100), 4 * PAGE)
    made = plan(compile(cs.token_major(graph)), CERTIFIED_BUCKETS)
    assert made.placement.pools == 2
    assert all(len({*each.pools}) == len(each.pools) for each in made.dispatches)


@settings(max_examples=40)
@given(_plans())
# Several layers in a dispatch, whose pages lie at different places.
@example(_sliding(cs.token_major, 3 * PAGE))
def test_indices_are_those_of_the_rows(drawn):
    program, made, _ = drawn
    graph, layout = program.graph, made.layout
    for each in made.dispatches:
        tokens, positions = np.asarray(each.indices.token), np.asarray(each.indices.position)
        for batch, places, layer, _, window, pool in _each(each):
            kind, own_layer = batch.site
            assert int(layer) == own_layer
            for row, (request, position) in enumerate(_rows(batch)):
                token = _token(graph, request, position)
                assert (tokens[row], positions[row]) == (token, position)
                if kind == "sample":
                    assert places[row] == token + 1
                elif kind in ("kv", "attn", "block"):
                    page = _page(graph, request, position)
                    assert places[row] == made.placement.place[own_layer, page] < layout.pages
                    assert pool == made.placement.pool[own_layer] < made.placement.pools
            if kind in ("attn", "block"):
                reach = graph.wiring.windows_by_layer[own_layer]
                assert int(window) == (UNBOUNDED if reach is None else reach)


@settings(max_examples=40)
@given(_plans())
@example(_sliding(cs.layer_major, PAGE + 9))
def test_extents_are_the_pages_that_a_tile_of_rows_sees(drawn):
    program, made, _ = drawn
    windows = program.graph.wiring.windows_by_layer
    for each in made.dispatches:
        kinds, extents = len(each.batches) // max(each.layers, 1), each.indices.extent
        for number, batch in enumerate(each.batches):
            if batch.site.kind not in ("attn", "block"):
                continue
            positions = np.asarray(each.indices.position).reshape(-1, tile_of(each.size))
            own = np.asarray(extents[number // kinds] if each.layers else extents).tolist()
            assert own == [_pages_seen(tile.tolist(), windows[batch.site.layer]) for tile in positions]


def _pages_seen(positions: list[int], reach: int | None) -> list[int]:
    firsts = [0 if reach is None else max(position - reach + 1, 0) // PAGE for position in positions]
    return [min(firsts), 1 + max(positions) // PAGE]


@settings(max_examples=40)
@given(_plans())
def test_padding_goes_to_scratch(drawn):
    program, made, _ = drawn
    layout = made.layout
    assert layout.tokens >= sum(program.graph.lengths)
    assert layout.pages >= sum(map(_pages, program.graph.lengths))
    for each in made.dispatches:
        count = len(each.batches[0])
        padding = np.asarray(each.indices.rows)[:, count:]
        assert (padding[0] == layout.tokens).all()
        # So that no page is gone over for its sake.
        assert np.isin(padding[1], each.batches[0].positions).all()
        assert (padding[2:] == (layout.tokens if each.site.kind == "sample" else layout.pages)).all()
        for batch, _, _, table, _, _ in _each(each):
            if batch.site.kind in ("attn", "block") and np.ndim(table) == 2:
                assert table.shape == (each.size, layout.pages)
                assert (np.asarray(table)[count:] == layout.pages).all()


@settings(max_examples=40)
@given(_plans())
def test_tables_list_the_pages_of_each_rows_text(drawn):
    program, made, _ = drawn
    graph, scratch = program.graph, made.layout.pages
    for each in made.dispatches:
        for batch, _, layer, table, _, _ in _each(each):
            if batch.site.kind not in ("attn", "block"):
                continue
            for row, (request, _) in enumerate(_rows(batch)):
                own = np.asarray(table if np.ndim(table) == 1 else table[row]).tolist()
                first, count = _page(graph, request, 0), _pages(graph.lengths[request])
                places = made.placement.place[int(layer), first : first + count].tolist()
                assert own == places + [scratch] * (scratch - count)
            assert np.ndim(table) == 2 or len({*batch.requests.tolist()}) == 1


# -- pages that are recycled -----------------------------------------------------------------------


def _walked(made: Plan, *, broken: bool = False) -> int:
    """Follow the pages of a plan event by event: whose K/V lies where, and what every row finds there.

    No row may find another page's K/V; where causality is respected it finds what it reads. Returns how
    many places were recycled.
    """
    graph, owners, written, count = made.graph, dict[tuple, tuple](), set[tuple](), 0
    for each in made.dispatches:
        for place in each.recycled:
            assert place in owners, "fresh memory is poison already"
            written -= {(*place, column) for column in range(PAGE)}
            del owners[place]
            count += 1
        for batch, places, layer, table, _, pool in _each(each):
            own_layer = int(layer)
            for row, (request, position) in enumerate(_rows(batch)):
                if batch.site.kind == "kv":
                    here = int(pool), int(places[row])
                    assert owners.setdefault(here, (own_layer, _page(graph, request, position))) == (
                        own_layer,
                        _page(graph, request, position),
                    )
                    written.add((*here, position % PAGE))
                if batch.site.kind not in ("attn", "block"):
                    continue
                reach = graph.wiring.windows_by_layer[own_layer]
                start = 0 if reach is None else max(position - reach + 1, 0)
                entries = np.asarray(table if np.ndim(table) == 1 else table[row])
                for seen in range(start, position + 1):
                    here = int(pool), int(entries[seen // PAGE])
                    expected = own_layer, _page(graph, request, seen)
                    assert owners.get(here, expected if broken else None) == expected
                    assert broken or (*here, seen % PAGE) in written
    return count


@settings(max_examples=40)
@given(_in_order(), BUCKETS, st.booleans())
def test_every_row_finds_the_kv_that_it_reads(program, buckets, recycle):
    made = plan(program, buckets, recycle=recycle)
    count = _walked(made)
    assert recycle or not count


@settings(max_examples=6)
@given(_long(), st.booleans())
def test_every_row_of_long_texts_finds_the_kv_that_it_reads(program, recycle):
    _walked(plan(program, CERTIFIED_BUCKETS, recycle=recycle))


@settings(max_examples=40)
@given(_out_of_order(), BUCKETS)
def test_no_row_of_any_program_finds_the_kv_of_another_page(program, buckets):
    _walked(plan(program, buckets), broken=True)


@pytest.mark.parametrize("fault", ["not poisoned", "too early"])
def test_the_walk_sees_a_page_that_is_recycled_wrongly(fault):
    graph = cs.EventGraph(cs.Wiring(3), 3)
    made = plan(compile(cs.layer_major(graph)), CERTIFIED_BUCKETS)
    assert _walked(made) == 2 and made.placement.pools == 1
    number = next(n for n, each in enumerate(made.dispatches) if each.recycled)
    dispatches = list(made.dispatches)
    if fault == "not poisoned":
        dispatches[number] = replace(dispatches[number], recycled=())
    else:
        made = plan(compile(cs.wavefront(graph)), CERTIFIED_BUCKETS)
        dispatches = list(made.dispatches)
        number = max(n for n, each in enumerate(dispatches) if each.site.kind == "attn")
        dispatches[number] = replace(dispatches[number], recycled=((dispatches[number].pools[0], 0),))
    with pytest.raises(AssertionError):
        _walked(replace(made, dispatches=tuple(dispatches)))


@settings(max_examples=40)
@given(_plans())
def test_without_recycling_every_layer_keeps_its_own_pages(drawn):
    program, _, buckets = drawn
    made = plan(program, buckets, recycle=False)
    layers, pages = program.graph.wiring.n_layers, made.layout.pages
    assert made.placement.pools == layers and made.placement.pool.tolist() == list(range(layers))
    assert made.placement.place.tolist() == [list(range(pages))] * layers
    assert not any(each.recycled for each in made.dispatches)
    assert plan(program, buckets).placement.pools <= layers


# -- a value ---------------------------------------------------------------------------------------


def _said(made: Plan) -> list:
    """All that a plan says, to be compared."""
    return [
        (
            (each.executable, each.pools, each.recycled),
            [(batch.site, batch.joined, _rows(batch)) for batch in each.batches],
            [(np.shape(leaf), np.asarray(leaf).tolist()) for leaf in jax.tree.leaves(each.indices)],
        )
        for each in made.dispatches
    ]


@settings(max_examples=30)
@given(_in_order() | _out_of_order(), BUCKETS, st.booleans())
def test_the_same_program_has_the_same_plan(program, buckets, recycle):
    first, second = (plan(program, buckets, recycle=recycle) for _ in range(2))
    assert _said(first) == _said(second)
    assert (first.graph, first.layout) == (second.graph, second.layout)


def test_a_plan_of_nothing_does_nothing():
    graph = cs.EventGraph(cs.Wiring(1), 1)
    assert not list(plan(Program(graph, ()), CERTIFIED_BUCKETS).dispatches)


@settings(max_examples=10)
@given(st.data(), st.sampled_from(architectures()), st.integers(0, 99), st.booleans())
def test_the_executor_does_what_the_plan_says_and_nothing_else(data, model, seed, recycle):
    """Dispatch by dispatch by hand, and by kernels that would rather have other batch sizes."""
    graph = data.draw(graphs_of(model))
    given_texts = texts(model, graph.lengths)
    made = plan(compile(cs.random_foliation(graph, seed)), CERTIFIED_BUCKETS, recycle=recycle)
    state, by_hand = fresh_for(model, made, given_texts), []
    for dispatch in made.dispatches:
        state, values = run_dispatch(dispatch, state, model.computation())
        by_hand += zip(dispatch.batches, values, strict=True)
    # In batches of sixteen, were it for these kernels.
    for computation in (model.computation(), model.computation(FIXED)):
        end, outputs = follow(made, fresh_for(model, made, given_texts), computation)
        assert cells_of(end) == cells_of(state)
        assert [output.batch for output in outputs] == [batch for batch, _ in by_hand]
        pairs = zip(outputs, by_hand, strict=True)
        assert all(_same(output.value, value, len(output.batch)) for output, (_, value) in pairs)


def _same(a, b, count: int) -> bool:
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(
        np.shape(x) == np.shape(y) and bits(np.asarray(x)[:count]) == bits(np.asarray(y)[:count])
        for x, y in leaves
    )
