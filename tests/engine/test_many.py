"""Many orders in one call: each gives what a run of its own gives, bit by bit."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import causalsim as cs
from causalsim.engine import many
from causalsim.engine.many import run_orders
from causalsim.foliations import random_orders
from causalsim.kernels import CERTIFIED
from causalsim.posets import kahn_order, kahn_orders, linear_extensions
from causalsim.verification.faults import with_neighbour
from tests.engine.support import ids
from tests.models_for_tests import tiny, wide

MODELS = {
    "plain": tiny(),
    "windows": tiny(3, 4, 1, windows=(None, 2, 3)),
    "parallel": tiny(2, 2, 2, windows=3, parallel_residual=True),
}


@pytest.fixture
def _few(monkeypatch):
    """Fewer orders in step and fewer rows, so that batches are full and several calls are made."""
    monkeypatch.setattr(many, "TOGETHER", 24)
    monkeypatch.setattr(many, "ROWS", 8)
    many.executor_for.cache_clear()
    yield
    many.executor_for.cache_clear()


def _as_foliation(graph: cs.EventGraph, order: np.ndarray) -> cs.Foliation:
    return cs.Foliation(graph, np.argsort(order))


@pytest.mark.usefixtures("_few")
@pytest.mark.parametrize(("name", "length"), [("plain", 5), ("windows", 5), ("parallel", 5), ("plain", 1)])
def test_each_order_gives_what_a_run_of_its_own_gives(name, length):
    model = MODELS[name]
    tokens, graph = ids(model, length), cs.EventGraph(model.config, length)
    orders = random_orders(graph, length, 30)
    found = run_orders(model, tokens, orders)
    assert found.logits.shape == (30, length, model.config.vocab_size)
    alone = [cs.run(model, tokens, _as_foliation(graph, order)).digest for order in orders[::10]]
    assert list(found.digests[::10]) == alone
    assert len(set(found.digests)) == 1


@pytest.mark.usefixtures("_few")
@pytest.mark.parametrize("length", [17, 65])
def test_pages_of_every_width_give_the_same_bits(length):
    """A short text's page is narrower than a whole one: 32, 64, 128."""
    model = tiny(1, 2, 1)
    tokens, graph = ids(model, length), cs.EventGraph(model.config, length)
    found = run_orders(model, tokens, random_orders(graph, 0, 3))
    assert set(found.digests) == {cs.run(model, tokens).digest}


@pytest.mark.usefixtures("_few")
def test_a_model_as_wide_as_real_ones():
    model = wide()
    graph = cs.EventGraph(model.config, 6)
    found = run_orders(model, ids(model, 6), random_orders(graph, 0, 24))
    assert set(found.digests) == {cs.run(model, ids(model, 6)).digest}


@pytest.mark.usefixtures("_few")
def test_a_kernel_that_reads_its_neighbour_is_seen():
    model = MODELS["plain"]
    graph = cs.EventGraph(model.config, 4)
    orders = random_orders(graph, 0, 24)
    found = run_orders(model, ids(model, 4), orders, kernels=with_neighbour(CERTIFIED))
    assert len(set(found.digests)) > 1


@pytest.mark.usefixtures("unchecked")
def test_orders_that_are_none_are_refused():
    model = MODELS["plain"]
    graph = cs.EventGraph(model.config, 2)
    good = random_orders(graph, 0, 2)
    twice = good.copy()
    twice[1, 0] = twice[1, 1]
    for bad in (twice, good[:, :-1], good[0], good[:0], good + 1):
        with pytest.raises(cs.InputError, match="every event of the graph once"):
            run_orders(model, ids(model, 2), bad)
    backwards = good.copy()
    backwards[1] = backwards[1, ::-1]
    with pytest.raises(cs.CausalityError, match="in order 1") as caught:
        run_orders(model, ids(model, 2), backwards)
    assert caught.value.edge in set(graph.edges())


@pytest.mark.usefixtures("unchecked")
def test_texts_that_are_too_long_or_several_are_refused():
    model = tiny()
    for tokens in ([1] * 129, [[1, 2], [3]]):
        with pytest.raises(cs.InputError, match="one short text"):
            run_orders(model, tokens, np.zeros((1, 1), np.int32))


# -- drawing them ----------------------------------------------------------------------------------

SMALL = cs.EventGraph(cs.Wiring(2), 2, granularity="block").explicit()


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
def test_orders_drawn_together_are_linear_extensions(layers, length, seed):
    graph = cs.EventGraph(cs.Wiring(layers), length)
    for order in random_orders(graph, seed, 3):
        assert cs.Foliation(graph, np.argsort(order)).depth == len(graph)


def _law(order: list[int]) -> float:
    """The probability with which Kahn's algorithm draws an order."""
    probability, done = 1.0, set()
    for element in order:
        enabled = [i for i, below in enumerate(SMALL) if i not in done and set(below) <= done]
        probability /= len(enabled)
        done.add(element)
    return probability


@settings(max_examples=3)
@given(st.integers(0, 2**32))
def test_orders_drawn_together_follow_the_law_of_one(seed):
    draws = 3000
    counts = Counter(map(tuple, kahn_orders(SMALL, np.random.default_rng(seed), draws).tolist()))
    expected = {tuple(order): draws * _law(order) for order in linear_extensions(SMALL)}
    assert abs(sum(expected.values()) - draws) < 1e-6
    assert set(counts) <= set(expected)
    chi = sum((counts[order] - mean) ** 2 / mean for order, mean in expected.items())
    assert chi < len(expected) + 6 * np.sqrt(2 * len(expected)) + 10


def test_one_drawn_alone_is_an_order_too():
    rng = np.random.default_rng(0)
    assert sorted(kahn_order(SMALL, rng)) == sorted(kahn_orders(SMALL, rng, 1)[0].tolist())
