"""Rows are seen to be apart in small programs, and seen to meet in others; nothing is compiled."""

# ruff: noqa: ARG001  every small program gets the same arguments

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from causalsim.verification.dataflow import misused, steered, steering
from causalsim.verification.flows import CELLS, Flow, rows_along
from causalsim.verification.row_flow import mixed_rows

ROWS, WIDTH = 6, 4
X, AT = jnp.zeros((ROWS, WIDTH)), jnp.zeros(ROWS, jnp.int32)
MEMORY, WEIGHTS = jnp.zeros((20, WIDTH)), jnp.ones((WIDTH, 3))
FLOWS = {"x": rows_along(0, X.shape), "at": rows_along(0, AT.shape), "cells": CELLS, "w": Flow()}


def meetings(function) -> list[str]:
    """The ways in which rows meet in a function of rows, their addresses, cells and shared weights."""
    closed = jax.make_jaxpr(function)(X, AT, MEMORY, WEIGHTS)
    results, faults = mixed_rows(closed.jaxpr, closed.consts, list(FLOWS.values()))
    return [*faults, *(flow.mixed for flow in results if flow.mixed)]


def in_loop(x, at, cells, w):
    return lax.fori_loop(0, 3, lambda i, so_far: so_far + jnp.tanh(x), x)


def own_turns(x, at, cells, w):
    """Tiles of rows one after another, each by itself."""
    return lax.map(lambda tile: tile @ w, x.reshape(2, 3, WIDTH)).reshape(ROWS, 3)


APART = {
    "elementwise": lambda x, at, cells, w: jnp.where(x > 0, x * 2, -x),
    "sum inside": lambda x, at, cells, w: x.sum(1) + x.max(1),
    "product": lambda x, at, cells, w: x @ w,
    "turned": lambda x, at, cells, w: x.T.reshape(2, 2, ROWS) * 3,
    "tiles": lambda x, at, cells, w: x.reshape(3, 2, 2, 2).transpose(1, 0, 2, 3).sum(3),
    "columns": lambda x, at, cells, w: jnp.concatenate([x[:, 2:], x[:, :2]], axis=1),
    "sorted inside": lambda x, at, cells, w: jnp.sort(jnp.cumsum(x, axis=1), axis=1)[:, ::-1],
    "one constant": lambda x, at, cells, w: x + jnp.full((ROWS, 1), 3.0),
    "read": lambda x, at, cells, w: cells[at] + x,
    "read and summed": lambda x, at, cells, w: cells[at].sum(1),
    "written": lambda x, at, cells, w: cells.at[at].set(x, mode="drop"),
    "weights by address": lambda x, at, cells, w: w[at % WIDTH],
    "loop": in_loop,
    "loop over tiles": own_turns,
    "branch of all": lambda x, at, cells, w: lax.cond(w[0, 0] > 0, lambda: x, lambda: -x),
    "outer": lambda x, at, cells, w: x[:, :, None] * x[:, None, :],
}


@pytest.mark.parametrize("name", APART)
def test_rows_that_are_apart_are_seen_to_be(name):
    assert meetings(APART[name]) == []


def handed_on(x, at, cells, w):
    return lax.scan(lambda before, row: (row, before), x[0] * 0, x)[1]


def as_often_as_one_says(x, at, cells, w):
    return lax.while_loop(lambda so_far: so_far.max() < 3, lambda so_far: so_far + x, x)


def so_far(x, at, cells, w):
    return lax.scan(lambda before, row: (before + row, before), jnp.zeros(WIDTH), x)[1]


def in_the_second_turn(x, at, cells, w):
    start = jnp.zeros_like(x), jnp.zeros_like(x)
    return lax.fori_loop(0, 3, lambda i, held: (jnp.zeros_like(x) + held[1].sum(0), x), start)[0]


MEET = {
    "uneven tiles": (lambda x, at, cells, w: x.reshape(4, 6), "takes rows by their places"),
    "more tiles": (lambda x, at, cells, w: x.reshape(8, 3), "takes rows by their places"),
    "memory beside rows": (lambda x, at, cells, w: x @ cells.T, "dot_general reads cells at no address"),
    "so far": (so_far, "goes from row to row"),
    "second turn": (in_the_second_turn, "is made of all rows"),
    "numbers of rows": (lambda x, at, cells, w: x.sum(1) * np.arange(ROWS), "depends on a row's place"),
    "sum": (lambda x, at, cells, w: x.sum(0), "reduce_sum: is made of all rows"),
    "pairs": (lambda x, at, cells, w: x @ x.T, "dot_general: brings two rows together"),
    "between": (lambda x, at, cells, w: x.T @ x, "dot_general: sums over rows"),
    "reversed": (lambda x, at, cells, w: x[::-1], "rev: takes rows by their places"),
    "first": (lambda x, at, cells, w: x[:1] + x, "slice: takes rows by their places"),
    "one place": (lambda x, at, cells, w: x.at[3].multiply(2.0), "scatter: writes rows at addresses"),
    "sums so far": (lambda x, at, cells, w: jnp.cumsum(x, axis=0), "cumsum: is made of all rows"),
    "sorted": (lambda x, at, cells, w: jnp.sort(x, axis=0), "sort: sorts rows"),
    "shifted": (
        lambda x, at, cells, w: jnp.pad(x[1:], ((0, 1), (0, 0))),
        "slice: takes rows by their places",
    ),
    "behind": (lambda x, at, cells, w: jnp.concatenate([x, x]), "puts rows one behind another"),
    "its place": (lambda x, at, cells, w: x + jnp.arange(ROWS)[:, None], "depends on a row's place"),
    "a constant": (lambda x, at, cells, w: x * np.arange(ROWS)[:, None], "depends on a row's place"),
    "tile's place": (
        lambda x, at, cells, w: x.reshape(2, 3, 4) + jnp.arange(3.0)[:, None],
        "depends on a row's place",
    ),
    "turned tiles": (
        lambda x, at, cells, w: x.reshape(2, 3, 4) + x.reshape(3, 2, 4).swapaxes(0, 1),
        "depends on a row's place",
    ),
    "handed on": (handed_on, "takes rows by their places"),
    "loop": (as_often_as_one_says, "loops as often as several rows say"),
    "memory as a whole": (lambda x, at, cells, w: x + cells.sum(), "reduce_sum reads cells at no address"),
    "written sum": (lambda x, at, cells, w: cells.at[at].set(x.sum(0)), "memory gets what"),
    "other's address": (lambda x, at, cells, w: cells[at[::-1]], "rev: takes rows by their places"),
    "several addresses": (lambda x, at, cells, w: cells[at.min()] + x, "reduce_min: is made of all rows"),
    "other's row": (lambda x, at, cells, w: x[at], "reads what another row made"),
    "flat": (
        lambda x, at, cells, w: x.reshape(-1)[: ROWS * 2].reshape(ROWS, 2),
        "slice: takes rows by their places",
    ),
    "branch": (
        lambda x, at, cells, w: lax.cond(x.max() > 0, lambda: x, lambda: -x),
        "reduce_max: is made of all rows",
    ),
    "host": (lambda x, at, cells, w: jax.pure_callback(lambda y: y, x, x), "cannot be looked into"),
    "unknown": (lambda x, at, cells, w: jnp.linalg.qr(x)[0], "is not known to keep rows apart"),
}


@pytest.mark.parametrize("name", MEET)
def test_rows_that_meet_are_seen_to(name):
    function, words = MEET[name]
    assert any(words in reason for reason in meetings(function)), meetings(function)


def test_an_axis_of_rows_that_goes_nowhere_is_seen():
    assert FLOWS["x"].moved({0: 1, 1: 0}).mixed == ""
    assert FLOWS["x"].moved({1: 0}).mixed == "takes rows by their places"


# -- cells and addresses -------------------------------------------------------------------------------


def until_a_cell_says(cells):
    return lax.while_loop(lambda so_far: so_far[0, 0] < 1, lambda so_far: so_far + 1, cells)


def carried_round(cells):
    """A cell becomes an address only in the second turn."""
    start = jnp.int32(0), jnp.int32(0)
    return lax.fori_loop(0, 3, lambda i, held: (held[1], cells[held[0], 0].astype(int)), start)


STEERED = {
    "address": (lambda cells: cells[cells[0, 0].astype(int)], "takes an address from a cell"),
    "write": (
        lambda cells: cells.at[cells[:, 0].astype(int)].set(0.0),
        "scatter takes an address from a cell",
    ),
    "slice": (
        lambda cells: lax.dynamic_update_slice(cells, cells[:1], (cells[0, 0].astype(int), 0)),
        "dynamic_update_slice takes an address from a cell",
    ),
    "loop": (until_a_cell_says, "a loop runs as long as a cell says"),
    "carried": (carried_round, "takes an address from a cell"),
    "branch": (
        lambda cells: lax.cond(cells[0, 0] > 0, lambda: 1.0, lambda: 2.0),
        "a branch is taken by a cell",
    ),
    "host": (lambda cells: cells if cells[0, 0] > 0 else -cells, "the host reads a cell"),
    "shown": (
        lambda cells: jax.pure_callback(lambda y: y, cells, cells),
        "pure_callback shows the host a cell",
    ),
    "clamped": (
        lambda cells: cells.at[jnp.array([99])].get(mode="clip"),
        "gather clamps an address that is off",
    ),
}


@pytest.mark.parametrize("name", STEERED)
def test_cells_that_steer_are_seen(name):
    function, words = STEERED[name]
    assert any(words in fault for fault in steering(function, MEMORY))


def test_cells_that_only_give_values_do_not_steer():
    def plain(cells):
        return lax.fori_loop(0, 3, lambda i, so_far: so_far + jnp.where(cells > i, cells, 0), cells)

    assert list(steering(plain, MEMORY)) == []
    # A token may choose a row of weights, which are no memory of events.
    closed = jax.make_jaxpr(lambda ids, w: w.at[ids].get(mode="fill"))(AT, WEIGHTS)
    assert list(steered(closed.jaxpr, [True, False])) == []


def test_one_branch_is_enough_to_give_an_address():
    def either(cells, which):
        return cells[lax.cond(which > 0, lambda: cells[0, 0], lambda: 0.0).astype(int)]

    closed = jax.make_jaxpr(either)(MEMORY, jnp.int32(0))
    assert "dynamic_slice takes an address from a cell" in [*steered(closed.jaxpr, [True, False])]


@pytest.mark.parametrize(
    ("function", "fault"),
    [
        (lambda cells, at: cells.at[at].get(mode="fill"), None),
        (lambda cells, at: cells.at[at].set(1.0, mode="drop"), None),
        (lambda cells, at: lax.dynamic_slice(cells, (at[0], 0), (1, WIDTH)), None),
        (
            lambda cells, at: lax.fori_loop(0, at[0], lambda i, x: x + 1, cells),
            "a loop runs as long as an address says",
        ),
        (lambda cells, at: cells.at[at].add(at[:, None] * 1.0), "a result is made of an address"),
        (lambda cells, at: at + 1, "a result is made of an address"),
        (
            lambda cells, at: lax.cond(at[0] > 0, lambda: cells, lambda: -cells),
            "a branch is taken by an address",
        ),
    ],
)
def test_addresses_say_where_cells_lie_and_nothing_else(function, fault):
    closed = jax.make_jaxpr(function)(MEMORY, AT)
    assert list(misused(closed.jaxpr, [False, True], [True, False])) == ([fault] if fault else [])
