"""Rows said to be apart are apart: the analysis of jaxprs against brute force, by perturbed rows."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax import lax

from causalsim.verification.flows import CELLS, combined, reshaped, rows_along
from causalsim.verification.row_flow import mixed_rows

ROWS, WIDTH = 4, 6
# Whole numbers: their bits depend on no order of additions.
X = np.arange(ROWS * WIDTH, dtype=np.int32).reshape(ROWS, WIDTH) * 7 % 11 - 3
OWN = rows_along(0, X.shape)


def reason(function, *arguments, flows=(OWN,)):
    """The first reason for which rows are not apart in the results of a function; empty if they are."""
    closed = jax.make_jaxpr(function)(*(arguments or (X,)))
    results, faults = mixed_rows(closed.jaxpr, closed.consts, list(flows))
    for flow, value in zip(results, closed.out_avals, strict=True):
        # Written at rows' own addresses, as results of dispatches are.
        ends = flow if flow.memory else combined([flow, rows_along(0, value.shape)], value.shape)
        faults += [ends.mixed] * bool(ends.mixed)
    return next(iter(faults), "")


def mixes(function, x=X):
    """By brute force: whether a row's result depends on another row, or on a row's place."""
    plain = np.asarray(function(x))
    for row in range(len(x)):
        other = x.copy()
        other[row] = other[row][::-1] * 5 + 2
        kept = np.arange(len(x)) != row
        if (np.asarray(function(other))[kept] != plain[kept]).any():
            return True
    orders = [np.roll(np.arange(len(x)), 1), np.array([1, 0, *range(2, len(x))])]
    return any((np.asarray(function(x[order])) != plain[order]).any() for order in orders)


# -- random programs ---------------------------------------------------------------------------------

SHAPES = [(4, 6), (6, 4), (24,), (2, 12), (12, 2), (2, 2, 6), (4, 2, 3), (4, 3, 2), (3, 4, 2), (2, 3, 4),
          (3, 8), (3, 2, 4), (1, 4, 6), (4, 1, 6), (2, 1, 2, 6), (8, 3)]  # fmt: skip


def _pad(x, axis):
    return lax.pad(x, np.int32(0), [(1, -1, 0) if each == axis else (0, 0, 0) for each in range(x.ndim)])


def _held(x, axis):
    """Everything along an axis becomes what lies there first."""
    return jnp.broadcast_to(lax.slice_in_dim(x, 0, 1, axis=axis), x.shape)


ALONG = {
    "sum": lambda x, axis: x + x.sum(axis, keepdims=True),
    "largest": lambda x, axis: jnp.broadcast_to(x.max(axis, keepdims=True), x.shape),
    "cumsum": lambda x, axis: lax.cumsum(x, axis=axis),
    "sort": lambda x, axis: lax.sort(x, dimension=axis),
    "top_k": lambda x, axis: lax.top_k(x, x.shape[axis], axis=axis)[0],
    "roll": lambda x, axis: jnp.roll(x, 1, axis),
    "pad": _pad,
    "rev": lambda x, axis: lax.rev(x, (axis,)),
    "first": _held,
    "iota": lambda x, axis: x * lax.broadcasted_iota(np.int32, x.shape, axis),
    "take": lambda x, axis: jnp.take_along_axis(x, x % x.shape[axis], axis),
    "map": lambda x, axis: jnp.moveaxis(
        lax.map(lambda each: each + each.sum(), jnp.moveaxis(x, axis, 0)), 0, axis
    ),
    "count": lambda x, axis: jnp.moveaxis(
        lax.scan(lambda n, each: (n + 1, each * n), 1, jnp.moveaxis(x, axis, 0))[1], 0, axis
    ),
    "square": lambda x, axis: x * x,
}  # fmt: skip
STEPS = st.one_of(
    st.tuples(st.just("reshape"), st.sampled_from(SHAPES)),
    st.tuples(st.just("transpose"), st.permutations(range(4))),
    st.tuples(st.sampled_from(sorted(ALONG)), st.integers(0, 3)),
    st.tuples(st.just("join"), st.integers(0, 9)),
)


def program(steps):
    """A function of rows by steps: laid out anew, along an axis, or joined with what was there before."""

    def run(x):
        past = [x]
        for name, what in steps:
            if name == "reshape":
                x = x.reshape(what)
            elif name == "transpose":
                x = x.transpose([axis for axis in what if axis < x.ndim])
            elif name == "join":
                alike = [each for each in past if each.shape == x.shape]
                x = x + 3 * alike[what % len(alike)]
            else:
                x = ALONG[name](x, what % x.ndim)
            past.append(x)
        return x.reshape(X.shape)

    return run


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=6))
def test_what_is_said_to_be_apart_is_apart(steps):
    run = program(steps)
    assume(not reason(run))
    assert not mixes(run)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=4), st.integers(0, 3), st.integers(0, 3))
def test_shared_parts_that_differ_along_rows_are_told_however_they_are_laid_out(shapes, axis, other):
    def run(x):
        y = lax.broadcasted_iota(np.int32, shapes[0], axis % len(shapes[0]))
        for shape in shapes[1:]:
            y = jnp.broadcast_to(lax.slice_in_dim(y, 0, 1, axis=other % y.ndim), y.shape).reshape(shape)
        return x * (1 + y.reshape(x.shape))

    assert reason(run) or not mixes(run)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(sorted(ALONG.keys() - {"map"})), min_size=1, max_size=4))
def test_what_goes_along_the_last_axis_is_apart(names):
    """The other side: rows are not said to be mixed where nothing mixes them."""
    run = program([(name, 1) for name in names])
    assert not mixes(run) and not reason(run)


# -- reshapes ------------------------------------------------------------------------------------------

LAID_OUT = [(24,), (4, 6), (6, 4), (2, 12), (12, 2), (3, 8), (8, 3), (2, 2, 6), (2, 3, 4), (3, 2, 4),
            (4, 3, 2), (3, 4, 2), (2, 4, 3), (6, 2, 2), (2, 6, 2), (2, 2, 3, 2), (3, 2, 2, 2), (1, 24),
            (4, 1, 6)]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.sampled_from(LAID_OUT), min_size=2, max_size=4),
    st.integers(0, 3),
    st.sets(st.integers(0, 3)),
)
def test_digits_and_equal_parts_are_where_a_reshape_puts_them(shapes, axis, equal):
    """Against arrays of numbers: the row of each element, and values that differ but along equal axes."""
    first, axis = shapes[0], axis % len(shapes[0])
    rows = np.broadcast_to(np.arange(first[axis]).reshape(-1, *[1] * (len(first) - axis - 1)), first)
    equal = {each for each in equal if each < len(first)} - {axis}
    short = [1 if each in equal else size for each, size in enumerate(first)]
    values = np.broadcast_to(np.arange(np.prod(short)).reshape(short), first)
    flow = replace(rows_along(axis, first), constant=frozenset(equal))
    for before, after in pairwise(shapes):
        flow, rows, values = reshaped(flow, before, after), rows.reshape(after), values.reshape(after)
        if flow.mixed:
            return
    indices = np.indices(shapes[-1])
    made = sum((indices[at] // stride % size * weight for at, stride, size, weight in flow.digits), 0)
    assert (rows == made).all()
    assert all((values == values.take([0], each)).all() for each in flow.constant)


# -- one by one ----------------------------------------------------------------------------------------


def _while(x):
    """As many turns as the first column of all rows says."""
    return lax.while_loop(lambda c: c[1] < c[0][:, 0].max(), lambda c: (c[0], c[1] + 1), (x, 0))[1] + x


def _reference(x):
    held = jax.new_ref(jnp.zeros_like(x))
    held[...] = x
    return x + held[0]


def _for_each(x):
    return lax.map(lambda one: lax.map(lambda other: one * other, x), x).sum(0)


def _by_switch(x):
    return lax.switch(jnp.clip(x[0, 0], 0, 1), [lambda v: v, lambda v: v * 2], x)


def _draws(impl):
    def run(x):
        keys = jax.vmap(lambda n: jax.random.fold_in(jax.random.key(0, impl=impl), n))(x[:, 0])
        return jax.vmap(lambda key: jax.random.bits(key, (WIDTH,)))(keys).astype(np.int32)

    return run


def _row_by_row(x):
    return lax.fori_loop(0, ROWS, lambda n, y: y.at[n].multiply(n), x)


def _window(x):
    return lax.reduce_window(x, np.int32(0), lambda a, b: a + b, (3, 1), (1, 1), "SAME")


def _convolved(x):
    return lax.conv_general_dilated(x[None, None].astype(np.float32), np.ones((1, 1, 3, 1)), (1, 1), "SAME")[
        0, 0
    ].astype(np.int32)


CONSTANT = np.arange(ROWS * WIDTH, dtype=np.int32).reshape(ROWS, WIDTH)
LARGE = np.zeros(5000, np.int32)
LARGE[1] = 1
MIXING = {
    "sort": lambda x: lax.sort(x, dimension=0),
    "sort by a key": lambda x: lax.sort((x[:, 0], x[:, 1]), num_keys=1)[1][:, None] + x,
    "top_k over rows": lambda x: lax.top_k(x, ROWS, axis=0)[0],
    "cumsum": lambda x: lax.cumsum(x, axis=0),
    "cumsum over merged axes": lambda x: lax.cumsum(x.reshape(-1)).reshape(x.shape),
    "scatter-add": lambda x: jnp.zeros_like(x).at[x[:, 0] % 2].add(x) + x,
    "segment sum": lambda x: jax.ops.segment_sum(x, x[:, 0] % 2, 2)[x[:, 0] % 2],
    "roll": lambda x: jnp.roll(x, 1, axis=0),
    "roll laid out anew": lambda x: jnp.roll(x.reshape(-1), WIDTH).reshape(x.shape),
    "gather of computed rows": lambda x: x[x[:, 0] % ROWS],
    "one-hot": lambda x: jax.nn.one_hot(x[:, 0] % ROWS, ROWS, dtype=np.int32) @ x,
    "product with itself": lambda x: (x @ x.T) @ x,
    "scan with a carry": lambda x: lax.scan(lambda c, r: (c + r, c + r), x[0] * 0, x)[1],
    "scan that counts": lambda x: lax.scan(lambda n, r: (n + 1, r * n), 1, x)[1],
    "loop for each row": _for_each,
    "loop over places": _row_by_row,
    "while over rows": _while,
    "switch by the first row": _by_switch,
    "sum over a named axis": jax.vmap(lambda r: r + lax.psum(r, "rows"), axis_name="rows"),
    "own place": jax.vmap(lambda r: r * lax.axis_index("rows"), axis_name="rows"),
    "bits of a shape": lambda x: x ^ jax.random.bits(jax.random.key(0), x.shape).astype(np.int32),
    "keys of a generator that draws together": _draws("rbg"),
    "pad that shifts": lambda x: _pad(x, 0),
    "reduction by a function": lambda x: x + lax.reduce(x, np.int32(1), lambda a, b: a * b + a, (0,)),
    "reduction of windows": _window,
    "convolution": _convolved,
    "associative scan": lambda x: lax.associative_scan(jnp.maximum, x, axis=0),
    "reference": _reference,
    "constant": lambda x: x * CONSTANT,
    "large constant": lambda x: x * LARGE[:ROWS, None],
    "part of a constant": lambda x: x * jnp.asarray(LARGE)[:ROWS, None],
    "choice by place": lambda x: jnp.where((jnp.arange(ROWS) == 2)[:, None], x, -x),
    "clamp by place": lambda x: jnp.clip(x, 0, jnp.arange(ROWS)[:, None]),
    "transposed": lambda x: x[:, :ROWS].T @ np.ones((ROWS, WIDTH), np.int32),
    "remat": jax.remat(lambda x: x + x.sum(0)),
    "custom_jvp": jax.custom_jvp(lambda x: x + x[0]),
    "custom_vjp": jax.custom_vjp(lambda x: x[::-1]),
    "nested jit": jax.jit(jax.jit(lambda x: x + x.max(0))),
    "alternating": lambda x: x * jnp.broadcast_to(jnp.arange(2), (12, 2)).reshape(8, 3)[:ROWS, :1],
    "alternating, laid out anew": lambda x: x
    * jnp.broadcast_to(jnp.arange(6), (4, 6)).reshape(6, 4)[0][:, None],
    "bits of another width": lambda x: lax.bitcast_convert_type(
        lax.bitcast_convert_type(x.reshape(-1), np.int16).reshape(-1)[::-1].reshape(-1, 2), np.int32
    ).reshape(x.shape),
    "gather with batching": lambda x: jax.vmap(lambda r, n: r[n], (1, 0), 0)(
        jnp.tile(x, (1, 2))[:, :ROWS], x[:, 0] % ROWS
    )[:, None]
    + x,
    "ragged product": lambda x: lax.ragged_dot(x, jnp.ones((2, WIDTH, WIDTH), np.int32), jnp.array([1, 3])),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXING)
def test_rows_that_meet_are_seen(name):
    run = MIXING[name]
    if hasattr(run, "defjvp"):
        run.defjvp(lambda primals, tangents: (run(*primals), *tangents))
    if hasattr(run, "defvjp"):
        run.defvjp(lambda x: (run(x), None), lambda _, g: (g,))
    if name == "ragged product":
        assert reason(run)
        return
    assert mixes(run) and reason(run)


APART = {
    "sort": lambda x: lax.sort(x, dimension=1),
    "top_k": lambda x: lax.top_k(x, 3)[0],
    "product": lambda x: x @ CONSTANT.T @ CONSTANT,
    "map": lambda x: lax.map(lambda r: r * r[0], x),
    "map over tiles": lambda x: lax.map(
        lambda t: t + t.sum(1, keepdims=True), x.reshape(2, 2, WIDTH)
    ).reshape(x.shape),
    "table": lambda x: jnp.asarray(CONSTANT)[x[:, 0] % ROWS],
    "own column": lambda x: jnp.take_along_axis(x, x[:, :1] % WIDTH, 1) + x,
    "draws": _draws("threefry2x32"),
    "equal parts": lambda x: x * jnp.broadcast_to(jnp.arange(6), (4, 6)),
}


@pytest.mark.parametrize("name", APART)
def test_rows_that_do_not_meet_are_let_through(name):
    assert not mixes(APART[name]) and not reason(APART[name])


# -- memory --------------------------------------------------------------------------------------------

CELLS_OF_MEMORY = np.zeros((9, WIDTH), np.int32)
AT = np.array([5, 2, 7, 0], np.int32)


def in_memory(function):
    """As ``reason``, of a function of cells, rows, and each row's address."""
    flows = CELLS, OWN, rows_along(0, AT.shape)
    return reason(function, CELLS_OF_MEMORY, X, AT, flows=flows)


def test_rows_may_write_and_read_their_own_cells():
    assert not in_memory(lambda cells, x, at: cells.at[at].set(x + cells[at]))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda cells, x, at: cells.at[3].set(x.sum(0)), "is made of all rows"),
        (lambda cells, x, at: cells.at[at].add(x), "adds to what memory holds"),
        (lambda cells, x, at: cells.at[8, :ROWS].set(x[:, 0]), "at an address that is none of theirs"),
        (lambda cells, x, at: cells.at[:ROWS].set(x), "none of theirs"),
        (lambda cells, x, at: x + cells.at[at * 0].set(x)[0], "writes to a copy of memory"),
        (lambda cells, x, at: x + jax.jit(lambda c: c[0])(cells.at[at * 0].set(x)), "a copy of memory"),
        (lambda cells, x, at: x + jax.jit(lambda c: c.at[at * 0].set(x))(cells)[0], "a copy of memory"),
        (lambda cells, x, at: x + cells.sum(), "reads cells at no address"),
        (lambda cells, x, at: x + cells[:ROWS], "place"),
        (lambda cells, x, at: x + cells[at[::-1]], "places"),
        (lambda cells, x, at: lax.dynamic_update_slice(cells, x, (1, 0)), "places"),
    ],
    ids=["sum", "adding up", "window", "by place", "copy", "copy in a call", "copy of a call", "whole",
         "first", "another's", "slice"],
)  # fmt: skip
def test_memory_is_no_way_from_row_to_row(function, words):
    assert words in in_memory(function)
