"""Exhaustive exploration covers every order, and diverges on faults that only an order shows."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest

import causalsim as cs
from causalsim.errors import LimitError
from causalsim.kernels import CERTIFIED, STOCK, Kernels
from causalsim.verification.exploration import explore, lattice_of
from causalsim.verification.faults import seeing_too_far, with_batch_size
from causalsim.verification.target import Target
from tests.engine.faulty import unmasked
from tests.engine.support import cells_of
from tests.models_for_tests import tiny, wide


def target(length, prompt=None, kernels=CERTIFIED, **switches) -> Target:
    model = tiny(**switches)
    graph = cs.EventGraph(model.config, length, prompt=prompt)
    return Target(model, graph, tuple(np.arange(n, dtype=np.int32) for n in graph.lengths), kernels)


@cache
def counting_what_is_written() -> Kernels:
    """An attention into which goes how many keys its layer holds, seen or not."""

    def attn(config, weights, x, positions, pages):
        count = jnp.isfinite(pages.keys).sum().astype(jnp.float32)
        return CERTIFIED.attn(config, weights, x, positions, pages) * (1 + count * 2.0**-20)

    return replace(CERTIFIED, name="an attention that counts what has been written", attn=attn)


# Runs and orders as brute force counts them (edges of the lattice of down-sets, its maximal chains).
@pytest.mark.parametrize(
    ("layers", "length", "runs", "orders"), [(1, 1, 5, 1), (1, 2, 48, 186), (2, 2, 102, 7_236)]
)
def test_all_orders_are_covered_by_few_runs(layers, length, runs, orders):
    whole = target(length, n_layers=layers)
    found = explore(whole, lattice_of(whole.graph, 1000))
    assert (found.divergence, found.event_runs, found.orders) == (None, runs, orders)
    assert orders == whole.graph.count_linear_extensions()


@pytest.mark.parametrize(
    ("length", "prompt", "switches"),
    [
        (3, None, {"n_layers": 1, "windows": 2}),
        (2, None, {"n_layers": 2, "parallel_residual": True}),
        ((2, 1), None, {"n_layers": 1}),
        (3, 1, {"n_layers": 2}),
    ],
    ids=["window", "parallel", "two texts", "feedback"],
)
def test_other_wirings_hold(length, prompt, switches):
    whole = target(length, prompt, **switches)
    assert explore(whole, lattice_of(whole.graph, 2000)).divergence is None


@pytest.mark.parametrize(
    "faulty",
    [lambda: seeing_too_far(CERTIFIED), unmasked, counting_what_is_written],
    ids=["too far", "unmasked", "counting"],
)
def test_faults_of_order_diverge_and_the_orders_given_show_it(faulty):
    whole = target(2, n_layers=1, kernels=faulty())
    found = explore(whole, lattice_of(whole.graph, 1000)).divergence
    assert set(found.one) == set(found.other)
    assert len(found.one) == len(set(found.one))
    assert found.event in found.one
    states = []
    for order in (found.one, found.other):
        state = whole.fresh()
        for event in order:
            state, _ = whole.step(state, [event])
        states.append(cells_of(state))
    assert states[0] != states[1] or "value" in found.where


def test_memory_that_depends_on_the_order_shows_in_its_array(monkeypatch):
    """Even if every event has the bits of its reference."""
    step = Target.step

    def remembering(self, state, events):
        (event,), later = events, bool(jnp.isfinite(state.keys[0][0, 0, 0, 0]))
        after, outputs = step(self, state, events)
        if event == cs.Event("embed", -1, 1) and later:
            after = replace(after, logits=after.logits.at[-1].set(1.0))
        return after, outputs

    whole = target(2, n_layers=1)
    monkeypatch.setattr(Target, "step", remembering)
    assert explore(whole, lattice_of(whole.graph, 1000)).divergence.where == "logits"


def test_what_depends_on_the_batch_shows_in_the_value():
    whole = target(2, n_layers=1, kernels=with_batch_size(CERTIFIED))
    assert explore(whole, lattice_of(whole.graph, 1000)).divergence.where == "its value"


@pytest.mark.slow
def test_a_width_of_768_holds_and_stock_kernels_diverge_there():
    """In stock kernels a batch of one row has other bits than the reference order's, of two."""
    whole = Target.of(wide(), [3, 1])
    found = explore(whole, lattice_of(whole.graph, 300))
    assert (found.divergence, found.event_runs, found.orders) == (None, 102, 7_236)
    stock = Target.of(wide(), [3, 1], kernels=STOCK)
    assert explore(stock, lattice_of(stock.graph, 300)).divergence.where == "its value"


def test_a_large_graph_is_refused_at_once():
    with pytest.raises(LimitError, match="at most 1,000"):
        lattice_of(cs.EventGraph(cs.Wiring(4), 30), 1000)


def test_a_lattice_is_explored_where_its_runs_are_allowed():
    graph = target(2).graph
    assert lattice_of(graph, 102).event_runs == 102
    with pytest.raises(LimitError, match="at most 101"):
        lattice_of(graph, 101)
