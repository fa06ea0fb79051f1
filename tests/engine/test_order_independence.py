"""The contract: one digest over the values of all events, whatever the order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import causalsim as cs
from causalsim.kernels import CERTIFIED, FIXED_BUCKETS, STOCK
from tests.engine.support import ids
from tests.models_for_tests import SENTENCE, glass, wide

FAMILIES = [
    cs.token_major, cs.wavefront, cs.earliest, cs.latest, lambda graph: cs.chunked(graph, 5),
    lambda graph: cs.tilted(graph, 0.1), lambda graph: cs.tilted(graph, "-1/99"),
    lambda graph: cs.layer_major(graph).refine(), lambda graph: cs.token_major(graph).coarsen(),
]  # fmt: skip


def targets() -> dict[str, tuple[cs.Model, list[int]]]:
    return {"glass": (glass(), glass().encode(SENTENCE)), "wide": (wide(), ids(wide(), 20))}


def _digests(name: str, foliations) -> set[str]:
    model, tokens = targets()[name]
    assert len(tokens) >= 16
    graph = cs.EventGraph(model.config, len(tokens))
    found = {cs.run(model, tokens, record=True).values_digest}
    for foliation in foliations(graph):
        run = cs.run(model, tokens, foliation, record=True)
        assert run.program.refines(foliation)
        found.add(run.values_digest)
    return found


def _orders(graph: cs.EventGraph, count: int):
    for seed in range(count):
        yield cs.random_foliation(graph, seed)
        yield cs.random_linear_extension(graph, seed, method="kahn")


@pytest.mark.parametrize("name", ["glass", "wide"])
def test_named_families(name):
    assert len(_digests(name, lambda graph: (family(graph) for family in FAMILIES))) == 1


@pytest.mark.parametrize("name", ["glass", "wide"])
def test_random_orders(name):
    assert len(_digests(name, lambda graph: _orders(graph, 25))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["glass", "wide"])
def test_two_hundred_random_orders_of_each_kind(name):
    assert len(_digests(name, lambda graph: _orders(graph, 200))) == 1


@pytest.mark.parametrize("granularity", ["block", "feedback"])
@pytest.mark.parametrize("name", ["glass", "wide"])
def test_other_graphs_of_the_same_text_give_the_same_logits(name, granularity):
    model, tokens = targets()[name]
    plain = cs.run(model, tokens)
    graph = (
        cs.EventGraph(model.config, len(tokens), granularity="block")
        if granularity == "block"
        else cs.EventGraph(model.config, len(tokens), prompt=3)
    )
    for foliation in (
        cs.token_major(graph),
        cs.earliest(graph),
        *(cs.random_foliation(graph, s) for s in range(10)),
    ):
        assert cs.run(model, tokens, foliation).digest == plain.digest


def test_stock_kernels_at_width_768_are_caught():
    """The negative control: the same orders on XLA's defaults give more than one digest."""
    model, tokens = targets()["wide"]
    graph = cs.EventGraph(model.config, len(tokens))
    digests = {
        cs.run(model, tokens, foliation, kernels=STOCK).digest
        for foliation in (cs.layer_major(graph), cs.token_major(graph))
    }
    assert len(digests) > 1


@pytest.mark.parametrize("name", ["glass", "wide"])
def test_recording_changes_no_bits(name):
    model, tokens = targets()[name]
    assert cs.run(model, tokens, record=True).digest == cs.run(model, tokens).digest


def test_batches_of_a_fixed_number_of_rows_are_order_independent_too():
    """The fallback where nothing faster certifies: pad every batch to sixteen rows."""
    model, tokens = targets()["wide"]
    fixed = replace(CERTIFIED, name="fixed", buckets=FIXED_BUCKETS)
    graph = cs.EventGraph(model.config, len(tokens))
    orders = [cs.layer_major(graph), cs.token_major(graph), cs.random_foliation(graph, 0)]
    assert len({cs.run(model, tokens, order, kernels=fixed).digest for order in orders}) == 1


@pytest.mark.parametrize("kind", ["attn", "mlp"])
def test_kernels_that_end_in_a_product_keep_their_bits_in_dispatches_of_several(kind):
    """Additions to a product in the same call must not be downcast together with it."""

    def scaled(*arguments):
        return getattr(CERTIFIED, kind)(*arguments) * np.float32(1.1)

    kernels, tokens = replace(CERTIFIED, name="one that ends in a product", **{kind: scaled}), ids(wide(), 3)
    graph = cs.EventGraph(wide().config, len(tokens))
    runs = [
        cs.run(wide(), tokens, order, kernels=kernels, record=True)
        for order in (cs.token_major(graph), cs.random_linear_extension(graph, 0, method="kahn"))
    ]
    assert [any(batch.joined for batch in run.program.batches) for run in runs] == [True, False]
    assert runs[0].values_digest == runs[1].values_digest
