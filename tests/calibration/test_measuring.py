"""Calibration: what is measured, what is chosen, and that no choice changes a bit."""

from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import causalsim as cs
from causalsim.calibration import calibrate, measured
from causalsim.engine import run_orders
from causalsim.engine.calibrations import Measurement, trials
from causalsim.foliations import random_orders
from causalsim.kernels import CERTIFIED, CERTIFIED_BUCKETS, FIXED, FIXED_BUCKETS, STOCK
from causalsim.verification.faults import sampling_for_neighbour, with_batch_size, with_neighbour
from tests.calibration.support import (
    CARRIED,
    FEW,
    LENGTH,
    MODEL,
    made,
)
from tests.engine.support import ids
from tests.models_for_tests import tiny, wide

# -- what is measured --------------------------------------------------------------------------------


def few(kernels):
    return replace(kernels, buckets=FEW)


def test_every_kind_of_dispatch_keeps_its_bits():
    calls = []
    found = measured(MODEL, LENGTH, kernels=few(CERTIFIED), progress=lambda *a: calls.append(a))
    assert found.holds and found.buckets.sizes == (1, 16)
    tried = [(row.dispatch, row.size) for row in found.measurements]
    assert set(tried) == {(name, n) for name in CARRIED for n in (1, 16)} - {("several layers", 16)}
    assert all(row.microseconds > 0 for row in found.measurements)
    assert [done for _, done, _ in calls] == list(range(19)) and {total for *_, total in calls} == {19}


def in_its_place(kernels):
    """An MLP whose rows know where they stand."""

    def mlp(config, weights, x):
        return (
            kernels.mlp(config, weights, x) * (1 + jnp.arange(len(x), dtype=jnp.float32) * 2.0**-20)[:, None]
        )

    return replace(kernels, mlp=mlp)


def without_numbers(kernels):
    def mlp(config, weights, x):
        return kernels.mlp(config, weights, x) * jnp.float32(np.nan)

    return replace(kernels, mlp=mlp)


def peeping(kernels):
    """An MLP that adds nothing from its neighbour unless that is poison."""

    def mlp(config, weights, x):
        return kernels.mlp(config, weights, x) + 0 * jnp.roll(x, 1, axis=0)

    return replace(kernels, mlp=mlp)


@pytest.mark.parametrize(
    ("fault", "dispatches", "dropped"),
    [
        (with_batch_size, ("mlp", "layer"), {1}),
        (with_batch_size, ("several layers",), {1}),
        (with_neighbour, ("mlp",), {1, 16}),
        (in_its_place, ("mlp",), {1, 16}),
        (without_numbers, ("mlp",), {1, 16}),
        (peeping, ("mlp",), {16}),
        (sampling_for_neighbour, ("sample",), {1, 16}),
    ],
)
def test_planted_faults_are_seen(fault, dispatches, dropped):
    found = measured(MODEL, LENGTH, kernels=few(fault(CERTIFIED)), dispatches=dispatches)
    failed = {(row.dispatch, row.size) for row in found.measurements if not row.same_bits}
    assert failed == {(name, size) for name in dispatches for size in dropped}
    assert found.buckets == FIXED_BUCKETS and not found.holds


def test_stock_kernels_at_width_768_are_seen():
    dispatches = ("kv", "mlp")
    found = measured(wide(), kernels=few(STOCK), dispatches=dispatches)
    assert {row.dispatch for row in found.measurements if not row.same_bits} == {*dispatches}


@pytest.mark.slow
@pytest.mark.parametrize("width", [16, 768, 2048, 4096])
def test_every_kind_of_dispatch_at_every_batch_size_keeps_its_bits(width):
    heads = max(2, width // 64)
    sizes = {"n_heads": heads, "n_kv_heads": max(1, heads // 4), "d_model": width, "d_ff": 4 * width}
    config = cs.ModelConfig(n_layers=2, vocab_size=1000, max_length=256, **sizes)
    found = measured(cs.random_model(config))
    assert found.holds, found.dropped
    assert found.sizes == CERTIFIED_BUCKETS.sizes


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("length", [0, -1, 1.5, True, "8", 513])
def test_lengths_that_the_model_has_no_room_for_are_refused(length, cache):
    with pytest.raises(cs.InputError, match="got"):
        calibrate(MODEL, length)
    assert not list(cache.rglob("*.json"))


# -- what is chosen ----------------------------------------------------------------------------------


def test_only_batch_sizes_that_hold_for_every_kind_of_dispatch_are_chosen():
    found = made(dropped=(8, 256))
    assert (found.buckets.sizes, found.dropped) == ((1, 16, 32, 64, 128), (8, 256))
    assert found.buckets.costs == tuple(map(found.microseconds, found.buckets.sizes))
    one = replace(found, measurements=(*made().measurements[:-1], Measurement("sample", 256, False, 1.0)))
    assert one.dropped == (256,)


@pytest.mark.parametrize("dropped", [(16,), (1, 8, 32, 64, 128, 256), CERTIFIED_BUCKETS.sizes])
def test_where_nothing_else_holds_rows_are_fixed(dropped):
    assert made(dropped=dropped).buckets == FIXED_BUCKETS


def test_a_column_costs_every_layer_of_it():
    model = tiny(2, 4, 2)
    costs = {"embed": 1, "kv": 2, "attn": 4, "mlp": 8, "unembed": 16}
    rows = [Measurement(name, 8, True, costs.get(name, 0)) for name, _ in trials(CARRIED, (8,))]
    found = replace(made(model), measurements=tuple(rows))
    assert found.microseconds(8) == 1 + 2 * (2 + 4 + 8) + 16


@settings(max_examples=15)
@given(st.data())
def test_no_choice_changes_a_bit(data):
    """Any batch sizes beside sixteen, at any cost: runs split otherwise, and give the same."""
    dropped = data.draw(st.sets(st.sampled_from([1, 8, 16])))
    found = made(dropped={*dropped, 32, 64, 128, 256}, seed=data.draw(st.integers(0, 99)))
    tokens = ids(MODEL, 20)
    graph = cs.EventGraph(MODEL.config, len(tokens))
    foliation = cs.random_foliation(graph, data.draw(st.integers(0, 3)))
    ran = cs.run(MODEL, tokens, foliation, record=True, kernels=found.kernels)
    assert ran.program.refines(foliation)
    assert ran.values_digest == cs.run(MODEL, tokens, record=True).values_digest


class Seen(Exception):
    """The request is known, and need not be fulfilled."""


@pytest.mark.parametrize(("kernels", "rows"), [(CERTIFIED, 64), (FIXED, 16), (STOCK, 64)])
def test_many_orders_in_step_run_in_rows_that_are_allowed(kernels, rows, monkeypatch):
    asked = []

    def plan(_graph, _orders, rows):
        asked.append(rows)
        raise Seen

    monkeypatch.setattr("causalsim.engine.many.plan_of", plan)
    orders = random_orders(cs.EventGraph(MODEL.config, 4), seed=0, count=2)
    with pytest.raises(Seen):
        run_orders(MODEL, ids(MODEL, 4), orders, kernels=kernels)
    assert asked == [rows]


@pytest.mark.slow
def test_many_orders_in_rows_of_sixteen_give_the_same_bits():
    tokens = ids(MODEL, 4)
    orders = random_orders(cs.EventGraph(MODEL.config, 4), seed=0, count=20)
    assert {*run_orders(MODEL, tokens, orders, kernels=FIXED).digests} == {cs.run(MODEL, tokens).digest}
