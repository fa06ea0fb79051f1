"""Page tables of single rows: two rows may read one page, and a row a private copy that nobody else sees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import causalsim as cs
from causalsim.engine import Layout, Plan, Program, State, Values, compile, plan
from causalsim.engine import execute as follow
from causalsim.kernels import CERTIFIED_BUCKETS, PAGE
from tests.engine.support import bits, fresh, ids
from tests.models_for_tests import tiny, wide

NARROW = tiny(2, 4, 2, windows=(None, 3))
models = pytest.mark.parametrize("model", [NARROW, wide()], ids=["narrow", "wide"])
orders = pytest.mark.parametrize("order", [cs.layer_major, cs.token_major], ids=["prefill", "decode"])


def _values(model: cs.Model, made: Plan, state: State) -> Values:
    _, outputs = follow(made, state, model.computation())
    return Values.from_outputs(model.config, made.graph, outputs)


def _attentions(graph: cs.EventGraph, request: int, below: int) -> list[int]:
    chosen = (e for e in graph if e.kind == "attn" and e.request == request and e.position < below)
    return [graph.index(event) for event in chosen]


@models
@orders
def test_rows_of_two_requests_read_one_page(model, order):
    """The second begins as the first does; where it does, it reads the first one's K/V and has no own."""
    common, lengths = 5, (6, 7)
    start = ids(model, common)
    given = [[*start, 1], [*start, 2, 3]]
    graph = cs.EventGraph(model.config, lengths)
    program, first = compile(order(graph)), int(Layout(lengths).first_pages()[0])
    expected = _values(model, plan(program, CERTIFIED_BUCKETS, recycle=False), fresh(model, graph, given))
    redirected = {index: {0: first} for index in _attentions(graph, 1, common)}
    made = plan(program, CERTIFIED_BUCKETS, recycle=False, redirected=redirected)
    found = _values(model, made, fresh(model, graph, given))
    assert found.digest() == expected.digest()
    # Nothing of its own is there to be read.
    own = [graph.index(e) for e in graph if e.kind == "kv" and e.request == 1 and e.position < common]
    rest = program.restricted(np.setdiff1d(np.arange(len(graph)), own))
    for pages in (redirected, {}):
        made = plan(rest, CERTIFIED_BUCKETS, recycle=False, redirected=pages)
        _, outputs = follow(made, fresh(model, graph, given), model.computation())
        rows = _attended(outputs)
        for index in _attentions(graph, 1, common):
            same = bits(rows[index]) == bits(expected[graph[index]])
            assert same if pages else np.isnan(rows[index]).all()


def _attended(outputs) -> dict[int, np.ndarray]:
    found = {}
    for output in outputs:
        if output.batch.site.kind == "attn":
            found |= zip(output.batch.events.tolist(), np.asarray(output.value), strict=False)
    return found


# -- private copies --------------------------------------------------------------------------------

COPIED = [
    (NARROW, (6, 4), cs.Event("attn", 0, 4), 2),
    (NARROW, (6, 4), cs.Event("attn", 1, 3, 1), 2),
    (NARROW, (3, PAGE + 9), cs.Event("attn", 0, PAGE + 5, 1), PAGE + 2),
    (NARROW, (3, PAGE + 9), cs.Event("attn", 0, PAGE + 5, 1), 17),
    (wide(), (6, 4), cs.Event("attn", 0, 4), 2),
]


def _in_two(program: Program, reader: cs.Event) -> tuple[Program, Program]:
    """A program up to the batch of an event, and from it on."""
    index = program.graph.index(reader)
    here = next(n for n, batch in enumerate(program.batches) if index in batch.events)
    return tuple(Program(program.graph, part) for part in (program.batches[:here], program.batches[here:]))


def _with_copy(state: State, layer: int, page: int, place: int, change: str = "", column: int = 0) -> State:
    """A page of a layer copied by hand into a spare one, and a column of the copy changed."""
    pools = {"keys": state.keys[layer], "values": state.values[layer]}
    pools = {name: pool.at[place].set(pool[page]) for name, pool in pools.items()}
    if change == "keys":
        pools["keys"] = pools["keys"].at[place, :, :, column].multiply(1.5)
    if change == "values":
        pools["values"] = pools["values"].at[place, :, column, :].multiply(1.5)
    both = {name: list(getattr(state, name)) for name in pools}
    for name, pool in pools.items():
        both[name][layer] = pool
    return replace(state, **{name: tuple(each) for name, each in both.items()})


@pytest.mark.parametrize(("model", "lengths", "reader", "column"), COPIED)
@orders
def test_a_private_copy_is_seen_by_its_row_alone(model, lengths, reader, column, order):
    graph, layout = cs.EventGraph(model.config, lengths), Layout(lengths, spare=1)
    given = [ids(model, length, length) for length in lengths]
    before, after = _in_two(compile(order(graph)), reader)
    (place,), number = layout.spare_pages(), column // PAGE
    page = int(layout.first_pages()[reader.request]) + number
    assert place == sum(-(-length // PAGE) for length in lengths) < layout.pages
    arrays = [np.asarray(tokens, np.int32) for tokens in given]
    fresh_state = State.fresh(model.config, model.dtype, graph, arrays, layout=layout)
    first = plan(before, CERTIFIED_BUCKETS, recycle=False, layout=layout)
    state, early = follow(first, fresh_state, model.computation())

    def values(redirected, change="") -> Values:
        rest = plan(after, CERTIFIED_BUCKETS, recycle=False, layout=layout, redirected=redirected)
        copied = _with_copy(state.copy(), reader.layer, page, place, change, column % PAGE)
        _, outputs = follow(rest, copied, model.computation())
        return Values.from_outputs(model.config, graph, [*early, *outputs])

    expected = cs.run(model, given, order(graph), record=True).values
    private = {graph.index(reader): {number: place}}
    assert values({}).digest() == values(private).digest() == expected.digest()
    assert values({}, "keys").digest() == expected.digest(), "nobody reads the copy"
    for change in ("keys", "values"):
        found = values(private, change)
        assert bits(found[reader]) != bits(expected[reader]) and np.isfinite(found[reader]).all()
        later = {reader, *graph.future(reader)}
        assert all(bits(found[e]) == bits(expected[e]) for e in graph if e not in later)


def test_what_a_row_does_not_see_of_its_copy_changes_nothing():
    """Behind its own position, and before its window."""
    lengths, layout = (6,), Layout((6,), spare=1)
    graph, reader = cs.EventGraph(NARROW.config, lengths), cs.Event("attn", 1, 4)
    given = [ids(NARROW, 6)]
    before, after = _in_two(compile(cs.layer_major(graph)), reader)
    expected = cs.run(NARROW, given, record=True).values
    (place,) = layout.spare_pages()
    state = State.fresh(NARROW.config, "float32", graph, [np.asarray(given[0], np.int32)], layout=layout)
    state, early = follow(
        plan(before, CERTIFIED_BUCKETS, recycle=False, layout=layout), state, NARROW.computation()
    )
    seen = []
    for column in range(6):
        copied = _with_copy(state.copy(), 1, 0, place, "values", column)
        private = {graph.index(reader): {0: place}}
        rest = plan(after, CERTIFIED_BUCKETS, recycle=False, layout=layout, redirected=private)
        _, outputs = follow(rest, copied, NARROW.computation())
        found = Values.from_outputs(NARROW.config, graph, [*early, *outputs])
        seen.append(bits(found[reader]) != bits(expected[reader]))
    assert seen == [False, False, True, True, True, False]  # a window of three positions


def test_only_the_rows_that_are_redirected_have_another_table():
    """And the others of the same batch the one of their text."""
    layout = Layout((6, 4), spare=2)
    graph = cs.EventGraph(NARROW.config, (6, 4))
    moved = {graph.index(cs.Event("attn", 0, 2, 1)): {0: 3}, graph.index(cs.Event("attn", 1, 5)): {0: 2}}
    program = compile(cs.layer_major(graph))
    plain, made = (
        plan(program, CERTIFIED_BUCKETS, recycle=False, layout=layout, redirected=pages)
        for pages in ({}, moved)
    )
    assert list(layout.spare_pages()) == [2, 3]
    differing = 0
    for old, new in zip(plain.dispatches, made.dispatches, strict=True):
        assert np.array_equal(old.indices.rows, new.indices.rows) and old.executable == new.executable
        tables = zip(_tables(old), _tables(new), strict=True)
        attending = [batch for batch in new.batches if batch.site.kind == "attn"]
        for batch, (before, after) in zip(attending, tables, strict=True):
            for row, event in enumerate(batch.events.tolist()):
                expected = np.array(before[row] if before.ndim == 2 else before)
                for number, place in moved.get(event, {}).items():
                    expected[number] = place
                    differing += 1
                assert np.array_equal(after[row] if after.ndim == 2 else after, expected)
    assert differing == len(moved)


def _tables(dispatch) -> list[np.ndarray]:
    table = dispatch.indices.table
    each = table if dispatch.layers else () if table is None else (table,)
    return [np.asarray(own) for own in each]


@pytest.mark.usefixtures("unchecked")
def test_redirected_pages_are_never_recycled():
    graph = cs.EventGraph(NARROW.config, 3)
    program = compile(cs.layer_major(graph))
    with pytest.raises(cs.InputError, match="pages stay where others read them: got redirected pages"):
        plan(program, CERTIFIED_BUCKETS, redirected={graph.index(cs.Event("attn", 0, 2)): {0: 1}})


@pytest.mark.parametrize(
    ("kind", "moved", "words"),
    [
        ("kv", {0: 0}, "attentions of the program read redirected pages: got event"),
        ("attn", {1: 0}, "page 1 at place 0"),
        ("attn", {0: 1}, "page 0 at place 1"),
        ("attn", {-1: 0}, "page -1 at place 0"),
    ],
    ids=["no reader", "no page", "no place", "negative"],
)
def test_redirected_pages_are_there_and_read(kind, moved, words):
    graph = cs.EventGraph(NARROW.config, 3)
    program, index = compile(cs.layer_major(graph)), graph.index(cs.Event(kind, 0, 2))
    with pytest.raises(cs.InputError, match=words):
        plan(program, CERTIFIED_BUCKETS, recycle=False, redirected={index: moved})
